"""Evaluations of known images: scores, intervals, levels, sources of images and what is refused."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from benchmarks.textures import smooth_noise
from training.data.images import Pixels, from_batch, to_batch, write_png
from training.data.pairs import PairDataset, PatchPair, open_dataset
from training.errors import DataError, MemoryFullError
from training.evaluation.controls import control_candidates
from training.evaluation.groups import group_rows
from training.evaluation.run import EvaluationRequest, run_evaluation
from training.evaluation.scoring import Candidate, Evaluation, Scoring, evaluate
from training.evaluation.sources import (
    folder_candidate,
    generated_source,
    model_candidate,
    released_pixels,
    released_view,
)
from training.evaluation.summary import MODEL, REAL
from training.inference.checkpoints import TrainedGenerator, load_generator, save_generator
from training.metrics.pathology import FoundNuclei
from training.models.generators import GeneratorSpec, build_generator
from training.settings.evaluate import EvaluateSettings

LEVELS = ("0", "1+", "2+", "3+", "1+", "3+")


def smooth(seed: int, shape: tuple[int, int] = (56, 72)) -> Pixels:
    blobs = smooth_noise(np.random.default_rng(seed), (*shape, 3), 3)
    return np.clip(170 + 40 * blobs, 0, 255).astype(np.uint8)


def generated(pair: PatchPair, he: Pixels, real: Pixels) -> Pixels:
    """A fair imitation: the real image, darker by an amount that depends on its name."""
    return np.clip(real.astype(int) - 10 - int(pair.name[:5]), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PairDataset:
    """Six pairs in BCI's layout, three patients in a table."""
    root = tmp_path_factory.mktemp("data")
    lines = ["file,patient"]
    for number, level in enumerate(LEVELS):
        name = f"{number:05d}_test_{level}.png"
        write_png(root / "HE" / "test" / name, smooth(number + 100))
        write_png(root / "IHC" / "test" / name, smooth(number))
        lines.append(f"{name},p{number // 2}")
    (root / "patches.csv").write_text("\n".join(lines), encoding="utf-8")
    return open_dataset(root)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny generator with batch normalisation and dropout."""
    spec = GeneratorSpec(width=4, blocks=1)
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "best.pt"
    config = {"model": "pyramid-pix2pix", "recipe": "robust"}
    save_generator(path, TrainedGenerator(build_generator(spec), spec, path, 0.46, config, 3))
    return path


def evaluated(dataset: PairDataset, **scoring: object) -> Evaluation:
    candidate = Candidate(MODEL, "imitation", "", generated)
    controls = control_candidates((), dataset.pairs)
    return evaluate(
        dataset.pairs,
        (candidate, *controls),
        Scoring(shift_px=1, **scoring),  # type: ignore[arg-type]
    )


def test_an_interrupted_evaluation_waits_for_no_image_that_is_queued(dataset: PairDataset) -> None:
    def interrupt(done: int) -> None:
        raise KeyboardInterrupt

    before = set(threading.enumerate())
    candidate = Candidate(MODEL, "imitation", "", generated)

    with pytest.raises(KeyboardInterrupt):
        evaluate(dataset.pairs, (candidate,), Scoring(shift_px=1), on_image=interrupt)

    assert set(threading.enumerate()) <= before


def test_the_official_protocol_is_the_mean_of_scikit_images_scores(dataset: PairDataset) -> None:
    evaluation = evaluated(dataset, protocol="official")

    images = [(pair.ihc.read(), generated(pair, *pair.read())) for pair in dataset.pairs]
    psnr = np.mean([peak_signal_noise_ratio(a, b) for a, b in images])
    ssim = np.mean([structural_similarity(a, b, channel_axis=2) for a, b in images])
    assert [metric.key for metric in evaluation.metrics] == ["psnr", "ssim"]
    assert evaluation.intervals[MODEL, "all", "psnr"].mean == pytest.approx(psnr, abs=1e-6)
    assert evaluation.intervals[MODEL, "all", "ssim"].mean == pytest.approx(ssim, abs=1e-6)


def test_levels_patients_and_differences_are_those_of_the_images(dataset: PairDataset) -> None:
    evaluation = evaluated(dataset)

    assert evaluation.levels == ("all", "0", "1+", "2+", "3+")
    assert evaluation.by_patient
    psnr = evaluation.values[MODEL]["psnr"]
    ones = evaluation.intervals[MODEL, "1+", "psnr"]
    assert ones.mean == pytest.approx((psnr[1] + psnr[4]) / 2)
    assert (ones.images, ones.units) == (2, 2)
    assert evaluation.intervals[MODEL, "all", "psnr"].units == 3
    against_mean = evaluation.differences["mean", "psnr"]
    expected = np.mean(psnr - evaluation.values["mean"]["psnr"])
    assert against_mean.mean == pytest.approx(expected)
    assert against_mean.low > 0
    assert evaluation.intervals[MODEL, "all", "dab_bias"].mean > 0


def test_a_perfect_model_is_infinitely_good_and_never_nan(dataset: PairDataset) -> None:
    perfect = Candidate(MODEL, "perfect", "", lambda _, __, real: real)

    evaluation = evaluate(
        dataset.pairs, (perfect, *control_candidates((), dataset.pairs)), Scoring(shift_px=1)
    )

    assert evaluation.intervals[MODEL, "all", "psnr"].mean == np.inf
    assert evaluation.intervals[MODEL, "all", "ssim"].mean == 1
    assert evaluation.intervals[MODEL, "all", "dab_error"].mean == 0


def browned(pair: PatchPair, he: Pixels, real: Pixels) -> Pixels:
    """The real image with a brown corner, larger from pair to pair."""
    fake = real.copy()
    fake[: 8 * (1 + int(pair.name[:5])), :20] = (120, 70, 40)
    return fake


def grid_of_nuclei(image: Pixels, mpp: float) -> FoundNuclei:
    """Nuclei 10 µm apart, those under brown left out."""
    places = np.argwhere(np.ones(image.shape[:2], bool))[:: int(10 / mpp)]
    shown = image[places[:, 0], places[:, 1], 2] > 45
    points = places[shown][:, ::-1] * mpp
    return FoundNuclei(points, np.ones(len(points), bool))


def test_pathology_is_that_of_each_image_and_of_slides_and_patients(dataset: PairDataset) -> None:
    candidate = Candidate(MODEL, "browned", "", browned)
    scoring = Scoring(shift_px=1, nuclei=grid_of_nuclei, mpp=0.5)

    found = evaluate(dataset.pairs, (candidate, *control_candidates((), dataset.pairs)), scoring)

    values, real = found.values[MODEL], found.values[REAL]
    assert (values["h_score"] > real["h_score"] + 5).all()
    assert found.differences[REAL, "h_score"].mean == pytest.approx(
        np.mean(values["h_score"] - real["h_score"])
    )
    assert np.isnan(real["psnr"]).all()
    assert found.counts[MODEL][5].level == 3
    assert 0.2 < values["nuclei_kept"][5] < values["nuclei_kept"][0] < 1
    assert (values["nuclei_invented"] == 0).all()
    kappa = found.intervals[MODEL, "all", "her2_kappa"]
    assert (kappa.images, kappa.units) == (6, 3)
    patients = {row.name: row for row in group_rows(found) if row.candidate == MODEL}
    assert sorted(patients) == ["p0", "p1", "p2"]
    assert patients["p1"].counts == found.counts[MODEL][2] + found.counts[MODEL][3]
    assert patients["p1"].images == 2


def test_set_metrics_come_from_the_given_features(dataset: PairDataset) -> None:
    evaluation = evaluated(dataset, features=lambda x: x.double().flatten(2).mean(dim=2) / 255)

    fid, kid = (evaluation.intervals[MODEL, "all", key] for key in ("fid", "kid"))
    real = np.array([pair.ihc.read().mean(axis=(0, 1)) / 255 for pair in dataset.pairs])
    fake = np.array([generated(p, *p.read()).mean(axis=(0, 1)) / 255 for p in dataset.pairs])
    apart = ((real.mean(axis=0) - fake.mean(axis=0)) ** 2).sum()
    assert fid.mean >= apart - 1e-9
    assert fid.mean == pytest.approx(apart, abs=0.01)
    assert np.isnan(fid.low)
    assert kid.low <= kid.mean <= kid.high
    assert evaluation.intervals["blur2", "all", "fid"].mean < fid.mean


def test_a_folder_of_generated_images_scores_like_the_images_themselves(
    dataset: PairDataset, tmp_path: Path
) -> None:
    for pair in dataset.pairs:
        write_png(tmp_path / f"{pair.name}_fake_B.png", generated(pair, *pair.read()))
        write_png(tmp_path / f"{pair.name}_real_B.png", pair.ihc.read())

    from_folder = evaluate(
        dataset.pairs, [folder_candidate(tmp_path, dataset.pairs)], Scoring(protocol="official")
    )

    expected = evaluated(dataset, protocol="official").values[MODEL]["ssim"]
    assert np.array_equal(from_folder.values[MODEL]["ssim"], expected)


def test_missing_and_doubled_images_are_named(dataset: PairDataset, tmp_path: Path) -> None:
    for pair in dataset.pairs[1:]:
        write_png(tmp_path / f"{pair.name}.png", pair.ihc.read())

    with pytest.raises(DataError, match=r"1 of 6 pairs .*: 00000_test_0\. "):
        folder_candidate(tmp_path, dataset.pairs)
    pairs, _ = generated_source(dataset.pairs, tmp_path, "cpu")
    assert pairs == dataset.pairs[1:]
    write_png(tmp_path / f"{dataset.pairs[1].name}_fake_B.png", dataset.pairs[1].ihc.read())
    with pytest.raises(DataError, match=r"two generated images for 00001_test_1\+"):
        folder_candidate(tmp_path, dataset.pairs)


def test_images_of_another_size_are_refused_by_name(dataset: PairDataset) -> None:
    smaller = Candidate(MODEL, "model", "", lambda _, he, __: he[:-4])

    with pytest.raises(DataError, match=r"00000_test_0: model gives 72 x 52 px.* has 72 x 56 px"):
        evaluate(dataset.pairs, [smaller], Scoring())


def test_images_too_small_for_the_shifts_are_refused(dataset: PairDataset) -> None:
    with pytest.raises(DataError, match=r"72 x 56 px.* up to 30 px needs at least 67 x 67"):
        evaluate(dataset.pairs, [Candidate(MODEL, "m", "", generated)], Scoring(shift_px=30))


def test_a_model_is_applied_as_it_is(dataset: PairDataset, model: Path) -> None:
    pair = dataset.pairs[0]
    he, real = pair.read()
    pairs, make = generated_source(dataset.pairs, model, "cpu")

    image = make(pair, he)

    from training.inference.checkpoints import load_generator

    expected = from_batch(load_generator(model)(to_batch(he)))
    assert pairs == dataset.pairs
    assert np.array_equal(image, expected)
    assert image.shape == real.shape


def test_a_full_gpu_is_explained_wherever_a_model_makes_an_image(
    dataset: PairDataset, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    pairs, make = generated_source(dataset.pairs, model, "cpu")
    monkeypatch.setattr(TrainedGenerator, "__call__", full)
    with pytest.raises(MemoryFullError, match="End other programs that use it"):
        make(pairs[0], pairs[0].read()[0])
    monkeypatch.setattr(torch.nn.Module, "to", full)
    with pytest.raises(MemoryFullError, match="End other programs that use it"):
        load_generator(model)


def test_released_values_are_those_of_the_released_conversion() -> None:
    grey = np.arange(256, dtype=np.float32)
    scaled = ((grey / np.float32(255)) - np.float32(0.5)) / np.float32(0.5)

    found = released_pixels(torch.from_numpy(scaled)).numpy()

    expected = ((scaled + 1) / 2.0 * 255.0).astype(np.uint8)
    assert np.array_equal(found, expected)
    assert (found != grey).any()


def test_the_released_view_is_scaled_and_cut_to_the_middle() -> None:
    image = smooth(3, (400, 640))

    found = released_view(image)

    scaled = Image.fromarray(image).resize((320, 256), Image.Resampling.BICUBIC)
    expected = np.asarray(scaled)[:, 32:288].astype(int)
    assert found.shape == (256, 256, 3)
    assert np.abs(found - expected).max() <= 1


def test_run_as_released_differs_from_the_model_but_repeats(
    dataset: PairDataset, model: Path
) -> None:
    from training.inference.checkpoints import load_generator

    pair = dataset.pairs[0]
    he, real = (released_view(image) for image in pair.read())
    quiet = model_candidate(load_generator(model)).make(pair, he, real)

    released = model_candidate(load_generator(model), as_released=True)
    first, second = (released.make(pair, he, real) for _ in range(2))

    assert np.array_equal(first, second)
    assert not np.array_equal(first, quiet)


def test_a_run_scores_evenly_spread_pairs_and_can_keep_the_images(
    dataset: PairDataset, model: Path, tmp_path: Path
) -> None:
    request = EvaluationRequest(
        dataset=dataset,
        out=tmp_path,
        model=model,
        settings=EvaluateSettings(images=2, shift_px=2, save_images=True),
    )

    evaluation, about = run_evaluation(request)

    names = [pair.name for pair in evaluation.pairs]
    assert names == ["00000_test_0", "00003_test_3+"]
    assert sorted(path.stem for path in (tmp_path / "generated").iterdir()) == names
    assert "2 of the 6 pairs of the split, evenly spread" in about.notes
    assert about.model == "pyramid-pix2pix, recipe robust, epoch 3"


def test_an_unknown_split_is_named(dataset: PairDataset, tmp_path: Path) -> None:
    request = EvaluationRequest(
        dataset=dataset,
        out=tmp_path / "out",
        generated=tmp_path / "images",
        settings=EvaluateSettings(split="val"),
    )

    with pytest.raises(DataError, match="no pairs in split 'val'; its splits are test"):
        run_evaluation(request)
