"""Scores of single images, kept on disk while an evaluation goes on, so that a killed one resumes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from registration.files.storage import naming, write_text
from training.metrics.pathology import PathologyCounts


@dataclass(frozen=True)
class Scores:
    """The metrics of one image, and what was counted of it."""

    values: dict[str, float]
    counts: PathologyCounts | None = None


class ScoreRecord:
    """A file of one line per image, headed by a key of all that the scores depend on."""

    def __init__(self, path: Path, key: str) -> None:
        """Take up the images of an earlier run with the same key; begin anew otherwise."""
        self.path = path
        self.known: dict[str, dict[str, Scores]] = {}
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        if lines[:1] == [key]:
            for line in lines[1:]:
                self._take(line)
        whole = [key, *(_line(name, scores) for name, scores in self.known.items())]
        write_text(path, "\n".join(whole) + "\n")

    def add(self, name: str, scores: dict[str, Scores]) -> None:
        """Keep the scores of every candidate on one image."""
        with naming(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(_line(name, scores) + "\n")

    def remove(self) -> None:
        """Delete the file, once the evaluation is written."""
        self.path.unlink(missing_ok=True)

    def _take(self, line: str) -> None:
        """Add a line; one that a killed run left unfinished counts for nothing."""
        try:
            name, stored = json.loads(line)
        except ValueError:
            return
        self.known[name] = {
            key: Scores(values, None if counts is None else PathologyCounts(**counts))
            for key, (values, counts) in stored.items()
        }


def _line(name: str, scores: dict[str, Scores]) -> str:
    """Return an image as one line; undefined scores stay what they are (NaN)."""
    stored = {
        key: (s.values, None if s.counts is None else asdict(s.counts)) for key, s in scores.items()
    }
    return json.dumps([name, stored])
