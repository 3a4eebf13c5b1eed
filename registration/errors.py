"""Errors of the registration package.

::

    BciError                                 base of training's and the pipeline's errors too
      └── RegistrationError
            ├── SlideError (also OSError)        a slide cannot be opened or read
            ├── LandmarkError (also ValueError)  a landmark file or a set of points is unusable
            ├── StartError                       no trustworthy initial alignment was found
            ├── SettingsError (also ValueError)  a setting is unknown, or its value cannot be used
            ├── SynthError (also ValueError)     a synthetic slide cannot be made as asked for
            ├── OutputError (also ValueError)    an output cannot be written, or would harm an input
            ├── RunError                         a run folder is missing, foreign or incomplete
            └── InUseError                       another process is at work on the same result

Each message says what is wrong, in which file, and what to do about it.
"""

from collections.abc import Mapping


class BciError(Exception):
    """Base of every error that this program raises on purpose; from Python ``bci.Error``."""


class RegistrationError(BciError):
    """Base of every error this package raises on purpose."""


class SlideError(RegistrationError, OSError):
    """A slide cannot be opened or read."""


class LandmarkError(RegistrationError, ValueError):
    """A landmark file, or the points in it, cannot be used."""


class StartError(RegistrationError):
    """No initial alignment could be found that an independent measure confirms.

    ``evidence`` is what was measured, by name, where anything was; ``picking_helps`` is whether
    picked landmarks could lead to a start.
    """

    def __init__(
        self,
        message: str,
        evidence: Mapping[str, float] | None = None,
        *,
        picking_helps: bool = True,
    ) -> None:
        super().__init__(message)
        self.evidence = dict(evidence or {})
        self.picking_helps = picking_helps


class SettingsError(RegistrationError, ValueError):
    """A setting is unknown, or its value cannot be used."""


class SynthError(RegistrationError, ValueError):
    """A synthetic slide cannot be made as asked for."""


class OutputError(RegistrationError, ValueError):
    """An output cannot be written, or would replace something that is read."""


class RunError(RegistrationError):
    """A run folder is missing, incomplete, or was written by something else."""


class InUseError(RegistrationError):
    """Another process is at work on the same result."""
