"""The report of a registered pair: what it says, what it draws, and that it works in a browser."""

from __future__ import annotations

import base64
import html
import math
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.browser import Browser, check_page, find_chromium
from benchmarks.pictures import SECTIONS, photographed
from pipeline.report.cells import cells_finding, cells_tiles
from pipeline.report.drawing import colour_of, coloured
from pipeline.report.findings import landmark_rows, residual_finding, tiles
from pipeline.report.maps import FOLD_COLOUR, Ground, SampledField, displacement_map, folding_map
from pipeline.report.places import Place, choose_places, field_box, three_of
from pipeline.report.provenance import command_of
from pipeline.report.registration import write_report
from pipeline.report.seams import seam_figure
from pipeline.report.views import views
from registration.bspline import BSpline
from registration.figures import Residual
from registration.files.storage import write_npz
from registration.geometry import Box
from registration.landmarks.landmarks import write_landmarks
from registration.pages.page import number, render, significant
from registration.residual_map import ResidualMap
from registration.result import RESIDUAL_NAME, Registration
from registration.tissue import TissueMap
from registration.transforms import Chain, DisplacementField, SplicedField


@pytest.fixture(scope="module")
def report(hand_made) -> Path:
    return write_report(hand_made.registration, hand_made.pair)


@pytest.fixture(scope="module")
def text(report: Path) -> str:
    """The words a reader sees."""
    page = report.read_text(encoding="utf-8")
    body = re.sub(r"<(style|script)>.*?</\1>", "", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", body)))


@pytest.fixture(scope="module")
def tissue(hand_made) -> TissueMap:
    return TissueMap.of(hand_made.pair.ihc)


def with_field(registration: Registration, field) -> Registration:
    return replace(registration, chain=Chain((field, registration.chain.steps[1])))


def picture(uri: str) -> np.ndarray:
    data = base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"))
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1].astype(float)


def similarity(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation in red, where nuclei are dark and both stains are pale."""
    return float(np.corrcoef(a[..., 0].ravel(), b[..., 0].ravel())[0, 1])


def test_the_file_is_small_and_asks_the_network_for_nothing(report: Path) -> None:
    page = report.read_text(encoding="utf-8")

    assert report.stat().st_size < 6_000_000
    assert "://" not in page
    assert "default-src 'none'" in page
    targets = re.findall(r"""(?:src|href|action)=["']([^"']*)""", page)
    targets += re.findall(r"""url\(["']?([^"')]*)""", page)
    assert len(targets) > 20
    assert all(target.startswith(("data:image/", "#")) for target in targets)


def test_verdict_and_reasons_stand_first_in_words(text: str) -> None:
    head = text[: text.index("Do the two sections lie on each other?")]

    assert "! review" in head
    assert "Blocks 2-3 fell back to the coarse alignment." in head
    assert "Look at what is named here before you use this pair." in head
    assert "14 of 16" in head


def test_numbers_are_those_of_the_registration(hand_made, text: str) -> None:
    registration = hand_made.registration
    tre = registration.quality.tre["after_projective"]

    assert f"{tre.median_px:.2f}" in text
    assert f"{tre.median_um:.2f}" in text
    assert f"{tre.median_rtre:.6f}" in text
    assert registration.he.hash in text
    assert registration.ihc.hash in text
    assert "itk-elastix" in text
    assert "row 2, column 3" in text
    assert "it would fold the tissue" in text


def test_the_mis_clicked_pair_is_marked(hand_made, tmp_path: Path) -> None:
    landmarks = hand_made.registration.landmarks
    landmarks.he[2] += [300, 0]
    write_landmarks(tmp_path / "landmarks.csv", landmarks)

    rows = landmark_rows(replace(hand_made.registration, folder=tmp_path))

    assert [row.worst for row in rows] == [True, False, False, False, False, False]
    assert rows[0].name == "3"
    # 300 px of 0.4 µm, and a little more or less by the noise of the other picks.
    assert rows[0].left_out_um == pytest.approx(120, abs=15)
    assert rows[1].left_out_um < rows[0].left_out_um


def test_the_command_repeats_the_registration(hand_made) -> None:
    words = shlex.split(command_of(hand_made.registration))

    assert words[:2] == ["bci-pipeline", "register"]
    assert words[2:4] == [hand_made.registration.he.path, hand_made.registration.ihc.path]
    options = dict(zip(words[4:-1:2], words[5:-1:2], strict=True))
    assert Path(options["--landmarks"]).exists()
    assert (options["--mpp-he"], options["--mpp-ihc"]) == ("0.4", "0.5")
    assert (options["--blocks"], options["--moving"]) == ("4x4", "he")
    assert words[-1] == "--no-image"
    zarr = replace(hand_made.registration, image="registered.ome.zarr")
    assert command_of(zarr).endswith("--format ome-zarr")


def test_pictures_show_the_slide_before_and_after(hand_made, tissue: TissueMap) -> None:
    places = choose_places(hand_made.registration, hand_made.pair, tissue)
    found = views(hand_made.registration, hand_made.pair, places)

    assert [view.key for view in found] == ["whole", *(view.key for view in found[1:])]
    assert {"best-field", "best-detail", "worst-field", "worst-detail"} <= {v.key for v in found}
    for view in found:
        fixed = picture(view.fixed)
        assert fixed.shape == (view.height, view.width, 3)
        scores = [
            similarity(fixed, picture(view.states[state]))
            for state in ("scanned", "projective", "registered")
        ]
        assert scores[2] > max(scores[:2]) + 0.01, view.key
        assert scores[2] > 0.7, view.key


def test_the_worst_place_is_where_the_shift_is_large(hand_made, tissue, tmp_path: Path) -> None:
    points = tissue.points(300)
    shift = np.where(points[:, :1] > 900, [[3.0, 4.0]], [[0.1, 0.0]])
    lost = points[:, 0] < 450
    score = np.where(lost, 0.1, 0.8)
    found = ResidualMap(points, shift, score, np.full(len(points), 0.2), np.full(len(points), 40.0))
    registration = replace(hand_made.registration, folder=tmp_path)
    write_npz(tmp_path / RESIDUAL_NAME, **found.arrays())

    places = dict(choose_places(registration, hand_made.pair, tissue))

    half = field_box(hand_made.pair, (0, 0), 1000).width / 2
    assert 450 - half < places["best"].field[0] < 900 + half
    # What matches nothing is worse than what is 5 µm off.
    assert places["worst"].field[0] < 450
    assert int(places["worst"].why.split()[0]) < int(places["best"].why.split()[0])
    assert places["worst"].detail[0] < 450


def test_the_close_up_of_the_best_field_is_its_best_place(hand_made, tissue, tmp_path) -> None:
    points = tissue.points(300)
    shift = np.hypot(*(points - [700, 500]).T)[:, None] / [[40.0, 30.0]]
    high, low = (np.full(len(points), value) for value in (0.8, 0.2))
    found = ResidualMap(points, shift, high, low, np.full(len(points), 40.0))
    registration = replace(hand_made.registration, folder=tmp_path)
    write_npz(tmp_path / RESIDUAL_NAME, **found.arrays())

    places = dict(choose_places(registration, hand_made.pair, tissue))

    half = field_box(hand_made.pair, (0, 0), 1000).width / 2
    best, worst = places["best"], places["worst"]
    assert math.dist(best.detail, (700, 500)) < math.dist(best.field, (700, 500)) + half / 4
    assert math.dist(worst.detail, (700, 500)) > math.dist(worst.field, (700, 500))


def test_a_close_up_shows_stained_tissue_and_not_the_glass_that_it_encloses(
    hand_made, tmp_path: Path
) -> None:
    slide = hand_made.pair.fixed_slide
    whole = TissueMap(np.ones((110, 150), bool), 10.0)  # as where µm per pixel are far too small
    side = field_box(hand_made.pair, (0, 0), 200).width
    points = whole.points(2000)
    stained = TissueMap(slide.read(Box.of(slide.size)).mean(axis=2) < 220, 1.0)
    share = stained.share_around(points, side)
    # In every field what matches best and what matches worst lies at an edge of the stained tissue.
    shift = np.where(share[:, None] < 0.3, [[0.1, 0.0]], [[3.0, 4.0]])
    shift[(share > 0.3) & (share < 0.5)] = [9.0, 0.0]
    high, low = (np.full(len(points), value) for value in (0.8, 0.2))
    found = ResidualMap(points, shift, high, low, np.full(len(points), 40.0))
    registration = replace(hand_made.registration, folder=tmp_path)
    write_npz(tmp_path / RESIDUAL_NAME, **found.arrays())

    places = dict(choose_places(registration, hand_made.pair, whole))

    details = np.array([place.detail for place in places.values()])
    assert set(places) >= {"best", "worst"}
    assert (stained.share_around(details, side) >= 0.5).all()


@pytest.mark.parametrize(
    ("xs", "shown"),
    [
        ([0, 500, 1000], ["best", "typical", "worst"]),
        ([0, 150, 300], ["best", "worst"]),
        ([0, 900, 1000], ["best", "worst"]),
        ([0, 50, 100], ["best"]),
        ([], []),
    ],
)
def test_the_worst_place_never_gives_way_to_a_typical_one(xs: list[int], shown: list[str]) -> None:
    ranked = [Place((float(x), 0.0), (float(x), 0.0), "") for x in xs]

    assert [key for key, _ in three_of(ranked, apart=200)] == shown


def test_arrows_run_from_where_tissue_lay_to_where_it_lies(hand_made, tissue: TissueMap) -> None:
    # The field says where to read: 10 px to the right. So the tissue moves to the left.
    nodes = np.zeros((16, 20, 2))
    nodes[..., 0] = 10
    moved = with_field(hand_made.registration, DisplacementField.from_nodes((0, 0), 100, nodes))

    ground = Ground.of(hand_made.pair, tissue)
    figure = displacement_map(moved, SampledField.of(moved), ground)

    assert len(figure.arrows) > 50
    assert all(line.x2 < line.x1 and line.y1 == line.y2 for line in figure.arrows)
    factor = float(re.search(r"drawn ([\d.]+) times", figure.note)[1])
    drawn = (figure.arrows[0].x1 - figure.arrows[0].x2) / 100 * hand_made.registration.fixed.width
    assert drawn == pytest.approx(10 * factor, rel=0.02)
    assert figure.legend is not None
    assert float(figure.legend.high) >= 5.0


def test_folds_are_marked_and_nothing_else_is(hand_made, tissue: TissueMap) -> None:
    ground = Ground.of(hand_made.pair, tissue)
    nodes = np.zeros((12, 16, 2))
    nodes[5:7, 7, 0], nodes[5:7, 8, 0] = 130, -130
    folded = with_field(hand_made.registration, DisplacementField.from_nodes((0, 0), 100, nodes))

    without, with_fold = (
        np.abs(
            picture(folding_map(SampledField.of(registration), ground, in_pieces=False).picture)
            - FOLD_COLOUR
        ).max(axis=2)
        < 40
        for registration in (hand_made.registration, folded)
    )

    assert not without.any()
    rows, columns = np.nonzero(with_fold)
    # The fold lies between the nodes at x = 700 and 800, y = 500 and 600.
    assert columns.mean() * ground.downsample == pytest.approx(750, abs=25)
    assert rows.mean() * ground.downsample == pytest.approx(550, abs=25)


def test_the_seam_check_finds_a_jump(hand_made, tissue: TissueMap) -> None:
    cores = tuple(Box(x, 0, 750, 1100) for x in (0, 750))
    still, shifted = (
        BSpline((-600.0, -600.0), (200.0, 200.0), np.full((14, 16, 2), value))
        for value in (0.0, 3.0)
    )
    registration = with_field(hand_made.registration, SplicedField(cores, (still, shifted)))
    registration = replace(registration, settings=replace(registration.settings, rows=1, columns=2))

    figure = seam_figure(registration, hand_made.pair, tissue, limit_px=0.5)

    assert figure is not None
    assert figure.plot is not None
    assert "limit for the 95th percentile" in figure.plot
    assert figure.strip is not None
    assert "column 750 px" in figure.strip.caption
    assert figure.strip.width > 3 * figure.strip.height


def test_what_was_not_measured_is_said_in_one_line(hand_made, tmp_path: Path) -> None:
    shutil.copytree(hand_made.registration.folder, tmp_path / "run")
    (tmp_path / "run" / RESIDUAL_NAME).unlink()
    bare = replace(
        hand_made.registration,
        folder=tmp_path / "run",
        settings=replace(hand_made.registration.settings, rows=1, columns=1),
        blocks=hand_made.registration.blocks[:1],
        quality=replace(hand_made.registration.quality, tre={}, seams=None, residual=None),
    )

    page = write_report(bare, hand_made.pair).read_text(encoding="utf-8")

    assert "Not measured: no known points were given" in page
    assert "The slide was registered as one block" in page
    assert "Too little tissue to measure it." in page
    assert "The shift that is left was not measured." in page
    assert "No timings were recorded." in page


def test_a_run_of_an_older_version_has_no_tile_for_what_it_did_not_measure(hand_made) -> None:
    older = Residual(points=12, matched_fraction=0.5, median_um=2.0, p90_um=4.0)
    quality = replace(hand_made.registration.quality, residual=older)
    registration = replace(hand_made.registration, quality=quality)

    shown = tiles(registration)

    assert not any("nan" in f"{tile.value} {tile.note}" for tile in shown)
    assert "Tissue confirmed" not in {tile.label for tile in shown}
    assert residual_finding(registration).text.endswith("match better than chance.")


def test_names_of_files_cannot_become_markup(hand_made) -> None:
    evil = '<script>alert("x")</script>'
    registration = replace(
        hand_made.registration,
        reasons=(evil,),
        he=replace(hand_made.registration.he, path=f"/slides/{evil}.ndpi"),
    )
    from pipeline.report.registration import page_values

    page = render(
        "pipeline.report", "registration.html", **page_values(registration, hand_made.pair)
    )

    assert evil not in page
    assert "&lt;script&gt;alert" in page


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0, "0"), (0.00004, "< 0.001"), (0.0423, "0.042"), (0.5, "0.50"), (12.345, "12.3"),
        (1234.5, "1\u202f234"), (float("nan"), "–"), (None, "–"),
    ],
)  # fmt: skip
def test_numbers_as_people_write_them(value: float | None, expected: str) -> None:
    assert significant(value) == expected


def test_minus_signs_and_thousands() -> None:
    assert number(-12345.67, 1) == "−12\u202f345.7"


def test_colours_reach_both_ends_of_their_scale() -> None:
    ends = coloured(np.array([[-5.0, 0.0, 5.0]]), -1, 1, "change")[0]

    assert ends[0, 2] > ends[0, 0]  # blue
    assert ends[1].min() > 240  # white
    assert ends[2, 0] > ends[2, 2]  # red
    assert colour_of(-9, -1, 1, "change") == f"rgb({ends[0, 0]} {ends[0, 1]} {ends[0, 2]})"


PROBE = """
new Promise((finish) => {
const q = (selector) => document.querySelector(selector);
const press = (selector) => q(selector).dispatchEvent(new MouseEvent("click", {bubbles: true}));
const seen = {};
const style = (selector, name) => getComputedStyle(q(selector))[name];
const note = (name) => { seen[name] = {
  cut: style(".over", "clipPath"), image: style(".over", "backgroundImage").slice(5, 27),
  over: q(".over").className, under: q(".under").className, mode: q(".stage").dataset.mode,
  mask: style(".over", "maskImage").slice(0, 14), shown: style(".over", "visibility") } };
note("first");
const range = q(".stage input");
range.value = 20; range.dispatchEvent(new Event("input")); note("dragged");
press('button[data-state="scanned"]'); note("scanned");
const field = q("[data-view]"); field.value = "worst-detail";
field.dispatchEvent(new Event("change")); note("field");
press('button[data-mode="checker"]'); note("checker");
press('button[data-mode="flicker"]'); note("flicker");
const sizes = [...document.querySelectorAll(".pic")].map((element) => new Promise((done) => {
  const image = new Image();
  image.onload = () => done(image.naturalWidth);
  image.onerror = () => done(0);
  image.src = getComputedStyle(element).backgroundImage.slice(5, -2);
}));
const waiting = setInterval(async () => {
  note("later");
  if (seen.later.shown === seen.flicker.shown) return;
  clearInterval(waiting);
  seen.sizes = await Promise.all(sizes);
  finish(seen);
}, 50); })
"""


def test_the_viewer_works_in_a_browser(report: Path, browser: Browser) -> None:
    browser.open(report)

    seen = browser.evaluate(PROBE)

    assert seen["first"]["cut"] == "inset(0px 50% 0px 0px)"
    assert seen["first"]["over"].split()[-1] == "over"
    assert seen["first"]["image"] == "data:image/jpeg;base64"
    assert seen["dragged"]["cut"] == "inset(0px 80% 0px 0px)"
    assert "p-whole-scanned" in seen["scanned"]["over"]
    assert "p-worst-detail-scanned" in seen["field"]["over"]
    assert "p-worst-detail-fixed" in seen["field"]["under"]
    assert seen["checker"]["mode"] == "checker"
    assert seen["checker"]["mask"] == "conic-gradient"
    assert seen["checker"]["cut"] == "none"
    # The flicker shows one slide, and a little later the other.
    assert {seen["flicker"]["shown"], seen["later"]["shown"]} == {"visible", "hidden"}
    assert len(seen["sizes"]) > 25
    assert min(seen["sizes"]) > 100


def test_the_page_fits_a_phone_and_a_desk(report: Path, browser: Browser) -> None:
    check_page(browser, report)


def test_pictures_of_sections_begin_and_end_with_them(report: Path) -> None:
    if find_chromium() is None:
        pytest.skip("no Chromium on this machine")

    parts = photographed(report)

    # A section is a card with a border around it, on a page of another colour.
    for name in SECTIONS:
        edges = [parts[name][row, 40:-40].astype(int) for row in (0, -1)]
        assert all((np.ptp(edge, axis=0) <= 2).all() for edge in edges), name
        assert (parts[name][2, 40:-40] == 255).all(), name


def test_the_page_says_what_single_cells_say(hand_made, text: str) -> None:
    cells = hand_made.registration.quality.cells

    assert cells is not None
    # The two images show the same drawn nuclei under the very transform that drew them.
    assert cells.beyond_low > 0.7
    assert cells.shift_um < 0.3
    section = text[text.index("Do single cells lie on each other?") :]
    assert f"of {cells.nuclei:,} nuclei have a partner" in section
    assert f"{100 * cells.beyond:.0f} % beyond chance" in section
    assert cells.sections.capitalize() + "." in section


def test_what_was_not_measured_of_cells_is_not_shown(hand_made) -> None:
    registration = hand_made.registration
    coarse = replace(registration, quality=replace(registration.quality, cells=None))

    assert cells_tiles(coarse) == []
    assert cells_finding(coarse).text.startswith("Not measured")
