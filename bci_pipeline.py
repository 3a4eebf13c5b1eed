"""The pipeline from Python: ``import bci_pipeline as bci``; see ``docs/api.md``.

A name is loaded when it is first used, so that the import itself costs nothing.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.api.dataset import PatchDataset, open_dataset, patch
    from pipeline.api.runs import Run, open_run, register
    from pipeline.api.slides import open_slide
    from pipeline.api.stain import Stain, evaluate, load_generator, train, translate
    from pipeline.api.version import __version__
    from registration.errors import BciError as Error

__all__ = [
    "Error",
    "PatchDataset",
    "Run",
    "Stain",
    "__version__",
    "evaluate",
    "load_generator",
    "open_dataset",
    "open_run",
    "open_slide",
    "patch",
    "register",
    "train",
    "translate",
]

_HOMES = {
    "pipeline.api.dataset": ("PatchDataset", "open_dataset", "patch"),
    "pipeline.api.runs": ("Run", "open_run", "register"),
    "pipeline.api.slides": ("open_slide",),
    "pipeline.api.stain": ("Stain", "evaluate", "load_generator", "train", "translate"),
    "pipeline.api.version": ("__version__",),
    "registration.errors": ("Error",),
}
_OWN_NAMES = {"Error": "BciError"}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            _check(home)
            globals()[name] = found = getattr(import_module(home), _OWN_NAMES.get(name, name))
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__


def main() -> None:
    """Run the command line.

    What a command has said is final: Python may take two seconds to unload torch, and Ctrl-C then would
    end a finished command without a word, or as one that failed.
    """
    try:
        _check("pipeline.cli.app")
    except ImportError as error:
        sys.exit(f"error: {error}")
    try:
        program = import_module("pipeline.cli.app")
    except KeyboardInterrupt:
        print("interrupted: nothing had begun; the same command starts anew", file=sys.stderr)
        sys.exit(130)
    try:
        program.main()
    finally:
        import_module("registration.children").ignore_interrupts()


def _check(home: str) -> None:
    """Raise :class:`ImportError` where a file of the user's is found instead of a package of ours."""
    for package in ("pipeline", "registration", "training"):
        spec = find_spec(package)
        origin = Path(spec.origin or "") if spec else Path()
        if origin.parent.parent != Path(__file__).parent:
            raise ImportError(
                f"{origin} is found instead of the package {package!r} of bci-pipeline: rename it, "
                "or take its folder out of PYTHONPATH"
            )
    if home == "pipeline.api.stain":
        import_module("pipeline.extras").needs_training()
