"""Names and places of the images in the four layouts."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.patches.settings import Layout
from pipeline.split import Split
from registration.files.her2 import Her2

SAME_NAMES: frozenset[Layout] = frozenset({"bci", "multi"})
"""Layouts in which a place has the same name in every stain."""
UNKNOWN_HER2 = "unknown"


@dataclass(frozen=True, slots=True)
class PairFiles:
    """Paths of one pair's images inside the dataset, ``/`` between folders."""

    he: str
    ihc: str
    """The same as ``he`` where one image holds both."""

    @property
    def both(self) -> tuple[str, ...]:
        """The files to write, one or two."""
        return (self.he,) if self.he == self.ihc else (self.he, self.ihc)


def pair_name(number: int, split: Split, her2: Her2 | None) -> str:
    """Return a pair's name as BCI writes it: ``00000_train_1+``."""
    return f"{number:05d}_{split}_{her2 or UNKNOWN_HER2}"


def pair_files(layout: Layout, split: Split, file: str, stain: str, several: bool) -> PairFiles:
    """Return where the images of a pair go in a dataset of one stain or of ``several``."""
    if layout == "bci":
        base = f"{stain}/" if several else ""
        return PairFiles(f"{base}HE/{split}/{file}", f"{base}IHC/{split}/{file}")
    if layout == "multi":
        return PairFiles(f"HE/{split}/{file}", f"{stain}/{split}/{file}")
    if layout == "hf":
        return PairFiles(f"{split}/HE/{file}", f"{split}/IHC/{file}")
    return PairFiles(f"{split}/{file}", f"{split}/{file}")
