"""Errors of the training package.

::

    TrainingError
      ├── ConfigError (also ValueError)  a setting is unknown or out of range
      ├── DataError (also ValueError)    a dataset cannot be trained on or scored
      ├── CheckpointError                a checkpoint is missing, damaged or of an unknown network
      ├── TilingError                    a network cannot be applied tile by tile
      ├── MemoryFullError                a GPU has too little memory; says what needs less
      └── DivergedError                  a loss became NaN or infinite
"""

from registration.errors import BciError


class TrainingError(BciError):
    """Base of every error this package raises on purpose."""


class ConfigError(TrainingError, ValueError):
    """A setting is unknown, out of range, or does not go with another."""


class DataError(TrainingError, ValueError):
    """A dataset cannot be trained on or scored."""


class CheckpointError(TrainingError):
    """A checkpoint is missing, damaged, or belongs to an unknown network."""


class TilingError(TrainingError):
    """A network cannot be applied tile by tile without seams; the message says why."""


class DivergedError(TrainingError):
    """A loss became NaN or infinite; the message names the last good checkpoint."""


class MemoryFullError(TrainingError):
    """A GPU has too little memory; the message says how much is wanted and what needs less."""
