"""Whole slides through a generator: equal to the whole image, resumable, refusing what cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from PIL import Image
from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.errors import UsageError
from pipeline.stages.settings import TranslateSettings
from pipeline.stages.translate import (
    TranslateRequest,
    output_path,
    plan_translation,
    translate_slide,
)
from registration.errors import OutputError
from registration.geometry import Box, Size
from registration.slides.formats import ImageFormat
from registration.slides.pyramid import PyramidSpec, encode_unit, unit_boxes, write_pyramid
from registration.slides.slide import open_slide
from training.data.images import from_batch, to_batch
from training.errors import DataError, TilingError
from training.inference.checkpoints import TrainedGenerator, load_generator, save_generator
from training.inference.folder import translate_folder
from training.models.generators import GENERATORS, GeneratorSpec, build_generator, initialise
from training.run.averaging import recalibrate

SIZE = Size(2300, 640)
TILE_PX = 512


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give tiles of 512 px, of which a unit has sixteen."""
    monkeypatch.setattr("training.inference.tiling.TILES_PX", (TILE_PX,))


def quiet(stage: str, done: int, total: int) -> None:
    """Report nothing."""


def stops_before_the_last(stage: str, done: int, total: int) -> None:
    """Interrupt when all tiles but one are done."""
    if done == total - 1:
        raise KeyboardInterrupt


def save(path: Path, spec: GeneratorSpec, mpp: float | None = 0.5) -> Path:
    torch.manual_seed(1)
    network = build_generator(spec)
    initialise(network)
    recalibrate(network, [(torch.rand(1, 3, 64, 64) * 2 - 1,)])
    config = {"model": "pyramid-pix2pix", "recipe": "robust"}
    save_generator(path, TrainedGenerator(network, spec, path, mpp, config, 3))
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = GeneratorSpec(width=4, blocks=1)
    return save(tmp_path_factory.mktemp("model") / "best.pt", spec)


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tissue at the left and right ends of the slide, glass between."""
    random = np.random.default_rng(0)
    image = np.full((*SIZE.shape, 3), 244, np.uint8)
    for columns in (slice(0, 700), slice(1900, 2300)):
        shape = (SIZE.height, columns.stop - columns.start)
        noise = random.normal(0, 18, (*shape, 1)) + random.normal(0, 6, (*shape, 3))
        image[:, columns] = np.clip(np.array([190, 110, 165]) + noise, 0, 255)
    path = tmp_path_factory.mktemp("slide") / "he.tif"
    spec = PyramidSpec(size=SIZE, mpp=0.5, tile=256, quality=95)
    units = (encode_unit(spec, image[box.slices()], box) for box in unit_boxes(spec))
    write_pyramid(path, spec, units)
    return path


def pixels(store: Path) -> np.ndarray:
    """Level 0 of an OME-Zarr, which is lossless."""
    group: Any = zarr.open_group(store, mode="r")
    data = np.asarray(group["0"][:])
    return data if data.shape[-1] == 3 else np.moveaxis(np.squeeze(data), 0, -1)


def test_every_pixel_equals_translating_the_whole_slide_at_once(
    tmp_path: Path, model: Path, slide: Path
) -> None:
    request = TranslateRequest(
        model, slide, tmp_path / "virtual.ome.zarr", TranslateSettings(format="ome-zarr")
    )

    done = translate_slide(request, quiet)

    found = pixels(done.path)
    with open_slide(slide) as opened:
        he = opened.read(Box.of(SIZE))
    whole = from_batch(load_generator(model)(to_batch(he)))
    translated = (found != 255).any(axis=-1)
    assert (done.size, done.mpp, done.notes) == (SIZE, 0.5, ())
    assert translated[:, :700].all()
    assert not translated[:, 1100:1500].any()
    assert 0.3 < done.translated < 1
    assert np.abs(found[translated].astype(int) - whole[translated]).max() == 0
    assert whole.std() > 3


def test_the_pyramid_opens_with_its_pixel_size(tmp_path: Path, model: Path, slide: Path) -> None:
    done = translate_slide(TranslateRequest(model, slide, tmp_path / "virtual.tif"), quiet)

    with open_slide(done.path) as opened:
        assert opened.size == SIZE
        assert opened.mpp == pytest.approx(0.5, rel=1e-4)
        assert len(opened.levels) > 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["virtual.tif", "virtual.tif.json"]


def test_a_stopped_translation_goes_on_where_it_stopped(
    tmp_path: Path, model: Path, slide: Path
) -> None:
    whole = translate_slide(TranslateRequest(model, slide, tmp_path / "whole.tif"), quiet)
    request = TranslateRequest(model, slide, tmp_path / "parts.tif")
    with pytest.raises(KeyboardInterrupt):
        translate_slide(request, stops_before_the_last)
    assert not request.out.exists()
    assert len(list((tmp_path / ".parts.tif.units").glob("*.npz"))) == 1
    seen: list[int] = []

    parts = translate_slide(request, lambda stage, done, total: seen.append(done))

    assert parts.path.read_bytes() == whole.path.read_bytes()
    assert seen[0] > 1
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["parts.tif", "parts.tif.json", "whole.tif", "whole.tif.json"]


def test_other_inputs_do_not_reuse_kept_units(tmp_path: Path, model: Path, slide: Path) -> None:
    other = save(tmp_path / "other.pt", GeneratorSpec(width=5, blocks=1))
    out = tmp_path / "virtual.ome.zarr"
    with pytest.raises(KeyboardInterrupt):
        translate_slide(
            TranslateRequest(model, slide, out, TranslateSettings(format="ome-zarr")),
            stops_before_the_last,
        )

    translate_slide(
        TranslateRequest(other, slide, out, TranslateSettings(format="ome-zarr")), quiet
    )

    with open_slide(slide) as opened:
        whole = from_batch(load_generator(other)(to_batch(opened.read(Box.of(SIZE)))))
    assert np.array_equal(pixels(out)[:, :700], whole[:, :700])


def test_another_pixel_size_is_resampled_and_said(tmp_path: Path, model: Path, slide: Path) -> None:
    request = TranslateRequest(model, slide, tmp_path / "virtual.tif", TranslateSettings(mpp=0.4))

    done = translate_slide(request, quiet)

    assert done.size == Size(1840, 512)
    assert done.mpp == pytest.approx(0.5)
    assert any("0.4 µm/px and the model was trained at 0.5: resampled" in n for n in done.notes)


def test_an_immunostained_slide_is_told_from_h_and_e(tmp_path: Path, model: Path) -> None:
    brown = np.full((400, 600, 3), 244, np.uint8)
    noise = np.random.default_rng(1).integers(-9, 9, (200, 400, 1))
    brown[100:300, 100:500] = np.array([150, 100, 60]) + noise
    Image.fromarray(brown).save(tmp_path / "ihc.png")
    request = TranslateRequest(
        model, tmp_path / "ihc.png", tmp_path / "virtual.tif", TranslateSettings(mpp=0.5)
    )

    told = "ihc.png looks like an immunostain, not H&E: is it the right slide?"
    assert told in translate_slide(request, quiet).notes
    assert told in plan_translation(request)["notes"]  # type: ignore[operator]


def test_a_model_without_pixel_size_says_so(tmp_path: Path, slide: Path) -> None:
    silent = save(tmp_path / "silent.pt", GeneratorSpec(width=4, blocks=1), mpp=None)

    done = translate_slide(TranslateRequest(silent, slide, tmp_path / "virtual.tif"), quiet)

    assert done.mpp == pytest.approx(0.5)
    assert any("does not say at which µm/px" in note for note in done.notes)


def test_models_that_cannot_be_tiled_are_refused_before_any_work(
    tmp_path: Path, slide: Path
) -> None:
    spec = GeneratorSpec(**{**GENERATORS["cyclegan"].__dict__, "width": 2})
    model = save(tmp_path / "cycle.pt", spec)

    with pytest.raises(TilingError, match="InstanceNorm"):
        translate_slide(TranslateRequest(model, slide, tmp_path / "virtual.tif"), quiet)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cycle.pt"]


def test_a_slide_without_tissue_says_what_to_do(tmp_path: Path, model: Path) -> None:
    Image.new("RGB", (1200, 900), (243, 243, 243)).save(tmp_path / "glass.png")
    request = TranslateRequest(
        model, tmp_path / "glass.png", tmp_path / "virtual.tif", TranslateSettings(mpp=0.5)
    )

    with pytest.raises(UsageError, match="add --everywhere"):
        translate_slide(request, quiet)


def test_command_line_translates_slides_and_folders(
    tmp_path: Path, model: Path, slide: Path
) -> None:
    patches = tmp_path / "patches" / "test"
    patches.mkdir(parents=True)
    he = np.random.default_rng(1).integers(0, 256, (37, 50, 3), dtype=np.uint8)
    Image.fromarray(he).save(patches / "00001_test_2+.png")
    run = CliRunner().invoke

    folder = run(
        app, ["translate", str(model), str(tmp_path / "patches"), "--out", str(tmp_path / "v")]
    )
    arguments = ["translate", str(model), str(slide), "--out", str(tmp_path / "v.tif")]
    whole = run(app, [*arguments, "--everywhere", "--json"])

    assert folder.exit_code == 0, folder.output
    assert whole.exit_code == 0, whole.output
    expected = from_batch(load_generator(model)(to_batch(he)))
    assert np.array_equal(
        np.asarray(Image.open(tmp_path / "v" / "test" / "00001_test_2+.png")), expected
    )
    described = json.loads(whole.stdout)
    assert (described["width"], described["height"]) == (2300, 640)
    assert described["translated"] == 1.0


def test_a_slide_is_never_written_over_and_another_result_neither(
    tmp_path: Path, model: Path, slide: Path
) -> None:
    before = slide.read_bytes()
    with pytest.raises(OutputError, match="is read by this command"):
        translate_slide(TranslateRequest(model, slide, slide), quiet)
    out = tmp_path / "virtual.tif"
    out.write_text("notes of mine")
    with pytest.raises(UsageError, match="is there already, made by something else"):
        translate_slide(TranslateRequest(model, slide, out), quiet)
    assert (slide.read_bytes(), out.read_text()) == (before, "notes of mine")


def test_a_finished_translation_is_seen_as_finished(
    tmp_path: Path, model: Path, slide: Path
) -> None:
    request = TranslateRequest(model, slide, tmp_path / "virtual.tif")
    first = translate_slide(request, quiet)
    written = request.out.stat()

    def never(stage: str, done: int, total: int) -> None:
        raise AssertionError

    assert translate_slide(request, never) == first
    assert request.out.stat() == written
    other = save(tmp_path / "other.pt", GeneratorSpec(width=2, blocks=1))
    with pytest.raises(UsageError, match="made by another model, of another slide or with other"):
        translate_slide(TranslateRequest(other, slide, request.out), quiet)


def test_a_folder_knows_what_made_its_images(tmp_path: Path, model: Path) -> None:
    patches, out = tmp_path / "patches", tmp_path / "out"
    patches.mkdir()
    for number in range(2):
        Image.new("RGB", (64, 64), (200, 90 * number, 150)).save(patches / f"{number}.png")
    trained = load_generator(model)
    first, second = translate_folder(trained, patches, out)
    kept, old = first.stat(), second.read_bytes()
    Image.new("RGB", (64, 64), (10, 200, 30)).save(patches / "1.png")

    translate_folder(trained, patches, out)

    assert first.stat() == kept, "of the same source: left alone"
    assert second.read_bytes() != old, "its source is another by now"
    other = load_generator(save(tmp_path / "other.pt", GeneratorSpec(width=2, blocks=1)))
    with pytest.raises(DataError, match="holds images of another model"):
        translate_folder(other, patches, out)
    with pytest.raises(OutputError, match="is or holds"):
        translate_folder(trained, patches, patches)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "0.png").write_text("mine")
    with pytest.raises(DataError, match=r"0\.png was not made here"):
        translate_folder(trained, patches, foreign)
    Image.new("RGB", (64, 64)).save(patches / "0.jpg")
    with pytest.raises(DataError, match=r"0\.jpg and .*0\.png would both be written as 0\.png"):
        translate_folder(trained, patches, tmp_path / "new")
    (patches / "0.jpg").rename(patches / "2.JXL")
    with pytest.raises(
        DataError, match=r"2\.JXL is in a format that is not read: export it as PNG"
    ):
        translate_folder(trained, patches, tmp_path / "new")


def test_a_dry_run_says_what_would_be_done_and_refuses_what_the_run_refuses(
    tmp_path: Path, model: Path, slide: Path
) -> None:
    out = tmp_path / "virtual.tif"
    words = ["translate", str(model), str(slide), "--out", str(out), "--dry-run"]

    planned = CliRunner().invoke(app, [*words, "--json"])

    assert json.loads(planned.stdout)["done already"] is False
    assert list(tmp_path.iterdir()) == []
    out.write_bytes(b"of somebody else")
    assert "is there already" in str(CliRunner().invoke(app, words).exception)


@pytest.mark.parametrize(
    ("name", "image_format", "written"),
    [
        ("a", "tiff", "a.tif"),
        ("a.TIFF", "tiff", "a.TIFF"),
        ("p12_v0.5", "ome-tiff", "p12_v0.5.ome.tif"),
        ("a.ome.tif", "ome-tiff", "a.ome.tif"),
        ("a", "ome-zarr", "a.ome.zarr"),
        ("a.jpg", "tiff", None),
        ("a.zarr", "ome-tiff", None),
        ("a.tif", "ome-zarr", None),
    ],
)
def test_a_name_says_what_is_written(
    name: str, image_format: ImageFormat, written: str | None
) -> None:
    if written is None:
        with pytest.raises(OutputError, match=f"{name} is no name for the format {image_format}"):
            output_path(Path(name), image_format)
    else:
        assert output_path(Path("out") / name, image_format) == Path("out") / written
