"""What a command may write to: asked before any work, in one place for all commands."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from registration.errors import OutputError
from registration.files.storage import temporary
from registration.files.words import reason


def check_file(
    out: Path,
    inputs: Iterable[Path] = (),
    option: str = "--out",
    suffixes: Sequence[str] = (),
    is_ours: Callable[[Path], bool] = lambda path: True,
) -> None:
    """Raise :class:`OutputError` where a file cannot be written, or is one of the inputs.

    An existing file within a folder that is read is one of the inputs, too. A name may not promise
    another kind of file than ``suffixes``. What is there already and of another kind, or that
    ``is_ours`` does not know for an earlier result, is not replaced: most likely its name was given
    by mistake. An empty file holds nothing to lose.
    """
    mode = _mode(out, option)
    for given in _with_companions(inputs):
        if _same(out, given) or (mode is not None and _is_folder(given) and lies_in(out, given)):
            raise OutputError(f"{option} {out} is read by this command; name another file")
    if mode is not None and stat.S_ISDIR(mode):
        raise OutputError(f"{option} {out} is a folder; name a file")
    if mode is not None and not stat.S_ISREG(mode):
        raise OutputError(f"{option} {out} is no file that can be replaced; name another")
    if mode is not None and suffixes and out.suffix.lower() not in suffixes:
        raise OutputError(
            f"{option} {out} is there already and of another kind than is written here "
            f"({', '.join(suffixes)}); name another file"
        )
    if suffixes and suffix_of(out) not in ("", *suffixes):
        raise OutputError(
            f"{option} {out} is not what is written here ({', '.join(suffixes)}): name a file in "
            f"{suffixes[0]}"
        )
    if mode is not None and out.stat().st_size and not is_ours(out):
        raise OutputError(
            f"{option} {out} is there already and no earlier result of this command; name another "
            "file, or remove it"
        )
    _probe(out, option)


def suffix_of(path: Path) -> str:
    """Return what the name says of the kind of file, in small letters: nothing for ``p12_v0.5``."""
    return "" if path.suffix[1:2].isdigit() else path.suffix.lower()


def check_folder(
    out: Path, inputs: Iterable[Path] = (), models: Iterable[Path] = (), option: str = "--out"
) -> None:
    """Raise :class:`OutputError` where a folder cannot be written, or would hold or harm an input.

    ``inputs`` lie neither in ``out`` nor around it; ``models`` (run folders, weights) may lie
    around it, as their results are often kept beside them.
    """
    mode = _mode(out, option)
    inputs, models = _with_companions(inputs), _with_companions(models)
    for given in (*inputs, *models):
        if lies_in(given, out):
            raise OutputError(
                f"{option} {out} is or holds {given}, which this command reads; name another folder"
            )
    for given in inputs:
        if _is_folder(given) and lies_in(out, given):
            raise OutputError(
                f"{option} {out} lies in {given}, which this command reads; name another folder"
            )
    if mode is not None and not stat.S_ISDIR(mode):
        raise OutputError(f"{option} {out} is a file; name a folder")
    _probe(out, option)


def _mode(out: Path, option: str) -> int | None:
    """Return what kind of thing ``out`` is, ``None`` where nothing is there yet."""
    try:
        return out.stat().st_mode
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise OutputError(f"{option} {out} cannot be written: {_lower(reason(error))}") from None


def _probe(out: Path, option: str) -> None:
    """Raise where nothing can be written to ``out``: tries it in the nearest folder there is."""
    folder = resolved(out)
    if not folder.is_dir():
        folder = folder.parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        raise OutputError(f"{option} {out} cannot be written: {folder} is a file, not a folder")
    try:
        # A folder within: file systems such as /proc let nobody make one, whatever they say.
        probe = temporary(folder / "probe")
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        why = f"{folder}: {_lower(reason(error))}"
        raise OutputError(f"{option} {out} cannot be written: {why}") from None


def _with_companions(inputs: Iterable[Path]) -> list[Path]:
    """Return the inputs, and the folders that hold the pixels of a slide beside its file."""
    given = list(inputs)
    covers = (path.with_suffix("") for path in given if path.suffix.lower() == ".mrxs")
    return [*given, *filter(_is_folder, covers)]


def lies_in(inner: Path, outer: Path) -> bool:
    """Return whether a path is another one, or lies in it, through links and all."""
    there = resolved(inner)
    return any(_same(path, outer) for path in (there, *there.parents))


def _same(one: Path, other: Path) -> bool:
    """Return whether two names lead to the same file or folder."""
    try:
        return one.samefile(other)
    except (OSError, ValueError):
        return resolved(one) == resolved(other)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def resolved(path: Path) -> Path:
    """Return where a path leads; what is no name of a file stays: who reads it will say so."""
    try:
        return path.resolve()
    except (OSError, ValueError, RuntimeError):
        return path.absolute()


def _lower(reason: str | None) -> str:
    return (reason or "the system refuses it").lower()
