"""Errors of the training package.

::

    TrainingError
      ├── DataError (also ValueError)   a dataset cannot be trained on or scored
      ├── CheckpointError               a checkpoint is missing, damaged or of an unknown network
      └── DivergedError                 a loss became NaN or infinite
"""


class TrainingError(Exception):
    """Base of every error this package raises on purpose."""


class DataError(TrainingError, ValueError):
    """A dataset cannot be trained on or scored."""


class CheckpointError(TrainingError):
    """A checkpoint is missing, damaged, or belongs to an unknown network."""


class DivergedError(TrainingError):
    """A loss became NaN or infinite; the message names the last good checkpoint."""
