"""The files of an evaluation: JSON, CSV and the page."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks.browser import Browser, check_page
from registration.files.plain_json import json_text
from training.data.images import ImageFile, Pixels, write_png
from training.data.pairs import PatchPair
from training.evaluation.cases import dab_difference, draw_cases, pick_cases
from training.evaluation.measures import METRICS
from training.evaluation.report import (
    About,
    as_csv,
    as_html,
    as_json,
    headlines,
    interval_text,
    verdict,
    write_evaluation,
)
from training.evaluation.scoring import Candidate, Evaluation, Scoring, evaluate
from training.evaluation.summary import MODEL
from training.metrics.intervals import Interval

ABOUT = About("pyramid <b>model</b>", "toy", "test split", "full", ("a note",), {"seed": 1})


def darker(pair: PatchPair, he: Pixels, real: Pixels) -> Pixels:
    return np.clip(real.astype(int) - 4 * (int(pair.name) + 1), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    """Twelve pairs; the model gets worse with the number; a control is worse, another better."""
    folder = tmp_path_factory.mktemp("pairs")
    pairs = []
    for number in range(12):
        rng = np.random.default_rng(number)
        files = []
        for stain in ("he", "ihc"):
            path = folder / stain / f"{number}.png"
            write_png(path, rng.integers(90, 230, (30, 44, 3), dtype=np.uint8))
            files.append(ImageFile(path))
        her2 = None if number == 11 else ("0", "3+")[number % 2]
        pairs.append(PatchPair(str(number), *files, split="test", her2=her2))
    candidates = (
        Candidate(MODEL, "model", "the model", darker),
        Candidate("mean", "mean image", "grey", lambda _, __, real: np.full_like(real, 160)),
        Candidate("he", "H&E itself", "input", lambda _, he, __: he),
        Candidate("truth", "almost truth", "", lambda _, __, real: real ^ 1),
    )
    return evaluate(pairs, candidates, Scoring(shift_px=1))


def test_json_holds_means_bounds_and_no_nan(evaluation: Evaluation) -> None:
    found = json.loads(json_text(as_json(evaluation, ABOUT)))

    psnr = found["summary"]["model"]["all"]["psnr"]
    assert psnr["mean"] == pytest.approx(evaluation.values[MODEL]["psnr"].mean())
    assert psnr["low"] < psnr["mean"] < psnr["high"]
    assert set(found["summary"]["model"]) == {"all", "0", "3+"}
    assert found["intervals"]["resampled_by"] == "image"
    assert found["model_minus_control"]["mean"]["psnr"]["images"] == 12
    assert found["paper"][4]["bci_psnr"] == 21.16


def test_csv_has_a_row_per_image_and_candidate(evaluation: Evaluation) -> None:
    rows = list(csv.DictReader(as_csv(evaluation).splitlines()))

    assert len(rows) == 12 * 4
    row = next(r for r in rows if (r["image"], r["candidate"]) == ("3", "model"))
    assert float(row["ssim"]) == pytest.approx(evaluation.values[MODEL]["ssim"][3], rel=1e-5)
    assert row["her2"] == "3+"


def test_cases_are_the_worst_the_median_and_the_best(evaluation: Evaluation) -> None:
    kinds: dict[str, list[int]] = {}
    for kind, number in pick_cases(evaluation):
        kinds.setdefault(kind, []).append(number)

    order = np.argsort(-evaluation.values[MODEL]["dab_error"]).tolist()
    assert kinds == {"worst": order[:3], "median": order[4:7], "best": order[9:]}


def test_verdicts_follow_the_paired_intervals(evaluation: Evaluation) -> None:
    psnr = METRICS[0]
    dab_error = next(metric for metric in METRICS if metric.key == "dab_error")
    dab_bias = next(metric for metric in METRICS if metric.key == "dab_bias")

    assert verdict(evaluation, "he", psnr) == "better"
    assert verdict(evaluation, "truth", psnr) == "worse"
    assert verdict(evaluation, "truth", dab_error) == "worse"
    assert verdict(evaluation, "truth", dab_bias) == ""


def test_headlines_warn_of_a_mean_image_that_is_as_good(evaluation: Evaluation) -> None:
    warnings = [line for warning, line in headlines(evaluation) if warning]

    assert any("too brown" in line for line in warnings)
    same = evaluation.differences | {("mean", "psnr"): Interval(0.1, -1.0, 1.2, 12, 12)}
    doubtful = Evaluation(**{**vars(evaluation), "differences": same})
    assert (True, "In PSNR the model is not clearly better than the mean image.") in headlines(
        doubtful
    )


def test_the_difference_picture_is_brown_where_brown_is_too_much() -> None:
    real = np.full((4, 6, 3), 235, np.uint8)
    fake = real.copy()
    fake[:, 3:] = (150, 95, 50)

    more, less = dab_difference(real, fake), dab_difference(fake, real)

    assert (more[0, 0] == 255).all()
    assert more[0, 5, 0] > more[0, 5, 2] + 50
    assert less[0, 5, 2] > less[0, 5, 0] + 50


def test_the_page_is_one_file_that_asks_the_network_for_nothing(
    evaluation: Evaluation, tmp_path: Path
) -> None:
    cases = draw_cases(evaluation, Scoring(shift_px=1))

    write_evaluation(tmp_path, evaluation, ABOUT, cases)

    page = (tmp_path / "evaluation.html").read_text(encoding="utf-8")
    assert len(cases) == 9
    assert page.count("data:image/jpeg;base64,") == 4 * 9
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)|url\((?!#)|@import|https?://""", page)
    assert "pyramid &lt;b&gt;model&lt;/b&gt;" in page
    drawn = [metric for metric in evaluation.metrics if metric.group != "agreement"]
    assert page.count('<svg class="plot"') == len(drawn)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "evaluation.csv",
        "evaluation.html",
        "evaluation.json",
        "evaluation_groups.csv",
    ]


def test_the_page_fits_a_phone_and_a_desk(
    evaluation: Evaluation, tmp_path: Path, browser: Browser
) -> None:
    write_evaluation(tmp_path, evaluation, ABOUT, draw_cases(evaluation, Scoring(shift_px=1)))

    check_page(browser, tmp_path / "evaluation.html")


def test_an_official_evaluation_of_one_image_has_a_page_too(evaluation: Evaluation) -> None:
    scoring = Scoring(protocol="official")
    single = evaluate(evaluation.pairs[:1], evaluation.candidates, scoring)

    page = as_html(single, ABOUT, draw_cases(single, scoring))

    assert "DAB error" not in page.split("How to read this")[0]
    assert "nan" not in page.lower().split("<style>")[0]
    assert interval_text(single.intervals[MODEL, "all", "psnr"], 1).count("(") == 0
