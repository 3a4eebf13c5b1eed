"""Finding pairs in every layout, reading the table, and holding out patients."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from training.data.cache import open_cache
from training.data.holdout import graded, hold_out, scored_pairs
from training.data.images import NOT_READ, ImageFile
from training.data.pairs import PairDataset, PatchPair, open_dataset
from training.data.table import trust_of
from training.errors import DataError


def draw(path: Path, value: int, size: tuple[int, int] = (24, 16)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, 2 * value % 256, 255 - value)).save(path)
    return path


def bci_like(root: Path, names: list[str]) -> Path:
    for number, name in enumerate(names):
        split = name.split("_")[1]
        draw(root / "HE" / split / f"{name}.png", number)
        draw(root / "IHC" / split / f"{name}.png", 100 + number)
    return root


def test_bci_layout_gives_split_and_her2_from_the_names(tmp_path: Path) -> None:
    bci_like(tmp_path, ["00000_train_1+", "00001_train_0", "00002_test_3+"])

    dataset = open_dataset(tmp_path)

    assert [(p.name, p.split, p.her2) for p in dataset.pairs] == [
        ("00002_test_3+", "test", "3+"),
        ("00000_train_1+", "train", "1+"),
        ("00001_train_0", "train", "0"),
    ]
    he, ihc = dataset.select("test")[0].read()
    assert (he.shape, he[0, 0].tolist()) == ((16, 24, 3), [2, 4, 253])
    assert ihc[0, 0].tolist() == [102, 204, 153]


def test_real_bci_download_names_and_skips_the_unpaired_image(real_data: Path) -> None:
    dataset = open_dataset(real_data / "patches" / "bci")

    assert len(dataset.select("test")) == 8
    assert len(dataset.notes) == 1
    assert "1 image without a partner" in dataset.notes[0]
    assert "00004_test_0.png" in dataset.notes[0]


def test_real_llvip_and_mist_folders_pair_up(real_data: Path) -> None:
    patches = real_data / "patches"

    llvip = open_dataset(he=patches / "llvip" / "visible", ihc=patches / "llvip" / "infrared")

    assert len(llvip.select("train")) == len(llvip.select("test")) == 13
    assert len(open_dataset(patches / "mist").select("test")) == 8


@pytest.mark.parametrize(
    "layout", ["{split}/HE|{split}/IHC", "{split}A|{split}B", "HE/{split}|IHC/{split}"]
)
def test_folder_layouts(tmp_path: Path, layout: str) -> None:
    for split, name in [("train", "a"), ("train", "b"), ("test", "c")]:
        for number, folder in enumerate(layout.format(split=split).split("|")):
            draw(tmp_path / folder / f"{name}.{('png', 'jpg')[number]}", 50 * number + 10)

    dataset = open_dataset(tmp_path)

    assert [(p.split, p.name) for p in dataset.pairs] == [
        ("test", "c"),
        ("train", "a"),
        ("train", "b"),
    ]
    assert dataset.pairs[0].he.path.suffix == ".png"
    assert dataset.pairs[0].ihc.path.suffix == ".jpg"


def test_two_images_of_one_name_are_named_and_neither_is_taken(tmp_path: Path) -> None:
    bci_like(tmp_path, ["00000_train_1+", "00001_train_0"])
    draw(tmp_path / "IHC" / "train" / "00001_train_0.jpg", 7)

    with pytest.raises(DataError, match=r"00001_train_0\.jpg and 00001_train_0\.png beside it"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("layout", ["HE/train|IHC/train", "train/HE|train/IHC", "HE|KI67"])
@pytest.mark.parametrize("suffix", sorted(NOT_READ))
def test_images_in_other_formats_are_named(tmp_path: Path, layout: str, suffix: str) -> None:
    for folder in layout.split("|"):
        draw(tmp_path / folder / "a.png", 7)
        (tmp_path / folder / f"b{suffix.upper()}").write_bytes(b"whatever")
        (tmp_path / folder / "notes.txt").write_text("no image")

    dataset = open_dataset(tmp_path)

    assert [pair.name for pair in dataset.pairs] == ["a"]
    (note,) = dataset.notes
    assert note.startswith("warning: 2 images in formats that are not read, left out: ")
    assert f"b{suffix.upper()}" in note


def test_a_dataset_of_other_formats_says_which(tmp_path: Path) -> None:
    for folder in ("HE", "IHC"):
        (tmp_path / folder / "train").mkdir(parents=True)
        (tmp_path / folder / "train" / "b.gif").write_bytes(b"GIF89a")

    with pytest.raises(DataError, match=r"no image pairs in .* formats that are not read.*b\.gif"):
        open_dataset(tmp_path)


def test_side_by_side_images_have_he_on_the_left(tmp_path: Path) -> None:
    image = np.zeros((8, 16, 3), np.uint8)
    image[:, :8], image[:, 8:] = 200, 30
    (tmp_path / "train").mkdir()
    Image.fromarray(image).save(tmp_path / "train" / "00000_train_2+.png")

    (pair,) = open_dataset(tmp_path).select("train")
    he, ihc = pair.read()

    assert he.shape == ihc.shape == (8, 8, 3)
    assert (he.mean(), ihc.mean(), pair.her2) == (200, 30, "2+")


def test_says_what_was_looked_for_when_there_is_no_pair(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="dataset folder not found"):
        open_dataset(tmp_path / "missing")
    (tmp_path / "manifest.yaml").touch()
    with pytest.raises(DataError, match=r"dataset folder not found: .* is a file"):
        open_dataset(tmp_path / "manifest.yaml")
    with pytest.raises(DataError, match=r"image folder not found: .* is a file"):
        open_dataset(he=tmp_path / "manifest.yaml", ihc=tmp_path)
    with pytest.raises(DataError, match=r"expected HE/ and IHC/ .* trainA and trainB"):
        open_dataset(tmp_path)
    with pytest.raises(DataError, match="both an H&E and an IHC folder"):
        open_dataset(he=tmp_path)
    draw(tmp_path / "HE" / "train" / "a.png", 1)
    (tmp_path / "IHC").mkdir()
    with pytest.raises(DataError, match=r"no image pairs in .*1 image without a partner.*a\.png"):
        open_dataset(tmp_path)


def test_images_of_different_size_and_broken_files_are_named(tmp_path: Path) -> None:
    left = ImageFile(draw(tmp_path / "he.png", 1, (24, 16)))
    right = ImageFile(draw(tmp_path / "ihc.png", 1, (24, 18)))
    with pytest.raises(
        DataError, match=r"pair p: .*he\.png is 24 x 16 px, .*ihc\.png is 24 x 18 px"
    ):
        PatchPair("p", left, right).read()
    (tmp_path / "he.png").write_bytes(b"\x89PNG but no more")
    with pytest.raises(DataError, match=r"he\.png is a PNG file, damaged or cut short"):
        PatchPair("p", left, right).read()


def table(path: Path, rows: list[dict[str, object]], kind: str) -> None:
    if kind == "csv":
        with path.with_suffix(".csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    else:
        from pyarrow import Table, parquet

        parquet.write_table(Table.from_pylist(rows), path.with_suffix(".parquet"))


def unusual(kind: str, path: Path) -> None:
    """Write an image of 4 x 6 px, its left half white, its right half a mid grey, in some way."""
    grey = np.full((4, 6), 128, np.uint8)
    grey[:, :3] = 255
    rgb = np.repeat(grey[..., None], 3, axis=2)
    if kind == "16 bits":
        cv2.imwrite(str(path), grey.astype(np.uint16) * 257)
    elif kind == "transparent":
        opacity = np.where(grey == 255, 0, 255).astype(np.uint8)
        Image.fromarray(np.dstack([np.where(rgb == 255, 0, rgb), opacity])).save(path)
    elif kind == "turned":
        exif = Image.Exif()
        exif[0x0112] = 6  # the camera lay on its side
        Image.fromarray(np.rot90(rgb)).save(path, exif=exif)
    else:
        Image.fromarray(grey).convert({"palette": "P", "grey": "L"}[kind]).save(path)


@pytest.mark.parametrize("kind", ["16 bits", "transparent", "palette", "grey", "turned"])
def test_images_of_every_kind_reach_the_network_as_they_look(tmp_path: Path, kind: str) -> None:
    for domain in ("HE", "IHC"):
        (tmp_path / domain / "train").mkdir(parents=True)
        unusual(kind, tmp_path / domain / "train" / "a_train_0.png")
    pairs = open_dataset(tmp_path).pairs

    cache = open_cache(pairs, tmp_path / "cache", lambda *_: None)

    expected = np.full((4, 6, 3), 128, np.uint8)
    expected[:, :3] = 255
    for image in (*pairs[0].read(), *cache.pair(0)):
        assert np.array_equal(image, expected)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_table_adds_patient_alignment_and_drops_rejected_pairs(tmp_path: Path, kind: str) -> None:
    bci_like(tmp_path, ["00000_train_1+", "00001_train_0", "00002_test_3+"])
    common = {"mpp": 0.5, "kept": True, "her2": "2+"}
    rows: list[dict[str, object]] = [
        {"he_file": "HE/train/00000_train_1+.png", "patient": "0123", "shift_um": 6.0,
         "null_percentile": 75.0, "split": "train", **common},
        {"he_file": "HE/train/00001_train_0.png", "patient": "7", "shift_um": None,
         "null_percentile": 100.0, "split": "train", **common, "kept": False},
        {"he_file": "HE/test/00002_test_3+.png", "patient": "8", "shift_um": None,
         "null_percentile": None, "split": "test", **common},
    ]  # fmt: skip
    table(tmp_path / "patches", rows, kind)

    dataset = open_dataset(tmp_path)

    test, train = dataset.pairs
    assert (train.patient, train.shift_px, train.trust, train.her2) == ("0123", 12.0, 0.5, "2+")
    assert (test.patient, test.shift_px, test.trust, test.mpp) == ("8", None, 1.0, 0.5)
    assert dataset.mpp() == 0.5
    assert any("1 pair that the table rejects" in note for note in dataset.notes)


def test_trust_falls_to_a_trace_at_chance_level() -> None:
    assert [trust_of(v) for v in (None, 100, 90, 50, 0)] == pytest.approx([1, 1, 0.8, 0.05, 0.05])


def test_table_without_names_or_with_text_for_numbers_is_refused(tmp_path: Path) -> None:
    bci_like(tmp_path, ["00000_train_1+"])
    table(tmp_path / "patches", [{"x": 1, "y": 2}], "csv")
    with pytest.raises(DataError, match=r"patches\.csv has no column with the images' names"):
        open_dataset(tmp_path)
    table(tmp_path / "patches", [{"he_file": "00000_train_1+.png", "mpp": "half"}], "csv")
    with pytest.raises(
        DataError, match=r"patches\.csv, line 2: expected a number for mpp, found 'half'"
    ):
        open_dataset(tmp_path)


def test_a_table_saved_by_excel_keeps_its_meaning(tmp_path: Path) -> None:
    names = ["00000_train_1+", "00001_train_0"]
    bci_like(tmp_path, names)
    text = "\n".join(
        [
            "sep=;",
            "he_file;kept;patient;mpp",
            f"HE\\train\\{names[0]}.png;FALSCH;Müller;0,5",
            f"HE/train/{names[1]}.png;WAHR;Müller;0,5",
        ]
    )
    (tmp_path / "patches.csv").write_bytes(text.encode("cp1252"))
    (pair,) = open_dataset(tmp_path).pairs
    assert (pair.name, pair.patient, pair.mpp) == (names[1], "Müller", 0.5)

    (tmp_path / "patches.csv").write_bytes(text.replace("WAHR", "wohl").encode("cp1252"))
    with pytest.raises(DataError, match=r"patches\.csv, line 4: expected true or false for kept"):
        open_dataset(tmp_path)


def test_images_of_one_name_in_two_folders_have_their_own_rows(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for stain in ("HE", "IHC"):
            draw(tmp_path / stain / split / "001.png", 5)
    lines = ["he_file,patient", "HE/train/001.png,p1", "HE/test/001.png,p2"]
    (tmp_path / "patches.csv").write_text("\n".join(lines))
    found = {pair.split: pair.patient for pair in open_dataset(tmp_path).pairs}
    assert found == {"train": "p1", "test": "p2"}

    (tmp_path / "patches.csv").write_text("\n".join([*lines, lines[1]]))
    with pytest.raises(DataError, match=r"line 4: image 001\.png stands in line 2 already"):
        open_dataset(tmp_path)


def made_up(patients: list[str | None], split: str = "train") -> PairDataset:
    file = ImageFile(Path("x.png"))
    pairs = [PatchPair(f"{i:03d}", file, file, split, patient=p) for i, p in enumerate(patients)]
    return PairDataset(Path(), "here", "none", tuple(pairs))


def test_validation_holds_out_whole_patients() -> None:
    dataset = made_up([f"p{i % 7}" for i in range(50)])

    parts = hold_out(dataset, 0.2, seed=4)

    assert {p.patient for p in parts.train}.isdisjoint({p.patient for p in parts.validation})
    assert len(parts.train) + len(parts.validation) == 50
    assert 10 <= len(parts.validation) <= 16
    assert parts == hold_out(dataset, 0.2, seed=4)
    assert parts.validation != hold_out(dataset, 0.2, seed=5).validation
    assert "warning" not in parts.note


@pytest.mark.parametrize(
    ("patients", "why"), [([None] * 10, "unknown"), (["a"] * 10, "one patient")]
)
def test_without_patients_images_are_held_out_with_a_warning(
    patients: list[str | None], why: str
) -> None:
    parts = hold_out(made_up(patients), 0.3, seed=1)

    assert len(parts.validation) == 3
    assert {p.name for p in parts.train}.isdisjoint({p.name for p in parts.validation})
    assert parts.note.startswith("warning")
    assert why in parts.note


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(
    ("patients", "fraction", "least", "most"),
    [
        (["a"] * 300 + ["b"] * 20 + ["c"] * 20, 0.1, 20, 40),  # one has nearly all
        (["a"] * 50 + ["b"] * 50, 0.1, 50, 50),  # each has more than is wanted
        (["a"] * 60 + ["b"] * 30, 0.1, 30, 30),
        ([f"p{n // 10}" for n in range(400)], 0.1, 40, 40),
        (["a", "b", "c"], 0.99, 2, 2),
    ],
)
def test_no_patient_with_most_pairs_is_held_out_where_others_are_at_hand(
    patients: list[str], fraction: float, least: int, most: int, seed: int
) -> None:
    parts = hold_out(made_up(list(patients)), fraction, seed=seed)

    assert least <= len(parts.validation) <= most
    assert {p.patient for p in parts.train}.isdisjoint({p.patient for p in parts.validation})
    assert parts.train


def test_never_validates_on_the_test_set() -> None:
    train, test = made_up(["a", "b", "c"]), made_up(["d"] * 5, "test")
    both = PairDataset(Path(), "here", "none", train.pairs + test.pairs)

    parts = hold_out(both, 0.5, seed=0)

    assert {p.split for p in parts.train + parts.validation} == {"train"}
    with pytest.raises(DataError, match="no training pairs in here: its splits are test"):
        hold_out(test, 0.5, seed=0)


def test_without_patients_no_more_images_are_held_out_than_scored() -> None:
    parts = hold_out(made_up([None] * 3895), 0.1, seed=0, most=64)

    assert len(parts.validation) == 64
    assert len(parts.train) == 3895 - 64


def test_some_pairs_of_every_held_out_patient_are_scored() -> None:
    held_out = made_up(["a"] * 70 + ["b"] * 80 + ["c"] * 3 + [f"p{i}" for i in range(7)]).pairs

    scored = Counter(pair.patient for pair in scored_pairs(held_out, 64))

    assert sum(scored.values()) == 64
    assert len(scored) == 10
    assert scored["c"] == 3
    assert abs(scored["a"] - scored["b"]) <= 1
    assert scored_pairs(held_out, 1000) == held_out
    assert len(scored_pairs(held_out, 5)) == 5


def test_of_several_stains_each_is_scored_of_every_patient() -> None:
    pairs = made_up(["a"] * 90 + ["b"] * 10).pairs
    stained = [
        replace(pair, stain="KI67" if i in (4, 93) else "HER2") for i, pair in enumerate(pairs)
    ]

    scored = scored_pairs(stained, 20)

    assert {(pair.patient, pair.stain) for pair in scored} == {
        (patient, stain) for patient in ("a", "b") for stain in ("HER2", "KI67")
    }


@pytest.mark.parametrize(("fraction", "most"), [(0.0, 64), (0.1, 0)])
def test_nothing_is_held_out_that_is_not_scored(fraction: float, most: int) -> None:
    parts = hold_out(made_up(["a", "b", "c"]), fraction, seed=0, most=most)

    assert len(parts.train) == 3
    assert parts.validation == ()


def test_training_takes_pairs_of_at_least_a_grade_and_tests_stay_whole() -> None:
    image = ImageFile(Path("x.png"))
    pairs = [
        PatchPair(f"{split}{grade}", image, image, split=split, grade=grade)
        for split in ("train", "test")
        for grade in ("gold", "silver", "bronze", None)
    ]
    dataset = PairDataset(Path(), "drawn", "HE/ and IHC/", tuple(pairs))

    silver = graded(dataset, "silver")

    assert [pair.grade for pair in silver.select("train")] == ["gold", "silver"]
    assert len(silver.select("test")) == 4
    assert graded(dataset, "bronze") is dataset
    with pytest.raises(DataError, match="no training pair of grade gold"):
        graded(replace(dataset, pairs=tuple(p for p in pairs if p.grade != "gold")), "gold")


@pytest.mark.parametrize(
    ("written", "level"), [("3", "3+"), ("0.0", "0"), ("2,0", "2+"), ("1 +", "1+"), ("low", "low")]
)
def test_levels_and_splits_mean_what_they_mean_elsewhere(
    tmp_path: Path, written: str, level: str
) -> None:
    bci_like(tmp_path, ["00000_train_1+"])
    rows = f"he_file;her2;split\nHE/train/00000_train_1+.png;{written};TRAIN\n"
    (tmp_path / "patches.csv").write_text(rows)

    (pair,) = open_dataset(tmp_path).pairs

    assert (pair.her2, pair.split) == (level, "train")


def _named_split(folder: Path, split: str) -> str | None:
    bci_like(folder, ["00000_train_1+"])
    (folder / "patches.csv").write_text(f"he_file,split\nHE/train/00000_train_1+.png,{split}\n")
    return open_dataset(folder).pairs[0].split


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        *(("Trainn", "train"), ("tran", "train"), ("training", "train"), ("train.", "train")),
        *(("tset", "test"), ("Tests", "test"), ("testing", "test"), ("vall", "val")),
        *(("valid", "val"), ("validatoin", "validation"), ("VLA", "val")),
    ],
)
def test_a_slip_of_the_pen_is_no_split_of_its_own(tmp_path: Path, written: str, meant: str) -> None:
    with pytest.raises(DataError, match=rf"patches\.csv, line 2: .*{written}.*mean {meant}\?"):
        _named_split(tmp_path, written)


@pytest.mark.parametrize(
    ("written", "split"),
    [
        *(
            (name, name)
            for name in ("holdout", "fold1", "train2", "test_external", "dev", "Extern")
        ),
        *(("Validation", "val"), ("VAL", "val"), ("Test", "test")),
    ],
)
def test_other_names_are_splits_as_they_are_written(
    tmp_path: Path, written: str, split: str
) -> None:
    assert _named_split(tmp_path, written) == split


@pytest.mark.parametrize("mpp", ["0", "-0.5", "500"])
def test_a_pixel_size_that_cannot_be_is_refused(tmp_path: Path, mpp: str) -> None:
    bci_like(tmp_path, ["00000_train_1+"])
    (tmp_path / "patches.csv").write_text(f"he_file,mpp\nHE/train/00000_train_1+.png,{mpp}\n")

    with pytest.raises(DataError, match=r"line 2: expected from 0\.01 to 100 µm for mpp"):
        open_dataset(tmp_path)
