"""Which stain an image shows, on drawn and on real ones, and what is said of a pair."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest

from registration.slides.slide import open_slide
from registration.stains import Stain, slide_doubt, stain_doubt, stain_of
from registration.synth import SynthSettings
from registration.synth.paint import Painter
from registration.synth.section import cut_sections


@cache
def drawn(her2: str) -> dict[str, np.ndarray]:
    """Both sections of a small synthetic pair, as they are painted."""
    from registration.geometry import Size

    settings = SynthSettings(size=Size(768, 640), seed=8, her2=her2)
    return {
        cut.section: np.vstack(list(Painter(cut).bands())) for cut in cut_sections(settings)[:2]
    }


@pytest.mark.parametrize("her2", ["0", "3+"])
def test_drawn_sections_are_told_apart_without_brown_and_with_much(her2: str) -> None:
    found = {name: stain_of(image) for name, image in drawn(her2).items()}

    assert found == {"he": "H&E", "ihc": "IHC"}


@pytest.mark.parametrize("gamma", [0.3, 0.6, 1.6])
@pytest.mark.parametrize("tint", [(1.0, 1.0, 1.0), (0.94, 0.92, 0.96), (0.99, 0.95, 0.9)])
def test_pale_and_dark_sections_and_tinted_glass(
    gamma: float, tint: tuple[float, float, float]
) -> None:
    for name, image in drawn("0").items():
        scanned = 255 * (image / 255.0) ** gamma * np.array(tint)
        assert stain_of(np.rint(scanned).astype(np.uint8)) == {"he": "H&E", "ihc": "IHC"}[name]


def test_grey_images_and_bare_glass_are_neither() -> None:
    grey = np.repeat(np.random.default_rng(0).integers(40, 240, (64, 80, 1), np.uint8), 3, axis=2)

    assert stain_of(grey) is None
    assert stain_of(np.full((64, 80, 3), 240, np.uint8)) is None


@pytest.mark.slow
def test_real_images_of_three_sources(real_data: Path) -> None:
    for stain, name in (("H&E", "HE"), ("IHC", "IHC")):
        paths = sorted(real_data.glob(f"patches/*/{name}/test/*"))
        assert len(paths) >= 16
        for path in paths:
            assert stain_of(cv2.imread(str(path))[..., ::-1]) == stain, path
    for path in sorted(real_data.glob("landmarks/*/*.jpg")):
        expected = "H&E" if path.stem == "HE" else "IHC"
        assert stain_of(cv2.imread(str(path))[..., ::-1]) == expected, path


def test_what_is_said_of_a_pair() -> None:
    assert stain_doubt("H&E", "IHC") is None
    assert stain_doubt(None, "IHC") is None
    assert stain_doubt("H&E", None) is None
    assert "look exchanged" in str(stain_doubt("IHC", "H&E"))
    assert "both slides look like H&E" in str(stain_doubt("H&E", "H&E"))
    assert "both slides look like IHC" in str(stain_doubt("IHC", "IHC"))


@pytest.mark.parametrize(
    ("section", "wanted", "words"),
    [
        ("he", "IHC", "looks like H&E, not an immunostain: is it the right slide?"),
        ("ihc", "H&E", "looks like an immunostain, not H&E: is it the right slide?"),
        ("he", "H&E", None),
        ("ihc", "IHC", None),
    ],
)
def test_a_slide_of_another_stain_is_told(
    tmp_path: Path, section: str, wanted: Stain, words: str | None
) -> None:
    cv2.imwrite(str(tmp_path / "slide.png"), drawn("3+")[section][..., ::-1])

    with open_slide(tmp_path / "slide.png", 0.46) as slide:
        assert slide_doubt(slide, wanted) == (words and f"slide.png {words}")
