"""The plugin as napari sees it: manifest, reader, sample data; and what it must not import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from registration.geometry import Box
from registration.slides.slide import open_slide
from registration.synth import SynthCase

npe2 = pytest.importorskip("npe2", reason="napari is not installed")

NEITHER_QT_NOR_NAPARI = (
    "picker.assessment",
    "convert",
    "jobs",
    "picker.journal",
    "levels",
    "picker.model",
    "overlay",
    "picker.picks",
    "picker.pieces",
    "picker.tools",
    "picker.proposals",
    "reader",
    "review.layers",
    "review.model",
    "sample",
    "tone",
    "views",
)


def test_manifest_is_valid_and_every_command_imports() -> None:
    manifest = npe2.PluginManifest.from_distribution("bci-pipeline")

    manifest.validate_imports()

    contributions = manifest.contributions
    assert [one.display_name for one in contributions.widgets] == [
        "Landmark picker",
        "Registration review",
    ]
    assert contributions.readers[0].accepts_directories
    assert contributions.sample_data[0].key == "synthetic-pair"


@pytest.mark.slow
def test_npe2_validate_passes() -> None:
    words = [sys.executable, "-m", "npe2", "validate", "bci-pipeline", "--imports"]

    done = subprocess.run(words, check=False, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "valid!" in done.stdout


def test_state_and_conversions_need_neither_qt_nor_napari() -> None:
    program = "\n".join(
        [
            "import sys",
            *(f"import napari_plugin.{name}" for name in NEITHER_QT_NOR_NAPARI),
            "print([name for name in ('napari', 'qtpy', 'vispy', 'PyQt6') if name in sys.modules])",
        ]
    )

    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )

    assert done.stdout.strip() == "[]"


def test_a_slide_is_read_lazily_in_um(pair: SynthCase) -> None:
    npe2.PluginManager.instance().discover()
    [layer] = npe2.io_utils.read([str(pair.he)], stack=False, plugin_name="bci-pipeline")
    levels, options, kind = layer

    assert kind == "image"
    assert options["rgb"]
    with open_slide(pair.he) as slide:
        np.testing.assert_array_equal(
            levels[0][200:230, 300:350], slide.read(Box(300, 200, 50, 30))
        )
        np.testing.assert_allclose(options["affine"], np.diag([slide.mpp, slide.mpp, 1]))


def test_what_is_no_slide_is_left_to_others(tmp_path: Path) -> None:
    from napari_plugin.reader import get_reader

    text = tmp_path / "notes.tif"
    text.write_text("no image", encoding="utf-8")

    assert get_reader(str(text)) is None
    assert get_reader(str(tmp_path)) is None
    assert get_reader([str(text)]) is None


def test_the_sample_pair_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    from napari_plugin import sample

    monkeypatch.setattr(sample, "SETTINGS", _small(sample.SETTINGS))

    layers = sample.sample_pair()
    written = [path.stat().st_mtime_ns for path in sample.sample_slides()]

    assert [options["name"] for _, options, _ in layers] == ["sample H&E", "sample IHC"]
    assert [path.stat().st_mtime_ns for path in sample.sample_slides()] == written


def _small(settings: Any) -> Any:
    from dataclasses import replace

    from registration.geometry import Size

    return replace(settings, size=Size(640, 512))
