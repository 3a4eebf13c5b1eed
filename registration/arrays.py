"""NPZ files read with care: nothing is allocated before the header's claim has been checked."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, ValidationError

from registration.errors import RunError
from registration.files.memory import free_memory

Number = Annotated[float, BeforeValidator(lambda value: float("nan") if value is None else value)]
"""A measured number; ``null`` in a JSON is "not a number"."""

NPY = np.lib.format
HEADER_READERS = {(1, 0): NPY.read_array_header_1_0, (2, 0): NPY.read_array_header_2_0}
REMEDY = "Register this pair again with --overwrite."
DAMAGES = (
    ValueError,
    EOFError,
    OSError,
    RuntimeError,
    SyntaxError,
    RecursionError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What the ZIP and NPY readers raise for files that are none."""


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return the plain arrays of an NPZ file by name.

    Raises :class:`RunError` for a file that is missing, that is no NPZ, that holds Python objects,
    or whose arrays would not fit into memory.
    """
    if not path.is_file():
        raise RunError(f"{path} is missing. {REMEDY}")
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _check_memory(path, sum(member.file_size for member in members))
            return {
                member.filename.removesuffix(".npy"): _read(archive, member) for member in members
            }
    except DAMAGES as error:
        raise RunError(f"{path} is damaged ({_short(error)}). {REMEDY}") from error


def checked(
    path: Path, arrays: Mapping[str, NDArray[Any]], name: str, shape: tuple[int | None, ...]
) -> NDArray[np.float64]:
    """Return an array of finite numbers, float64, of a shape in which ``None`` is any length.

    Raises :class:`RunError` where it is missing or something else.
    """
    found = arrays.get(name)
    if found is None:
        raise RunError(f"{path} is damaged (no array {name!r}). {REMEDY}")
    fits = len(found.shape) == len(shape) and all(
        wanted in (None, length) for wanted, length in zip(shape, found.shape, strict=True)
    )
    if not fits or found.dtype.kind not in "fiu":
        wanted = " x ".join("n" if length is None else str(length) for length in shape)
        raise RunError(
            f"{path} is damaged ({name!r} holds {found.dtype} {found.shape}, not {wanted or 'one'} "
            f"numbers). {REMEDY}"
        )
    numbers = np.asarray(found, np.float64)
    if not np.isfinite(numbers).all():
        raise RunError(f"{path} is damaged ({name!r} holds numbers that are not finite). {REMEDY}")
    return numbers


def first_mistake(error: ValidationError) -> str:
    """Say where the first mistake of a record lies, and what it is."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg'][:120]}" if where else str(first["msg"][:120])


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    """Read one array whose header promises no more than the archive holds."""
    with archive.open(member) as file:
        claimed = _claimed_bytes(file)
        held = member.file_size - file.tell()
    if claimed != held:
        raise ValueError(f"{member.filename} promises {claimed} bytes and holds {held}")
    with archive.open(member) as file:
        return np.asarray(NPY.read_array(file, allow_pickle=False))


def _claimed_bytes(file: IO[bytes]) -> int:
    """Return how many bytes an NPY header says will follow."""
    reader = HEADER_READERS.get(NPY.read_magic(file))
    if reader is None:
        raise ValueError("an array in a format of another NumPy")
    shape, _, dtype = reader(file)
    if dtype.hasobject:
        raise ValueError("an array of Python objects")
    return math.prod(shape) * dtype.itemsize


def _check_memory(path: Path, wanted: int) -> None:
    free = free_memory()
    if wanted > free:
        raise RunError(
            f"{path} asks for {wanted / 2**30:.1f} GiB of memory and {free / 2**30:.1f} GiB are "
            f"free. {REMEDY}"
        )


def _short(error: Exception) -> str:
    """Return the first line of an error, at most 120 characters of it."""
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0][:120]
