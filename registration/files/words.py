"""Words that many messages need: the nearest name, excerpts, numbers with what they count."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path

LONGEST_EXCERPT = 60
MOST_PROBLEMS = 8
YAML_REMEDIES = {
    " escape ": "write paths with / or between single quotes",
    r"'\t'": "indent with spaces, not tabs",
}
"""What to do, by what a message says."""


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Return the name that resembles ``name`` most, whatever its case; ``None`` where none does."""
    by_lower = {known.lower(): known for known in names}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return by_lower[close[0]] if close else None


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return ``". Did you mean ...?"``, or nothing where no name is near."""
    near = nearest(name, names)
    return f". Did you mean {near}?" if near else ""


def nearest_entry(path: Path) -> Path | None:
    """Return the file or folder beside a missing one whose name resembles it."""
    near = nearest(path.name, sorted(entry.name for entry in path.parent.iterdir()))
    return None if near is None else path.parent / near


def no_folder(path: Path, noun: str) -> str:
    """Say why a path is not the folder that is wanted, which ``noun`` names."""
    return f"{noun} not found: {path}" + (" is a file" if path.exists() else "")


def yaml_problem(problem: object) -> str:
    """Return what is wrong with YAML, with what to do about it where that is known.

    >>> yaml_problem("found unknown escape character 'p'")
    "found unknown escape character 'p'; write paths with / or between single quotes"
    """
    text = str(problem)
    for sign, remedy in YAML_REMEDIES.items():
        if sign in text:
            return f"{text}; {remedy}"
    return text


def reason(error: Exception) -> str:
    """Return what went wrong in words: of what the system says without its number and file.

    >>> reason(FileNotFoundError(2, "No such file or directory", "a.csv"))
    'No such file or directory'
    """
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def some(names: Sequence[object], most: int = 5) -> str:
    """Return the first few names as text.

    >>> some("abc", 2)
    'a, b, ...'
    """
    return ", ".join(map(str, names[:most])) + (", ..." if len(names) > most else "")


def listed(problems: Sequence[str]) -> str:
    """Return problems as lines, the first few of many: nobody mends a hundred before asking again."""
    more = len(problems) - MOST_PROBLEMS
    return "\n".join([*problems[:MOST_PROBLEMS], *([f"... and {more} more"] if more > 0 else [])])


def split_files(text: str, base: Path = Path()) -> list[str]:
    """Return one file's name, or those of two joined by a comma, which may hold commas themselves.

    One of two names may be empty. What is there tells which comma joins.
    """
    if "," not in text or _exists(base / text):
        return [text.strip()]
    parts = text.split(",")
    for cut in range(1, len(parts)):
        names = [",".join(half).strip() for half in (parts[:cut], parts[cut:])]
        if any(names) and all(not name or _exists(base / name) for name in names):
            return names
    folder = Path(text).parent
    if "," in str(folder) and _exists(base / folder):  # nothing of that name is there yet
        first, *others = Path(text).name.split(",")
        return [str(folder / first.strip()), *(other.strip() for other in others)]
    return [part.strip() for part in parts]


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def excerpt(value: object) -> str:
    """Return a value as Python shows it, cut short: messages must not quote a whole file back."""
    if value is None:
        return "nothing"
    text = repr(value[:LONGEST_EXCERPT] if isinstance(value, str | bytes) else value)
    return text if len(text) < LONGEST_EXCERPT else f"{text[: LONGEST_EXCERPT - 3]}..."


def shortened(name: str, most: int = 40) -> str:
    """Return a name with its middle left out where it is long: both ends tell files apart.

    >>> shortened("abcdefghij", 7)
    'abc…hij'
    """
    half = (most - 1) // 2
    return name if len(name) <= most else f"{name[:half]}…{name[-half:]}"


def counted(number: int, noun: str) -> str:
    """Return a number and what it counts.

    >>> counted(1, "case"), counted(2000, "case")
    ('1 case', '2,000 cases')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """Return a duration in the two largest units that matter."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"


def size(count: float) -> str:
    """Return a number of bytes as a person reads it.

    >>> size(3 * 2**20)
    '3 MiB'
    """
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
