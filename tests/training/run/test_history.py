"""What a run writes down, and the report made of it."""

from __future__ import annotations

import math
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.browser import Browser, check_page
from registration.files.storage import write_json, write_text, written_whole
from training.data.confidence import scale_confidence
from training.data.images import ImageFile
from training.data.pairs import PatchPair
from training.run.history import CsvLog, Meter, broken_losses, read_numbers
from training.run.report import headlines, write_report
from training.run.samples import write_sheet


def test_meter_gives_means_and_starts_anew() -> None:
    meter = Meter()
    for value in (1.0, 2.0, 6.0):
        meter.add({"a": torch.tensor(value), "b": torch.tensor(-value)}, images=2)

    means, images_per_s, waiting, step_s = meter.read(waited_s=0.0)

    assert means == {"a": 3.0, "b": -3.0}
    assert images_per_s == pytest.approx(2 / step_s, rel=1e-6)
    assert waiting == 0
    assert (meter.steps, meter.means()) == (0, {})


def test_one_nan_among_good_steps_is_found() -> None:
    meter = Meter()
    for value in (1.0, math.nan, 1.0):
        meter.add({"G_L1": torch.tensor(value), "D_real": torch.tensor(1.0)}, images=1)

    assert broken_losses(meter.means()) == "G_L1 is nan"
    assert broken_losses({"a": 1.0}) == ""
    assert broken_losses({"a": math.inf}) == "a is inf"


def test_table_drops_later_and_cut_off_rows(tmp_path: Path) -> None:
    table = CsvLog(tmp_path / "t.csv")
    for step in (5, 10, 15):
        table.append({"step": step, "loss": step / 10})
    with (tmp_path / "t.csv").open("a") as file:
        file.write("20,2.")

    table.cut(10)

    assert [row["step"] for row in table.rows()] == ["5", "10"]
    table.append({"step": 11, "loss": 7})
    assert read_numbers(table.rows()) == {"step": [5, 10, 11], "loss": [0.5, 1.0, 7.0]}
    table.cut(0)
    assert not (tmp_path / "t.csv").exists()


def test_files_are_whole_or_not_there(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "x.txt", "old")

    def fails_half_way() -> None:
        with written_whole(tmp_path / "a" / "x.txt") as part:
            part.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails_half_way()

    assert (tmp_path / "a" / "x.txt").read_text() == "old"
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["x.txt"]


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


@pytest.fixture
def finished_run(tmp_path: Path) -> Path:
    """The files of a run of three epochs, and its report."""
    write_json(tmp_path / "config.json", {"model": "pix2pix", "recipe": "paper", "epochs": [2, 2]})
    about = {"dataset": "<data>", "train_pairs": 4, "held_out_pairs": 1, "notes": ["warning: few"]}
    about["machine"] = {"device": "cpu", "precision": "32-true"}
    write_json(tmp_path / "run.json", about)
    history, validation = CsvLog(tmp_path / "history.csv"), CsvLog(tmp_path / "validation.csv")
    for step in (1, 2, 3):
        history.append(
            {"epoch": step, "step": step, "lr": 1e-4, "G_L1": 3 / step, "G_GAN": 1, "D_real": 0.01,
             "D_fake": 0.02, "images_per_s": 5, "waiting": 0.2}
        )  # fmt: skip
        scores = {"psnr": 20 - step, "ssim": 0.4, "dab_error": 0.1}
        validation.append({"epoch": step, "step": step, **scores})
        image = np.full((20, 30, 3), 60 * step, np.uint8)
        write_sheet(tmp_path / "samples" / f"epoch_{step:04d}.png", [(image, image, image)])

    write_report(tmp_path)
    return tmp_path


def test_report_is_one_file_with_curves_and_samples(finished_run: Path) -> None:
    html = (finished_run / "train.html").read_text()
    tags = Tags()
    tags.feed(html)
    names = [tag for tag, _ in tags.seen]
    assert html.count('<svg class="plot"') == 7
    assert names.count("img") == 3
    assert all(
        str(a["src"]).startswith("data:image/jpeg;base64,") for t, a in tags.seen if t == "img"
    )
    assert "://" not in html
    assert "&lt;data&gt;" in html


def test_report_fits_a_phone_and_a_desk_and_its_slider_works(
    finished_run: Path, browser: Browser
) -> None:
    page = finished_run / "train.html"

    check_page(browser, page)

    browser.evaluate("which.value = 0, which.dispatchEvent(new Event('input', {bubbles: true}))")
    assert browser.evaluate("epoch.value") == "1"
    assert browser.evaluate("document.querySelectorAll('.sheet img:not([hidden])').length") == 1


def test_headlines_name_what_goes_wrong() -> None:
    history = {"waiting": [0.2], "images_per_s": [5.0], "D_real": [0.01], "D_fake": [0.01]}
    validation = {"epoch": [1.0, 2.0], "psnr": [20.0, 18.0], "ssim": [0.5, 0.4]}
    validation["dab_error"] = [0.1, 0.1]
    lines = headlines({"epochs": [1, 1]}, {"notes": ["fine", "warning: x"]}, history, validation)

    warnings = [text for warned, text in lines if warned]
    assert any("2.0 dB worse" in text for text in warnings)
    assert any("waiting for images" in text for text in warnings)
    assert any("discriminator tells" in text for text in warnings)
    assert "warning: x" in warnings
    assert (False, "fine") in lines


def pair(shift: float | None, trust: float = 1.0) -> PatchPair:
    file = ImageFile(Path("x.png"))
    return PatchPair("p", file, file, shift_px=shift, trust=trust)


def test_confidence_falls_with_the_shift_and_less_at_coarse_scales() -> None:
    weights = scale_confidence([pair(0.0), pair(4.0), pair(40.0)], scales=4, tolerance_px=4.0)

    assert weights is not None
    assert weights.shape == (3, 4)
    assert weights.mean(axis=0) == pytest.approx([1, 1, 1, 1], rel=1e-5)
    assert weights[1, 0] / weights[0, 0] == pytest.approx(0.5)
    assert weights[2, 0] / weights[0, 0] == pytest.approx(1 / 101)
    assert weights[2, 3] / weights[0, 3] == pytest.approx(1 / (1 + (40 / 32) ** 2))


def test_grades_weigh_where_they_are_asked_to() -> None:
    pairs = [replace(pair(1.0), grade=grade) for grade in ("gold", "silver", "bronze", None)]

    plain = scale_confidence(pairs, 1, 4.0)
    graded = scale_confidence(pairs, 1, 4.0, graded=True)

    assert plain is not None
    assert graded is not None
    assert plain[:, 0].tolist() == [1, 1, 1, 1]
    assert (graded[:, 0] / graded[0, 0]).tolist() == [1, 0.5, 0.25, 1]


def test_confidence_without_figures() -> None:
    assert scale_confidence([pair(None), pair(None)], 2, 4.0) is None
    weights = scale_confidence([pair(2.0), pair(None), pair(6.0), pair(None, trust=0.5)], 1, 4.0)
    assert weights is not None
    assert weights[3, 0] == pytest.approx(weights[1, 0] / 2)
    assert weights[2, 0] < weights[1, 0] < weights[0, 0]


def test_a_table_whose_columns_are_damaged_is_begun_anew(tmp_path: Path) -> None:
    table = CsvLog(tmp_path / "history.csv")
    table.append({"step": 1, "loss": 0.5})
    table.append({"step": 2, "loss": 0.25})
    assert [row["step"] for row in table.rows()] == ["1", "2"]
    damaged = (tmp_path / "history.csv").read_bytes().replace(b"loss", b"lo\xffs")
    (tmp_path / "history.csv").write_bytes(damaged)

    table.append({"step": 3, "loss": 0.125})

    assert table.rows() == [{"step": "3", "loss": "0.125"}]
