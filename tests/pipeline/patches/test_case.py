"""One case from its registration to its patches."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.errors import DatasetError, UsageError
from pipeline.patches.alignment import Alignment
from pipeline.patches.case import cut_case, exclusion
from pipeline.patches.geometry import PatchGeometry, Surveyor, folds
from pipeline.patches.record import CasePatches
from pipeline.patches.selection import decide
from pipeline.patches.settings import PatchSettings
from pipeline.patches.writer import encoded
from registration.errors import RunError, SettingsError
from registration.execution import InProcess, no_progress
from registration.geometry import Box
from registration.result import Registration, write_review
from registration.transforms import Chain, DisplacementField, Projective
from registration.warp import warp_box

SETTINGS = PatchSettings(size=256, stride=192, min_tissue=0.3)


@pytest.fixture(scope="module")
def run(hand_made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the run folder that tests may change."""
    folder = tmp_path_factory.mktemp("runs") / "case"
    shutil.copytree(hand_made.registration.folder, folder)
    return folder


@pytest.fixture(scope="module")
def cut(run: Path, tmp_path_factory: pytest.TempPathFactory) -> CasePatches:
    return cut_case(run, tmp_path_factory.mktemp("cut"), SETTINGS, InProcess(), no_progress)


def read(path: Path) -> np.ndarray:
    return cv2.imread(str(path))[..., ::-1]


def test_the_fixed_slide_keeps_its_pixels_and_the_other_is_the_whole_slide_warped(
    cut: CasePatches, hand_made
) -> None:
    slide = hand_made.pair.ihc
    whole = warp_box(hand_made.pair.he, hand_made.registration.chain, Box.of(slide.size)).image
    kept = [candidate for candidate in cut.candidates if candidate.kept]

    assert len(kept) >= 6
    for candidate in kept:
        he, ihc = (read(path) for path in cut.images(candidate))
        box = Box(candidate.x, candidate.y, 256, 256)
        assert np.array_equal(ihc, slide.read(box))
        # cv2 takes positions in steps of 1/32 px, which the last bit of a float can tip over.
        assert np.abs(he.astype(int) - whole[box.slices()]).max() <= 1


def test_every_candidate_is_judged_and_a_true_pair_is_known_as_one(cut: CasePatches) -> None:
    assert {candidate.reason for candidate in cut.candidates} >= {"", "blank HE"}
    assert cut.positions == 7 * 5
    kept = [candidate for candidate in cut.candidates if candidate.kept]
    assert max(candidate.shift_um for candidate in kept) < 1.0
    assert not {candidate.reason for candidate in cut.candidates} & {"no match", "shifted"}
    for candidate in kept:
        assert candidate.null_percentile is not None
        assert candidate.null_percentile >= 95
        assert min(candidate.he_tissue, candidate.ihc_tissue) >= 0.3


def test_candidates_are_found_again_in_the_record(cut: CasePatches) -> None:
    assert CasePatches.load(cut.folder) == cut


def test_a_killed_run_goes_on_with_what_is_there(run: Path, cut: CasePatches) -> None:
    kept = [candidate for candidate in cut.candidates if candidate.kept]
    lost, there = cut.images(kept[0])[0], cut.images(kept[1])[0]
    before = lost.read_bytes(), there.stat().st_mtime_ns
    lost.unlink()
    (cut.folder / "patches.json").unlink()

    again = cut_case(run, cut.folder, SETTINGS, InProcess(), no_progress)

    assert again == cut
    assert (lost.read_bytes(), there.stat().st_mtime_ns) == before


def test_other_limits_measure_nothing_again_and_cut_only_what_changes(
    run: Path, cut: CasePatches, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(cut.folder, folder)
    measured = (folder / "measured.json").stat().st_mtime_ns
    some = next(candidate for candidate in cut.candidates if candidate.kept)
    stamp = (folder / "images" / cut.images(some)[0].name).stat().st_mtime_ns

    strict = cut_case(
        run, folder, SETTINGS.model_copy(update={"min_tissue": 0.9}), InProcess(), no_progress
    )

    names = {path.name for item in strict.candidates if item.kept for path in strict.images(item)}
    assert (folder / "measured.json").stat().st_mtime_ns == measured
    assert 0 < sum(c.kept for c in strict.candidates) < sum(c.kept for c in cut.candidates)
    assert {path.name for path in (folder / "images").glob("*.png")} == names
    loose = cut_case(run, folder, SETTINGS, InProcess(), no_progress)
    assert [c.kept for c in loose.candidates] == [c.kept for c in cut.candidates]
    assert stamp == (folder / "images" / cut.images(some)[0].name).stat().st_mtime_ns or (
        cut.images(some)[0].name not in names
    )


@pytest.mark.slow
def test_workers_that_measured_other_patches_of_the_case_do_not_mix_them_up(
    run: Path, cut: CasePatches, tmp_path: Path
) -> None:
    folder = tmp_path / "case"
    cut_case(
        run,
        folder,
        SETTINGS.model_copy(update={"size": 192, "stride": 192}),
        InProcess(),
        no_progress,
    )

    again = cut_case(run, folder, SETTINGS, InProcess(), no_progress)

    assert again.candidates == cut.candidates


@pytest.mark.slow
def test_side_by_side_and_lossless_webp_hold_the_same_pixels(
    run: Path, cut: CasePatches, tmp_path: Path
) -> None:
    settings = SETTINGS.model_copy(update={"format": "webp", "layout": "pix2pix"})

    joined = cut_case(run, tmp_path, settings, InProcess(), no_progress)

    candidate = next(candidate for candidate in joined.candidates if candidate.kept)
    (path,) = joined.images(candidate)
    same = next(c for c in cut.candidates if (c.x, c.y) == (candidate.x, candidate.y))
    assert path.suffix == ".webp"
    assert np.array_equal(read(path), np.hstack([read(p) for p in cut.images(same)]))


def test_a_coarser_patch_shows_the_same_place(run: Path, hand_made, tmp_path: Path) -> None:
    settings = PatchSettings(size=128, mpp=1.0, min_tissue=0.3)

    coarse = cut_case(run, tmp_path, settings, InProcess(), no_progress)

    candidate = next(candidate for candidate in coarse.candidates if candidate.kept)
    ihc = read(coarse.images(candidate)[1])
    fine = hand_made.pair.ihc.read(Box(candidate.x, candidate.y, 256, 256))
    halved = cv2.resize(fine, (128, 128), interpolation=cv2.INTER_AREA)
    assert coarse.mpp == pytest.approx(1.0)
    assert np.abs(ihc.astype(int) - halved).max() <= 1


def test_a_slide_that_changed_after_registration_is_refused(
    hand_made, run: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    record = json.loads((folder / "registration.json").read_text())
    other = tmp_path / "he.png"
    image = read(hand_made.pair.he.path)
    cv2.imwrite(str(other), np.ascontiguousarray(image[..., ::-1]) // 2)
    record["inputs"]["he"]["path"] = str(other)
    record["key"] = "another"
    (folder / "registration.json").write_text(json.dumps(record))

    with pytest.raises(RunError, match=r"he\.png has changed since it was registered"):
        cut_case(folder, tmp_path / "out", SETTINGS, InProcess(), no_progress)


def test_a_slide_without_room_for_a_patch_says_so(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not fit on the slide of 1500 x 1100 px"):
        cut_case(run, tmp_path, PatchSettings(size=1200), InProcess(), no_progress)


def test_a_person_overrules_the_verdict(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    failed = replace(Registration.load(folder), verdict="fail", reasons=("nothing matches",))

    assert exclusion(failed) == "registration failed: nothing matches"
    assert exclusion(replace(failed, review="accepted")) is None
    write_review(folder, "rejected")
    assert exclusion(Registration.load(folder)) == "rejected by a person"
    write_review(folder, "needs landmarks")
    assert exclusion(Registration.load(folder)) == "a person asks for landmarks"
    write_review(folder, None)
    assert exclusion(Registration.load(folder)) is None


GOOD = PatchGeometry(fixed_tissue=0.8, moving_tissue=0.7, filled=0.0, fold=False, seam=False)


@pytest.mark.parametrize(
    ("geometry", "alignment", "rank", "reason"),
    [
        (GOOD, Alignment(3.0, 0.5), 99.0, ""),
        (replace(GOOD, filled=0.03, fold=True), Alignment(3.0, 0.5), 99.0, "no source"),
        (replace(GOOD, fold=True, moving_tissue=0.0), None, None, "folded"),
        (replace(GOOD, moving_tissue=0.4, fixed_tissue=0.1), None, None, "blank HE"),
        (replace(GOOD, fixed_tissue=0.4), None, None, "blank IHC"),
        (GOOD, Alignment(30.0, 0.1), 94.9, "no match"),
        (GOOD, Alignment(10.1, 0.5), 100.0, "shifted"),
        (GOOD, Alignment(10.0, 0.5), 95.0, ""),
        (GOOD, Alignment(2.0, 0.5), None, ""),
        (replace(GOOD, seam=True), Alignment(2.0, 0.5), 100.0, ""),
    ],
)
def test_the_first_reason_that_holds_is_given(geometry, alignment, rank, reason: str) -> None:
    assert decide(geometry, "he", alignment, rank, PatchSettings()) == reason


def test_with_the_ihc_slide_warped_the_stains_change_places() -> None:
    pale_ihc = replace(GOOD, moving_tissue=0.1)

    assert decide(pale_ihc, "ihc", None, None, PatchSettings()) == "blank IHC"


class EverythingUsable:
    def at(self, points: np.ndarray) -> np.ndarray:
        return np.ones(len(points), np.float32)


def surveyor(registration: Registration, chain: Chain) -> Surveyor:
    everything = EverythingUsable()
    return Surveyor(replace(registration, chain=chain), everything, everything)  # type: ignore[arg-type]


def test_what_lies_off_the_warped_slide_is_measured(hand_made) -> None:
    width = hand_made.registration.he.width
    chain = Chain((Projective.translation(width - 64, 0),))

    found = surveyor(hand_made.registration, chain).measure(Box(0, 0, 256, 128))

    assert found.filled == pytest.approx(0.75, abs=0.02)


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_folding_transform_is_seen_and_a_mirrored_one_is_not_taken_for_it(
    mirrored: bool,
) -> None:
    axes = np.arange(20.0), np.arange(14.0)
    xs, ys = np.meshgrid(*axes)
    sign = -1.0 if mirrored else 1.0
    plain = np.stack([sign * xs, ys], axis=-1)
    folded = plain.copy()
    folded[5:9, 8:12, 0] = sign * (20 - xs[5:9, 8:12] * 1.2)

    assert not folds(plain, *axes, mirrored)
    assert folds(folded, *axes, mirrored)


def test_a_jump_between_blocks_marks_the_patches_on_it(hand_made) -> None:
    registration = hand_made.registration
    column = sorted({block.x for block in registration.blocks})[2]
    nodes = np.zeros((20, 24, 2))
    still = DisplacementField.from_nodes((-100.0, -100.0), 100.0, nodes)

    class Jump:
        def on_grid(self, xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
            mapped = still.on_grid(xs, ys)
            mapped[:, xs >= column, 1] += 3.0
            return mapped

    jumping = surveyor(registration, Jump())  # type: ignore[arg-type]

    assert jumping.measure(Box(column - 100, 300, 256, 256)).seam
    assert not jumping.measure(Box(column, 300, 256, 256)).seam
    assert (
        not surveyor(registration, registration.chain)
        .measure(Box(column - 100, 300, 256, 256))
        .seam
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 32}, "--size: expected 64 to 8192 px, found 32"),
        ({"stride": 0}, "--stride: expected at least 1 px, found 0"),
        ({"min_tissue": 1.5}, "--min-tissue: expected 0 to 1, found 1.5"),
        ({"min_percentile": -1}, "--min-percentile: expected 0 to 100 %, found -1"),
        ({"max_shift_um": -1}, "--max-shift: expected at least 0 µm, found -1"),
        ({"mpp": 0.0}, "--mpp: expected 0.05 to 50 µm/px, found 0.0"),
    ],
)
def test_impossible_settings_are_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        PatchSettings.of(change, options=True)


def test_a_folder_of_something_else_is_no_case(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"patches\.json is missing"):
        CasePatches.load(tmp_path)
    for text, message in (
        ("{}", "not written by"),
        ("[]", "not written by"),
        ('{"format": "bci-pipeline case patches", "key": 3}', r"damaged \(at key\)"),
        ('{"format": ', "damaged"),
        ("\x00" * 9, "damaged"),
    ):
        (tmp_path / "patches.json").write_text(text)
        with pytest.raises(DatasetError, match=message):
            CasePatches.load(tmp_path)


def test_png_and_webp_keep_every_pixel_and_jpeg_nearly() -> None:
    image = np.random.default_rng(0).integers(60, 200, (37, 51, 3)).astype(np.uint8)
    image = cv2.GaussianBlur(image, (0, 0), 3)

    for kind, most in (("png", 0), ("webp", 0), ("jpeg", 6)):
        decoded = cv2.imdecode(np.frombuffer(encoded(image, kind), np.uint8), 1)[..., ::-1]
        assert np.abs(decoded.astype(int) - image).max() <= most
