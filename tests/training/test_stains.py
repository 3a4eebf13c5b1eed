"""Several stains: datasets of them, one generator told which, what is said without a choice."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from registration.errors import SettingsError
from training.data.batches import Batches, Sampling
from training.data.cache import in_memory
from training.data.images import read_image
from training.data.pairs import PairDataset, of_stain, open_dataset
from training.errors import CheckpointError, DataError
from training.evaluation.run import EvaluationRequest
from training.evaluation.stains import by_stain
from training.inference.checkpoints import (
    load_generator,
    read_checkpoint,
    stains_of,
    write_checkpoint,
)
from training.inference.folder import translate_folder
from training.models.generators import GENERATORS, build_generator, initialise, of_one_stain
from training.models.official import load_official, save_official
from training.run.loop import train
from training.settings.config import TrainConfig
from training.settings.evaluate import EvaluateSettings

Write = Callable[..., Path]
SmallConfig = Callable[..., TrainConfig]


@pytest.fixture(scope="module")
def dataset(write_stains: Write, tmp_path_factory: pytest.TempPathFactory) -> PairDataset:
    return open_dataset(write_stains(tmp_path_factory.mktemp("data") / "multi"))


@pytest.fixture(scope="module")
def run(
    dataset: PairDataset, small_config: SmallConfig, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "all"
    train(small_config(stain="all", lr=1e-2), dataset, folder)
    return folder


def test_a_folder_per_stain_is_a_dataset_of_all(dataset: PairDataset) -> None:
    assert dataset.stains == ("HER2", "KI67")
    assert len(dataset.pairs) == 12
    assert {pair.stain for pair in dataset.select("test")} == {"HER2", "KI67"}
    assert not dataset.notes


def test_a_patch_may_lack_a_stain_and_an_image_its_h_and_e(
    write_stains: Write, tmp_path: Path
) -> None:
    root = write_stains(tmp_path / "multi")
    (root / "KI67" / "train" / "00000.png").unlink()
    (root / "HE" / "train" / "00001.png").unlink()

    found = open_dataset(root)

    assert sorted((p.name, p.stain) for p in found.pairs if p.name < "00002") == [("00000", "HER2")]
    assert "2 images without a partner" in found.notes[0]


def test_datasets_side_by_side_are_one_of_several_stains(
    write_pairs: Write, tmp_path: Path
) -> None:
    for stain in ("ER", "HER2"):
        write_pairs(tmp_path / stain, 3)

    assert open_dataset(tmp_path).stains == ("ER", "HER2")


def test_the_table_tells_stains_of_one_h_and_e_image_apart(
    write_stains: Write, tmp_path: Path
) -> None:
    root = write_stains(tmp_path / "multi")
    with (root / "patches.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["he_file", "ihc_file", "stain", "shift_px", "patient"])
        for k, stain in enumerate(("HER2", "KI67")):
            writer.writerow(["HE/train/00000.png", f"{stain}/train/00000.png", stain, k, "p"])

    shifts = {p.stain: p.shift_px for p in open_dataset(root).pairs if p.name == "00000"}

    assert shifts == {"HER2": 0, "KI67": 1}


def test_stains_are_chosen_by_name_or_all(dataset: PairDataset) -> None:
    assert of_stain(dataset, "ki67")[1] == "KI67"
    assert of_stain(dataset, "all")[1] == "HER2,KI67"
    only, name = of_stain(dataset, "her2")
    assert (only.stains, name) == (("HER2",), "HER2")
    assert of_stain(only, "")[1] == ""
    with pytest.raises(
        DataError, match=r"has the stains HER2 and KI67: choose with --stain HER2, or all"
    ):
        of_stain(dataset, "")
    with pytest.raises(DataError, match=r"no stain 'HER3'; it has HER2, KI67. Did you mean HER2\?"):
        of_stain(dataset, "HER3")


def test_a_stain_of_a_dataset_that_names_none_is_refused(
    write_pairs: Write, tmp_path: Path
) -> None:
    with pytest.raises(
        DataError, match="does not name the stains of its images: leave --stain out"
    ):
        of_stain(open_dataset(write_pairs(tmp_path)), "HER2")


@pytest.mark.parametrize("dropout", [0.5, None])
def test_a_generator_of_one_stain_is_an_ordinary_one_and_computes_the_same(
    dropout: float | None, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    spec = replace(
        GENERATORS["resnet_9blocks"],
        width=3,
        blocks=2,
        dropout=dropout,
        stains=("HER2", "KI67", "ER"),
    )
    network = build_generator(spec)
    initialise(network)
    images = torch.rand(3, 3, 24, 32) * 2 - 1
    network.train()(images, torch.arange(3))
    network.eval()

    together = network(images, torch.arange(3))
    for place, stain in enumerate(spec.stains):
        alone = of_one_stain(network, spec, stain)
        save_official(alone, tmp_path / f"{stain}.pth")
        assert torch.allclose(alone(images)[place], together[place], atol=1e-6)
        assert not torch.allclose(alone(images)[place], together[place - 1], atol=1e-4)
        again, _ = load_official(read_checkpoint(tmp_path / f"{stain}.pth"), tmp_path)
        assert torch.equal(again.eval()(images), alone(images))


def test_every_batch_holds_each_stain_as_often_as_it_is_there() -> None:
    images = [(np.full((8, 8, 3), k, np.uint8),) * 2 for k in range(9)]
    stains = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1])
    batches = Batches(
        in_memory([str(k) for k in range(9)], images), range(9), Sampling(3), stains=stains
    )

    seen = []
    for batch in batches.epoch(0):
        (drawn,) = batch.stains
        assert sorted(drawn.tolist()) == [0, 0, 1]
        pairs = ((batch.he[:, 0, 0, 0] + 1) * 127.5).round().long()
        assert drawn.tolist() == stains[pairs].tolist()
        seen += pairs.tolist()
    assert sorted(seen) == list(range(9))


def test_one_generator_makes_the_stain_that_it_is_told(
    run: Path, dataset: PairDataset, tmp_path: Path
) -> None:
    assert stains_of(run) == ("HER2", "KI67")
    made = {}
    for stain in ("HER2", "ki67"):
        trained = load_generator(run, stain=stain)
        written = translate_folder(trained, dataset.root / "HE" / "test", tmp_path / stain)
        made[trained.stain] = read_image(written[0])
    assert set(made) == {"HER2", "KI67"}
    assert np.abs(made["HER2"].astype(int) - made["KI67"]).mean() > 1
    with pytest.raises(DataError, match="holds images of another model"):
        translate_folder(
            load_generator(run, stain="KI67"), dataset.root / "HE" / "test", tmp_path / "HER2"
        )


@pytest.mark.parametrize(
    ("stain", "message"),
    [("", "makes HER2 and KI67: choose with --stain HER2"), ("ER", "makes HER2 and KI67, not ER")],
)
def test_a_stain_that_the_model_does_not_make_is_refused(
    run: Path, stain: str, message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        load_generator(run, stain=stain)


def test_a_killed_run_of_several_stains_ends_as_if_it_had_not_been(
    run: Path, dataset: PairDataset, small_config: SmallConfig, tmp_path: Path
) -> None:
    config = small_config(stain="all", lr=1e-2)

    class Stops:
        def __getattr__(self, name: str) -> Any:
            def heard(*values: Any) -> None:
                if name == "advanced" and values[0] == 3:
                    raise KeyboardInterrupt

            return heard

    with pytest.raises(KeyboardInterrupt):
        train(
            config.model_copy(update={"save_minutes": 0.0}),
            dataset,
            tmp_path / "run",
            listener=Stops(),
        )  # type: ignore[arg-type]
    train(config, dataset, tmp_path / "run", resume=True)

    ended, whole = (
        read_checkpoint(folder / "last.pt")["weights"] for folder in (tmp_path / "run", run)
    )
    assert all(torch.equal(ended[name], whole[name]) for name in whole)


def test_one_stain_of_several_is_trained_alone(
    dataset: PairDataset, small_config: SmallConfig, tmp_path: Path
) -> None:
    train(small_config(stain="KI67", epochs=(1, 0)), dataset, tmp_path / "run")

    trained = load_generator(tmp_path / "run")
    assert (trained.stain, trained.spec.stains) == ("KI67", ())
    with pytest.raises(CheckpointError, match="makes KI67, not HER2"):
        load_generator(tmp_path / "run", stain="HER2")


def test_runs_from_before_stains_load_and_go_on(
    write_pairs: Write, small_config: SmallConfig, tmp_path: Path
) -> None:
    data = open_dataset(write_pairs(tmp_path / "data"))
    train(small_config(epochs=(1, 0)), data, tmp_path / "run")
    for name in ("best.pt", "checkpoint.pt"):
        stored = read_checkpoint(tmp_path / "run" / name)
        stored["config"].pop("stain")
        stored.get("spec", {}).pop("stains", None)
        write_checkpoint(tmp_path / "run" / name, stored)

    assert load_generator(tmp_path / "run").stain == ""
    assert train(small_config(epochs=(2, 0)), data, tmp_path / "run", resume=True).epochs == 2
    with pytest.raises(CheckpointError, match="does not say which stain it makes"):
        load_generator(tmp_path / "run", stain="HER2")


@pytest.mark.parametrize("model", ["pix2pix-unet", "pix2pixhd", "cyclegan"])
def test_models_that_cannot_be_told_say_so(
    model: str, dataset: PairDataset, small_config: SmallConfig, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=f"pyramid-pix2pix or pix2pix, not {model}"):
        train(small_config(model=model, stain="all"), dataset, tmp_path / "run")


def test_each_stain_is_scored_in_a_folder_of_its_own(
    run: Path, dataset: PairDataset, tmp_path: Path
) -> None:
    def requests(**changes: Any) -> list[EvaluationRequest]:
        given = {"dataset": dataset, "out": tmp_path, "model": run} | changes
        return by_stain(EvaluationRequest(**given))

    whole = [(r.out.name, r.settings.stain, r.dataset.stains) for r in requests()]
    assert whole == [("HER2", "HER2", ("HER2",)), ("KI67", "KI67", ("KI67",))]
    (one,) = requests(settings=EvaluateSettings(stain="ki67"))
    assert (one.out, one.settings.stain) == (tmp_path, "KI67")
    (only,) = requests(dataset=of_stain(dataset, "HER2")[0])
    assert (only.out, only.settings.stain) == (tmp_path, "HER2")
    made = requests(model=None, generated=tmp_path)
    assert [(r.out.name, r.settings.stain) for r in made] == [("HER2", ""), ("KI67", "")]


def test_a_model_that_names_no_stain_is_not_scored_on_any(
    dataset: PairDataset, write_pairs: Write, small_config: SmallConfig, tmp_path: Path
) -> None:
    train(
        small_config(epochs=(1, 0)), open_dataset(write_pairs(tmp_path / "data")), tmp_path / "run"
    )
    request = EvaluationRequest(dataset=dataset, out=tmp_path / "out", model=tmp_path / "run")

    with pytest.raises(DataError, match="does not say which it makes: choose with --stain HER2"):
        by_stain(request)
    (one,) = by_stain(replace(request, settings=EvaluateSettings(stain="HER2")))
    assert (one.dataset.stains, one.settings.stain) == (("HER2",), "")


def test_pairs_of_one_name_in_two_stains_are_told_apart_on_resuming(
    run: Path, dataset: PairDataset, small_config: SmallConfig, tmp_path: Path
) -> None:
    shutil.copytree(run, tmp_path / "run")
    root = shutil.copytree(dataset.root, tmp_path / "data")
    (root / "KI67" / "train" / "00000.png").unlink()

    with pytest.raises(CheckpointError, match=r"1 are missing \(train/KI67/00000\)"):
        train(
            small_config(stain="all", lr=1e-2, epochs=(4, 2)),
            open_dataset(root),
            tmp_path / "run",
            resume=True,
        )
