"""Errors of the pipeline package.

::

    PipelineError
      ├── UsageError (also ValueError)     options that contradict each other or cannot be met
      ├── ManifestError (also ValueError)  a manifest is unreadable or wrong
      ├── DatasetError                     a dataset folder is missing, foreign or incomplete
      │     └── NoPairsError               no pair of patches passed the limits
      └── MissingExtraError (also ImportError)  a package is not installed
"""

from registration.errors import BciError


class PipelineError(BciError):
    """Base of every error this package raises on purpose."""


class UsageError(PipelineError, ValueError):
    """Options contradict each other, or what they ask for cannot be done here."""


class ManifestError(PipelineError, ValueError):
    """A manifest is unreadable or wrong; the message lists every mistake found."""


class DatasetError(PipelineError):
    """A dataset folder is missing, incomplete, or was written by something else."""


class NoPairsError(DatasetError):
    """No pair of patches passed the limits, so that there is no dataset to write."""


class MissingExtraError(PipelineError, ImportError):
    """A package that comes with an extra is not installed; the message says how to install it."""
