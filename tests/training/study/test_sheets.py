"""The reader's page in a real browser: keys, autosave, export, and no word of which is which."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from training.data.images import Pixels, write_png
from training.data.pairs import open_dataset
from training.study.create import create_study
from training.study.sheets import read_sheet, read_study

if TYPE_CHECKING:
    from benchmarks.browser import Browser


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of 3 pairs of small images; real ones are brown, generated ones blue."""
    root = tmp_path_factory.mktemp("study")
    rng = np.random.default_rng(5)
    for number, her2 in enumerate(("0", "2+", "3+")):
        for stain, colour in (("HE", (200, 120, 180)), ("IHC", (140, 90, 40))):
            noise = rng.integers(-20, 20, (48, 64, 3))
            pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
            write_png(root / "data" / stain / "test" / f"{number:05d}_test_{her2}.png", pixels)

    def make(pair: object, he: Pixels) -> Pixels:
        return np.full_like(he, (60, 70, 150))

    pairs = open_dataset(root / "data").pairs
    create_study(pairs, make, root / "study", count=3, seed=11)
    return root / "study"


def begin(browser: Browser, page: Path, reader: str) -> None:
    browser.open(page)
    browser.evaluate(f"document.getElementById('name').value = {json.dumps(reader)}")
    browser.evaluate("document.getElementById('name').focus()")
    browser.press("Enter")
    until(browser, "!document.getElementById('work').hidden")


def until(browser: Browser, expression: str) -> None:
    browser.wait_for(lambda: browser.evaluate(expression), expression)


def progress(browser: Browser) -> str:
    return str(browser.evaluate("document.getElementById('progress').textContent"))


def test_keys_score_a_reload_keeps_them_and_the_export_can_be_scored(
    browser: Browser, study: Path, tmp_path: Path
) -> None:
    page = study / "readers" / "study.html"

    begin(browser, page, "Ada L.")
    browser.press("3", "0", "2")
    assert progress(browser) == "3 of 6 scored"
    begin(browser, page, "Ada L.")
    assert progress(browser) == "3 of 6 scored"
    assert browser.evaluate("document.getElementById('where').textContent") == "Image 004"
    browser.press("1", "1", "1", "ArrowLeft", "2", "n")
    assert progress(browser) == "6 of 6 scored"
    browser.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    browser.evaluate("document.getElementById('export').click()")
    sheet = tmp_path / f"Ada_L__{read_study(study).id}.csv"
    browser.wait_for(sheet.exists, f"{sheet.name} is there")

    read = read_sheet(read_study(study), sheet)
    assert read.reader == "Ada L."
    assert read.scores == {"001": 3, "002": 0, "003": 2, "004": 1, "005": 2, "006": 1}


def test_a_second_reader_starts_from_nothing(browser: Browser, study: Path) -> None:
    begin(browser, study / "readers" / "study.html", "Grace")

    assert progress(browser) == "0 of 6 scored"


def test_the_images_on_the_page_are_those_of_the_key(browser: Browser, study: Path) -> None:
    begin(browser, study / "readers" / "study.html", "Mary")
    blue = {}
    for entry in read_study(study).key:
        until(browser, "document.getElementById('image').complete")
        blue[entry.image] = browser.evaluate(
            "(() => { const i = document.getElementById('image'), c = document.createElement('canvas');"
            "c.width = i.naturalWidth; c.height = i.naturalHeight; const x = c.getContext('2d');"
            "x.drawImage(i, 0, 0); const d = x.getImageData(30, 20, 1, 1).data; return d[2] > d[0]; })()"
        )
        browser.press("ArrowRight")

    assert blue == {entry.image: entry.kind == "generated" for entry in read_study(study).key}
