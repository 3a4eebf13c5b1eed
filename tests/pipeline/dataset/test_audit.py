"""Leaks between splits: planted ones are found, and nothing else is."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks.textures import smooth_noise
from pipeline.cli.app import app
from pipeline.dataset.audit import Leak, audit, slide_of
from registration.execution import InProcess, no_progress
from registration.geometry import Image
from training.data.pairs import PatchPair, open_dataset

SIDE = 192
NAMES = ("HE", "IHC")


def tissue(seed: int, side: int = 3 * SIDE) -> tuple[Image, Image]:
    """Return two stains of the same drawn nuclei on soft ground."""
    rng = np.random.default_rng(seed)
    ground = 0.0235 * smooth_noise(rng, (side, side), 12)
    images = []
    shapes = [
        (rng.integers(0, side, 2), rng.integers(3, 7, 2), float(rng.uniform(0, 180)))
        for _ in range(side * side // 160)
    ]
    for number, (back, dark) in enumerate(
        (((225, 150, 190), (95, 65, 140)), ((215, 190, 165), (90, 80, 130)))
    ):
        image = np.full((side, side, 3), back, np.float32) + 260 * ground[..., None]
        for middle, axes, angle in shapes:
            shift = rng.integers(-1, 2, 2) * number
            cv2.ellipse(image, (middle + shift).tolist(), axes.tolist(), angle, 0, 360, dark, -1)
        images.append(np.clip(image + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8))
    return images[0], images[1]


def put(root: Path, split: str, name: str, images: tuple[Image, Image]) -> None:
    for stain, image in zip(NAMES, images, strict=True):
        path = root / stain / split / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), image[..., ::-1])


def cut(images: tuple[Image, Image], x: int, y: int) -> tuple[Image, Image]:
    he, ihc = (image[y : y + SIDE, x : x + SIDE] for image in images)
    return he, ihc


def found(root: Path) -> list[Leak]:
    return audit(open_dataset(root).pairs, InProcess(), no_progress)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine patches of one slide in train, eight of four others in test."""
    root = tmp_path_factory.mktemp("clean")
    slide = tissue(0)
    for number in range(9):
        put(
            root,
            "train",
            f"{number:05d}_train_1+",
            cut(slide, number % 3 * SIDE, number // 3 * SIDE),
        )
    for number in range(8):
        other = tissue(1 + number // 2)
        put(root, "test", f"{number:05d}_test_1+", cut(other, number % 2 * SIDE, 0))
    return root


def planted(
    clean: Path, folder: Path, images: tuple[Image, Image], name: str = "leak_test_0"
) -> Path:
    for split in ("train", "test"):
        for pair in open_dataset(clean).select(split):
            put(folder, split, pair.name, pair.read())
    put(folder, "test", name, images)
    return folder


@pytest.mark.slow
def test_the_way_through_a_large_dataset_is_told(clean: Path) -> None:
    said: list[tuple[str, int, int]] = []

    audit(open_dataset(clean).pairs, InProcess(), lambda *now: said.append(now))

    assert ("signatures", 17, 17) in said
    assert said[-1][0] == "comparisons"
    assert said[-1][1] == said[-1][2] > 1


def test_a_sound_dataset_has_no_leak(clean: Path) -> None:
    assert found(clean) == []


@pytest.mark.parametrize("way", [0, *(pytest.param(k, marks=pytest.mark.slow) for k in (1, 2))])
def test_a_duplicate_is_found_compressed_turned_or_mirrored(
    clean: Path, tmp_path: Path, way: int
) -> None:
    he, ihc = cut(tissue(0), SIDE, SIDE)
    if way:
        he, ihc = (np.ascontiguousarray(np.rot90(image)[:, :: 3 - 2 * way]) for image in (he, ihc))
    he, ihc = (
        cv2.imdecode(
            cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 80])[1], cv2.IMREAD_COLOR
        )
        for image in (he, ihc)
    )

    leaks = found(planted(clean, tmp_path, (he, ihc)))

    assert [leak.kind for leak in leaks].count("duplicate") == 1
    assert {leaks[0].first, leaks[0].second} == {"00004_train_1+", "leak_test_0"}
    # As it lies, it touches the neighbours of what it is a copy of.
    neighbours = {"00001_train_1+", "00003_train_1+", "00005_train_1+", "00007_train_1+"}
    touched = {leak.first for leak in leaks[1:]} | {leak.second for leak in leaks[1:]}
    assert touched - {"leak_test_0"} == (set() if way else neighbours)


def test_overlapping_pairs_are_found(clean: Path, tmp_path: Path) -> None:
    leaks = found(planted(clean, tmp_path, cut(tissue(0), 70, 50)))

    assert {leak.kind for leak in leaks} == {"overlapping"}
    assert {leak.first for leak in leaks} | {leak.second for leak in leaks} >= {
        "leak_test_0",
        "00000_train_1+",
    }


@pytest.mark.parametrize(("x", "y", "way"), [(1, 0, "right"), (0, 1, "below")])
def test_touching_pairs_are_found_and_shown(tmp_path: Path, x: int, y: int, way: str) -> None:
    slide = tissue(0)
    put(tmp_path / "data", "test", "00000_test_0", cut(slide, 0, 0))
    put(tmp_path / "data", "train", "00000_train_0", cut(slide, x * SIDE, y * SIDE))
    put(tmp_path / "data", "train", "00001_train_0", cut(tissue(5), 0, 0))

    result = CliRunner().invoke(
        app,
        [
            "dataset",
            str(tmp_path / "data"),
            "--audit",
            "--out",
            str(tmp_path / "found"),
            "--workers",
            "1",
        ],
    )

    assert result.exit_code == 1, result.output
    assert "touching in two splits" in result.output
    stored = json.loads((tmp_path / "found" / "audit.json").read_text(encoding="utf-8"))
    assert [leak["kind"] for leak in stored["leaks"]] == ["touching"]
    assert way in stored["leaks"][0]["evidence"]
    picture = cv2.imread(str(tmp_path / "found" / stored["leaks"][0]["picture"]))
    assert picture.shape == (640, 640, 3)


def test_names_that_carry_a_slide_are_read() -> None:
    def of(name: str, patient: str | None = None) -> str | None:
        image = open_dataset  # any value: names alone are looked at
        return slide_of(PatchPair(name, image, image, patient=patient))  # type: ignore[arg-type]

    assert of("15M2102762_15_26") == "15M2102762"
    assert of("slide7_x1024_y2048") == "slide7"
    assert of("TCGA-AB-1234-01Z-00-DX1_5_6") == "TCGA-AB-1234"
    assert of("00007_test_1+") is None
    assert of("patch_3_4") is None
    assert of("00007_test_1+", patient="p1") == "p1"


def test_the_same_slide_in_two_splits_is_told_once(tmp_path: Path) -> None:
    for number, split in enumerate(("train", "train", "test", "test")):
        put(tmp_path, split, f"A77_{number}_5", cut(tissue(10 + number), 0, 0))

    leaks = found(tmp_path)

    assert [(leak.kind, leak.evidence) for leak in leaks] == [("same slide", "both are of A77")]


def test_a_dataset_without_splits_has_none_to_leak(tmp_path: Path) -> None:
    for stain in NAMES:
        (tmp_path / stain).mkdir()
        for name in ("a", "b"):
            cv2.imwrite(str(tmp_path / stain / f"{name}.png"), tissue(0)[0][:SIDE, :SIDE])

    assert found(tmp_path) == []
