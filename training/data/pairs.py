"""Datasets of image pairs, whatever their layout.

Understood as they are: a dataset of this project or a BCI download (``HE/train``, ``IHC/train``,
...; MIST has the same), ``train/HE`` beside ``train/IHC``, side-by-side images (``train/*.png``),
``trainA`` beside ``trainB``, and any two folders. Several stains lie in a folder each beside ``HE``
(``HER2/train``, ``KI67/train``, ...), or are datasets of their own in one folder
(``HER2/HE/train``, ...). A table ``patches.csv`` or ``patches.parquet`` in the folder adds patients,
HER2 levels, stains, µm/px, splits and what registration found out about the alignment of each pair.
Image names are matched without their suffix; what has no partner is named and left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from registration.files.words import counted, did_you_mean, no_folder, some
from training.data.images import NOT_READ, SUFFIXES, ImageFile, Pixels, image_size
from training.data.table import TableRow, read_pair_table
from training.errors import DataError

SPLITS = ("train", "val", "test")
Item = TypeVar("Item")
TWO_FOLDERS = "two folders"
SAME_SCALE = 1.1
BCI_NAME = re.compile(r"_(?P<split>train|val|test)_(?P<her2>0|[123]\+)$")


@dataclass(frozen=True, slots=True)
class PatchPair:
    """One H&E image and its IHC partner, and what is known of them."""

    name: str
    he: ImageFile
    ihc: ImageFile
    split: str | None = None
    """``train``, ``val``, ``test``, or ``None`` where the dataset has no splits."""
    patient: str | None = None
    her2: str | None = None
    mpp: float | None = None
    shift_px: float | None = None
    """Residual shift between the two images, in their own pixels."""
    trust: float = 1.0
    """How sure registration is that the images show the same tissue, 0 to 1."""
    slide: str | None = None
    """The case that the pair is of."""
    grade: str | None = None
    """``gold``, ``silver`` or ``bronze``: how far the alignment can be trusted."""
    stain: str | None = None
    """Of the IHC image, where the dataset says it."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, from the headers of both files; raises :class:`DataError` as reading does."""
        he, ihc = self.he.size, self.ihc.size
        self._check(he, ihc)
        return he

    def _check(self, he: tuple[int, int], ihc: tuple[int, int]) -> None:
        """Refuse images of two sizes, (width, height)."""
        if he != ihc:
            raise DataError(
                f"pair {self.name}: {self.he.path} is {he[0]} x {he[1]} px, but "
                f"{self.ihc.path} is {ihc[0]} x {ihc[1]} px; both must be the same"
            )

    def read(self) -> tuple[Pixels, Pixels]:
        """Return H&E and IHC, ``(height, width, 3)`` uint8 each, of one size.

        Raises :class:`DataError` when a file is unreadable or the sizes differ.
        """
        he, ihc = self.he.read(), self.ihc.read()
        self._check((he.shape[1], he.shape[0]), (ihc.shape[1], ihc.shape[0]))
        return he, ihc


@dataclass(frozen=True)
class PairDataset:
    """The pairs of one dataset, in the order of their names."""

    root: Path
    source: str
    """The folder or folders, as text."""
    layout: str
    pairs: tuple[PatchPair, ...]
    notes: tuple[str, ...] = ()
    """What was left out, and why."""

    @property
    def title(self) -> str:
        """What pages call it: the names of its folders, without where they lie."""
        if self.layout != TWO_FOLDERS:
            return self.root.resolve().name
        return " and ".join(folder.resolve().name for folder in self.folders[:2])

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders that hold the images."""
        images = {image.path.parent for pair in self.pairs for image in (pair.he, pair.ihc)}
        return (*sorted(images), *(() if self.layout == TWO_FOLDERS else (self.root,)))

    @property
    def has_splits(self) -> bool:
        """Whether pairs are divided into training, validation and test."""
        return any(pair.split is not None for pair in self.pairs)

    def select(self, split: str) -> tuple[PatchPair, ...]:
        """Return the pairs of one split; all of them where the dataset has no splits."""
        if not self.has_splits:
            return self.pairs
        return tuple(pair for pair in self.pairs if pair.split == split)

    @property
    def stains(self) -> tuple[str, ...]:
        """The stains of the IHC images, as far as they are named."""
        return tuple(sorted({pair.stain for pair in self.pairs if pair.stain is not None}))

    def mpp(self) -> float | None:
        """Return the median µm/px of the pairs, ``None`` where it is unknown."""
        return usual_mpp(self.pairs)


def usual_mpp(pairs: Sequence[PatchPair]) -> float | None:
    """Return the median µm/px of some pairs, ``None`` where it is unknown."""
    known = sorted(pair.mpp for pair in pairs if pair.mpp)
    return known[len(known) // 2] if known else None


def scale_note(pairs: Sequence[PatchPair]) -> str:
    """Say that pairs to train on differ in µm/px, which no network is told; empty where they do not."""
    known = [pair.mpp for pair in pairs if pair.mpp]
    if not known or max(known) <= SAME_SCALE * min(known):
        return ""
    return (
        f"warning: the pairs to train on have {min(known):.4g} to {max(known):.4g} µm/px, and tissue in as "
        "many sizes; cut them alike with `bci-pipeline patch --mpp`"
    )


def open_dataset(
    root: Path | None = None, *, he: Path | None = None, ihc: Path | None = None
) -> PairDataset:
    """Find the pairs below ``root``, or those of two folders.

    Raises :class:`DataError` when a folder is missing or holds no pair, saying what was looked for.
    """
    if he is not None and ihc is not None:
        return _described(f"{he} + {ihc}", TWO_FOLDERS, _two_folders(he, ihc), he.parent)
    if root is None or he is not None or ihc is not None:
        raise DataError("give one dataset folder, or both an H&E and an IHC folder")
    if not root.is_dir():
        raise DataError(no_folder(root, "dataset folder"))
    for layout, find in (
        ("HE/ and IHC/", _domain_first),
        ("train/HE and train/IHC", partial(_by_split, "{}/HE", "{}/IHC")),
        ("trainA and trainB", partial(_by_split, "{}A", "{}B")),
        ("HE/ and a folder per stain", _folder_per_stain),
        ("a dataset per stain", _dataset_per_stain),
        ("side by side", _side_by_side),
    ):
        found = find(root)
        if found.pairs or found.unpaired or found.not_read:
            return _described(str(root), layout, found, root)
    raise DataError(
        f"no image pairs in {root}: expected HE/ and IHC/ (with train/ and test/ inside or not), "
        "train/HE and train/IHC, trainA and trainB, HE/ and a folder per stain, or side-by-side images "
        f"in train/, of {', '.join(sorted(SUFFIXES))}. For other names give the two folders."
    )


@dataclass(frozen=True)
class _Found:
    pairs: list[PatchPair]
    unpaired: list[Path]
    not_read: tuple[Path, ...] = ()
    """Images in formats that are not read."""


def _domain_first(root: Path) -> _Found:
    """Pairs of ``HE/train`` and ``IHC/train``, ..., or of ``HE`` and ``IHC``."""
    if not ((root / "HE").is_dir() and (root / "IHC").is_dir()):
        return _Found([], [])
    return _two_folders(root / "HE", root / "IHC")


def _two_folders(he: Path, ihc: Path) -> _Found:
    """Pairs of two folders, split by split where both have folders named like splits."""
    for folder in (he, ihc):
        if not folder.is_dir():
            raise DataError(no_folder(folder, "image folder"))
    splits = [s for s in SPLITS if (he / s).is_dir() or (ihc / s).is_dir()]
    if splits:
        return _joined(_match(he / split, ihc / split, split) for split in splits)
    return _match(he, ihc, None)


def _by_split(he: str, ihc: str, root: Path) -> _Found:
    """Pairs of the two folders of each split; ``he`` and ``ihc`` are their names, ``{}`` the split."""
    folders = [(root / he.format(split), root / ihc.format(split), split) for split in SPLITS]
    return _joined(_match(*pair) for pair in folders if pair[0].is_dir() and pair[1].is_dir())


def _folder_per_stain(root: Path) -> _Found:
    """Pairs of ``HE`` and each other folder of images, named after its stain."""
    if not (root / "HE").is_dir():
        return _Found([], [])
    return _joined(
        _stained(_two_folders(root / "HE", folder), folder)
        for folder in _folders(root)
        if folder.name != "HE" and any(_images(part) for part in (folder, *_folders(folder)))
    )


def _dataset_per_stain(root: Path) -> _Found:
    """Pairs of the folders that hold ``HE`` and ``IHC`` each, named after their stain."""
    return _joined(_stained(_domain_first(folder), folder) for folder in _folders(root))


def _stained(found: _Found, folder: Path) -> _Found:
    """Return the pairs of a stain's folder; an H&E image elsewhere may do without this stain."""
    pairs = [replace(pair, stain=folder.name) for pair in found.pairs]
    unpaired = [path for path in found.unpaired if path.is_relative_to(folder)]
    return _Found(pairs, unpaired, found.not_read)


def _folders(root: Path) -> list[Path]:
    """Return the folders in a folder, hidden ones left out."""
    return [p for p in sorted(root.iterdir()) if p.is_dir() and not p.name.startswith(".")]


def _side_by_side(root: Path) -> _Found:
    """Images twice as wide as high, H&E on the left, in ``train/`` and so on or in the folder."""
    splits: list[tuple[Path, str | None]] = [(root / s, s) for s in SPLITS if (root / s).is_dir()]
    pairs, odd = [], []
    not_read: tuple[Path, ...] = ()
    for folder, split in splits or [(root, None)]:
        not_read += _not_read(folder)
        for path in _images(folder).values():
            width, height = image_size(path)
            if width != 2 * height:
                odd.append(path)
                continue
            pairs.append(_pair(ImageFile(path, "left"), ImageFile(path, "right"), split))
    return _Found(pairs, odd, not_read) if pairs else _Found([], [])


def _match(he: Path, ihc: Path, split: str | None) -> _Found:
    """Pair the images of two folders by name; a folder that is missing leaves all others unpaired."""
    left, right = _images(he), _images(ihc)
    names = sorted(left.keys() & right.keys())
    pairs = [_pair(ImageFile(left[name]), ImageFile(right[name]), split) for name in names]
    unpaired = sorted(left.keys() ^ right.keys())
    return _Found(
        pairs,
        [left.get(name) or right[name] for name in unpaired],
        (*_not_read(he), *_not_read(ihc)),
    )


def _images(folder: Path) -> dict[str, Path]:
    """Return the images of a folder by name without suffix; hidden files do not count.

    Raises :class:`DataError` where two have one name, and either could be meant.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
            other = found.setdefault(path.stem, path)
            if other is not path:
                raise DataError(
                    f"two images of one name: {other} and {path.name} beside it. Keep the one that is "
                    "meant; the other goes elsewhere."
                )
    return found


def _not_read(folder: Path) -> tuple[Path, ...]:
    """Return the images of a folder in formats that are not read."""
    paths = sorted(folder.iterdir()) if folder.is_dir() else ()
    return tuple(path for path in paths if path.suffix.lower() in NOT_READ)


def _pair(he: ImageFile, ihc: ImageFile, split: str | None) -> PatchPair:
    """Return a pair, with what its name says of split and HER2 level."""
    named = BCI_NAME.search(he.path.stem)
    her2 = named["her2"] if named else None
    return PatchPair(he.path.stem, he, ihc, split or (named["split"] if named else None), her2=her2)


def _joined(parts: Iterable[_Found]) -> _Found:
    """Return the pairs of several folders as one list."""
    pairs: list[PatchPair] = []
    unpaired: list[Path] = []
    not_read: dict[Path, None] = {}  # one H&E folder may lie beside several stains
    for part in parts:
        pairs += part.pairs
        unpaired += part.unpaired
        not_read |= dict.fromkeys(part.not_read)
    return _Found(pairs, unpaired, tuple(not_read))


def _described(source: str, layout: str, found: _Found, root: Path) -> PairDataset:
    """Add what a table in ``root`` knows to the pairs; raise when none is left."""
    notes = []
    if found.unpaired:
        notes.append(
            f"{counted(len(found.unpaired), 'image')} without a partner, left out: "
            f"{some(found.unpaired)}"
        )
    if found.not_read:
        notes.append(
            f"warning: {counted(len(found.not_read), 'image')} in formats that are not read, left out: "
            f"{some(found.not_read)}"
        )
    pairs = sorted(found.pairs, key=lambda p: (p.split or "", p.name, p.stain or ""))
    table = read_pair_table(root)
    if table.rows:
        known = [(pair, table.of(pair.he.path, pair.ihc.path)) for pair in pairs]
        dropped = [pair.he.path for pair, row in known if row is not None and not row.kept]
        pairs = [_with_row(pair, row) for pair, row in known if row is None or row.kept]
        if dropped:
            rejected = f"{counted(len(dropped), 'pair')} that the table rejects"
            notes.append(f"{rejected}, left out: {some(dropped)}")
    if not pairs:
        raise DataError(f"no image pairs in {source}. {' '.join(notes)}".rstrip())
    return PairDataset(root, source, layout, tuple(pairs), tuple(notes))


def _with_row(pair: PatchPair, row: TableRow | None) -> PatchPair:
    """Return ``pair`` with what its row in the table adds."""
    if row is None:
        return pair
    return replace(
        pair,
        split=row.split or pair.split,
        patient=row.patient,
        her2=row.her2 or pair.her2,
        mpp=row.mpp,
        shift_px=row.shift_px,
        trust=row.trust,
        slide=row.slide,
        grade=row.grade,
        stain=row.stain or pair.stain,
    )


def spread_evenly(items: Sequence[Item], most: int | None) -> tuple[Item, ...]:
    """Return at most so many of some items, from all over them; ``None``: all."""
    count = len(items) if most is None else min(most, len(items))
    return tuple(items[len(items) * k // count] for k in range(count))


def of_stain(dataset: PairDataset, wanted: str) -> tuple[PairDataset, str]:
    """Return the pairs of one stain or of several, and their names joined by commas.

    ``wanted`` is a name, several joined by commas, ``all``, or empty where there is one stain. Raises
    :class:`DataError` for a stain that the dataset does not have, and where a choice is missing.
    """
    there = dataset.stains
    if not wanted and len(there) < 2:
        return dataset, ""
    if not wanted or not there:
        has = (
            f"has the stains {' and '.join(there)}"
            if there
            else "does not name the stains of its images"
        )
        remedy = f"choose with --stain {there[0]}, or all" if there else "leave --stain out"
        raise DataError(f"{dataset.source} {has}: {remedy}")
    by_name = {stain.casefold(): stain for stain in there}
    chosen = list(there) if wanted == "all" else []
    for name in () if chosen else (part.strip() for part in wanted.split(",")):
        if name.casefold() not in by_name:
            raise DataError(
                f"{dataset.source} has no stain {name!r}; it has {', '.join(there)}"
                f"{did_you_mean(name, there)}"
            )
        chosen.append(by_name[name.casefold()])
    kept = tuple(pair for pair in dataset.pairs if pair.stain in chosen)
    return replace(dataset, pairs=kept), ",".join(sorted(set(chosen)))
