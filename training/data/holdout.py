"""Which training pairs are held out for validation: whole patients, never the test set."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from registration.files.words import counted
from training.data.pairs import PairDataset, PatchPair, spread_evenly
from training.errors import DataError


@dataclass(frozen=True)
class Holdout:
    """Pairs to train on, pairs to validate on, and how they were told apart."""

    train: tuple[PatchPair, ...]
    validation: tuple[PatchPair, ...]
    note: str


MOST_BEYOND = 2.0
"""So many times the wanted pairs are held out at most, but where every patient alone has more."""
GRADES = ("bronze", "silver", "gold")
"""From the least trusted alignment to the most trusted."""


def graded(dataset: PairDataset, least: str) -> PairDataset:
    """Return a dataset whose training pairs have at least a grade; other splits stay whole.

    With ``bronze`` nothing is left out, also what has no grade. Raises :class:`DataError` where no
    training pair is left.
    """
    if least == GRADES[0]:
        return dataset
    good = GRADES[GRADES.index(least) :]
    kept = tuple(p for p in dataset.pairs if p.split not in ("train", None) or p.grade in good)
    left = replace(dataset, pairs=kept)
    if not left.select("train"):
        raise DataError(
            f"{dataset.source} has no training pair of grade {' or '.join(good)}; choose a lower --grade"
        )
    lost = len(dataset.pairs) - len(kept)
    return replace(left, notes=(*dataset.notes, f"{lost} training pairs below {least} left out"))


def hold_out(dataset: PairDataset, fraction: float, seed: int, most: int = 64) -> Holdout:
    """Divide the training pairs of ``dataset``.

    A split named ``val`` is used as it is. Otherwise whole patients are drawn, the same ones for
    the same seed, until ``fraction`` of the pairs are held out, and never twice as many where
    patients with fewer pairs are at hand; at most ``most`` of them are scored, from all these
    patients. Where patients are unknown, or there is one only, images are drawn instead, none but
    those that are scored, and the note warns about it. Raises :class:`DataError` when nothing is
    left to train on.
    """
    train = dataset.select("train")
    if not train:
        splits = sorted({pair.split or "none" for pair in dataset.pairs})
        raise DataError(
            f"no training pairs in {dataset.source}: its splits are {', '.join(splits)}"
        )
    given = dataset.select("val") if dataset.has_splits else ()
    if given:
        note = f"validation: the dataset's own split, {counted(len(given), 'pair')}{_scored(given, most)}"
        return Holdout(train, given, note)
    if fraction <= 0 or most <= 0:
        return Holdout(train, (), "no validation was asked for")
    if len(train) < 2:
        raise DataError(f"{dataset.source} has one training pair; validation needs another")
    patients = {pair.patient for pair in train}
    if None in patients or len(patients) < 2:
        wanted = min(round(fraction * len(train)), most)
        return _by_image(train, wanted, seed, one_patient=None not in patients)
    return _by_patient(train, fraction, most, seed)


def scored_pairs(pairs: Sequence[PatchPair], most: int) -> tuple[PatchPair, ...]:
    """Return at most so many held-out pairs: as many of each patient and stain as there are, in turn."""
    members: dict[tuple[str | None, str | None], list[int]] = {}
    for place, pair in enumerate(pairs):
        members.setdefault((pair.patient, pair.stain), []).append(place)
    counts = dict.fromkeys(members, 0)
    while sum(counts.values()) < min(most, len(pairs)):
        for key in [key for key in members if counts[key] < len(members[key])]:
            counts[key] += sum(counts.values()) < most
    chosen = sorted(p for key, here in members.items() for p in spread_evenly(here, counts[key]))
    return tuple(pairs[place] for place in chosen)


def _by_patient(train: tuple[PatchPair, ...], fraction: float, most: int, seed: int) -> Holdout:
    """Hold out whole patients; one with most of the pairs is rather trained on."""
    counts = Counter(str(pair.patient) for pair in train)
    patients = sorted(counts, key=lambda name: _draw(name, seed))
    wanted = fraction * len(train)
    held: dict[str, int] = {}
    for patient in patients:
        taken = sum(held.values())
        if taken >= wanted or len(held) == len(patients) - 1:
            break
        if taken + counts[patient] <= MOST_BEYOND * wanted:
            held[patient] = counts[patient]
    if not held:
        fewest = min(patients, key=counts.__getitem__)
        held[fewest] = counts[fewest]
    kept = tuple(pair for pair in train if str(pair.patient) not in held)
    validation = tuple(pair for pair in train if str(pair.patient) in held)
    return Holdout(
        kept,
        validation,
        f"validation: {len(held)} of {len(patients)} patients held out, "
        f"{counted(len(validation), 'pair')}"
        f"{_scored(validation, most)}",
    )


def _scored(pairs: tuple[PatchPair, ...], most: int) -> str:
    """Say how many of the held-out pairs are scored, where it is not all."""
    return f", {most} of them scored, spread over all patients" if len(pairs) > most else ""


def _by_image(
    train: tuple[PatchPair, ...], wanted: int, seed: int, *, one_patient: bool
) -> Holdout:
    """Hold out images, for want of patients."""
    order = sorted(train, key=lambda pair: _draw(pair.name, seed))
    count = min(len(train) - 1, max(1, wanted))
    held = {pair.name for pair in order[:count]}
    why = "there is one patient only" if one_patient else "patients are unknown"
    return Holdout(
        tuple(pair for pair in train if pair.name not in held),
        tuple(pair for pair in train if pair.name in held),
        f"warning: {why}; held out at random: {count} of {len(train)} images. Validation pairs may "
        "come from patients trained on, and look better than they are",
    )


def _draw(name: str, seed: int) -> str:
    """Return a value to sort by that is the same on every machine."""
    return hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()
