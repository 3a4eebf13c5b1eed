"""Names and places of the images in the three layouts."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.patches.settings import Layout
from pipeline.split import Split
from registration.files.her2 import Her2

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


def pair_files(layout: Layout, split: Split, name: str, suffix: str) -> PairFiles:
    """Return where a pair's images go; ``suffix`` with its dot."""
    file = f"{name}{suffix}"
    if layout == "bci":
        return PairFiles(f"HE/{split}/{file}", f"IHC/{split}/{file}")
    if layout == "hf":
        return PairFiles(f"{split}/HE/{file}", f"{split}/IHC/{file}")
    return PairFiles(f"{split}/{file}", f"{split}/{file}")
