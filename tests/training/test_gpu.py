"""Training, translation and evaluation on a GPU: every model in every precision, compiled and not.

Networks have one residual block (or five U-Net levels): compiling nine of them alike would take most
of the time and find nothing more. ``pytest -m gpu tests/training/test_gpu.py``, with ``-n 8`` where
pytest-xdist is installed.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch._dynamo.utils import counters

from training.data.batches import Batch
from training.data.images import from_batch, read_image, to_batch
from training.data.pairs import open_dataset
from training.devices import make_fabric
from training.errors import MemoryFullError
from training.evaluation.run import EvaluationRequest, run_evaluation
from training.inference.checkpoints import TrainedGenerator, load_generator, read_checkpoint
from training.inference.folder import translate_folder
from training.inference.tiling import generate_tile, largest_tiling, prepare_tile, tiling_of
from training.metrics.shift import shift_scores
from training.models.generators import GENERATORS, build_generator, initialise
from training.models.layers import ReflectionPad
from training.models.pix2pix import build_model
from training.models.trainable import loss_scaler
from training.probes import gpu_findings
from training.run.averaging import recalibrate
from training.run.history import Listener, StepRecord
from training.run.loop import train
from training.settings.config import TrainConfig
from training.settings.evaluate import EvaluateSettings

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU is usable here"),
    # what compilers and autograd of one version or another warn of is not ours to mend
    pytest.mark.filterwarnings("default"),
]

DEVICE = "cuda"
WritePairs = Callable[..., Path]
MODELS = ["pyramid-pix2pix", "pix2pix", "pix2pix-unet", "pix2pixhd", "cyclegan"]
MODES: dict[str, dict[str, Any]] = {
    "compiled": {"compile": True},
    "not": {"compile": False},
    "recompute": {"compile": True, "recompute": True},
}


@pytest.fixture(autouse=True)
def fresh(shallow_networks: None) -> Iterator[None]:
    """Shallow networks, no graphs and no memory of other tests."""
    torch.compiler.reset()
    counters.clear()
    yield
    torch.cuda.empty_cache()


class Watching(Listener):
    """Remembers what was said, the losses, and how many graphs there were after each step."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.losses: list[dict[str, float]] = []
        self.graphs: list[int] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def stepped(self, record: StepRecord) -> None:
        self.losses.append(dict(record.losses))
        self.graphs.append(counters["stats"]["unique_graphs"])


def settings(**changes: Any) -> TrainConfig:
    small: dict[str, Any] = {"ngf": 8, "ndf": 8, "epochs": (2, 0), "validate_every": 1}
    small |= {"val_fraction": 0.0, "log_every": 1, "ema": 0.9, "recalibrate": 2}
    small |= {"tensorboard": False, "device": DEVICE}
    return TrainConfig(**{**small, **changes})


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("precision", ["auto", "fp16", "32"])
@pytest.mark.parametrize("model", MODELS)
def test_trains_resumes_translates_and_evaluates(
    tmp_path: Path, write_pairs: WritePairs, model: str, precision: str, mode: str
) -> None:
    data = open_dataset(write_pairs(tmp_path / "data", 5, 64, 64))
    config = settings(model=model, precision=precision, **MODES[mode])
    heard, again = Watching(), Watching()

    train(config, data, tmp_path / "run", listener=heard)
    longer = config.model_copy(update={"epochs": (3, 0)})
    outcome = train(longer, data, tmp_path / "run", resume=True, listener=again)

    assert outcome.steps == 9
    assert len(again.losses) == 3
    assert all(np.isfinite(list(losses.values())).all() for losses in heard.losses + again.losses)
    assert not any(note.startswith("warning: net") for note in heard.notes), heard.notes
    machine = json.loads((tmp_path / "run" / "run.json").read_text())["machine"]
    half = "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"
    assert machine["precision"] == {"auto": half, "fp16": "16-mixed", "32": "32-true"}[precision]
    assert (heard.graphs[2] > 0) == (mode != "not")
    assert heard.graphs[-1] == heard.graphs[2], "compiled anew after the first epoch"
    assert not counters["graph_break"]
    for trained in (load_generator(tmp_path / "run", DEVICE, kind) for kind in ("auto", "32")):
        out = tmp_path / trained.arithmetic
        written = translate_folder(trained, tmp_path / "data" / "HE", out)
        assert read_image(written[0]).shape == (64, 64, 3)
    request = EvaluationRequest(
        dataset=data,
        out=tmp_path / "scores",
        model=tmp_path / "run",
        settings=EvaluateSettings(split="train", images=2, device=DEVICE),
    )
    evaluation, _ = run_evaluation(request)
    assert np.isfinite(evaluation.values["model"]["psnr_shift"]).all()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("precision", ["auto", "fp16", "32"])
def test_one_generator_of_several_stains(
    tmp_path: Path, write_stains: WritePairs, precision: str, mode: str
) -> None:
    data = open_dataset(write_stains(tmp_path / "data", 6, 64))
    config = settings(stain="all", precision=precision, **MODES[mode])
    heard = Watching()

    outcome = train(config, data, tmp_path / "run", listener=heard)

    assert outcome.steps == 8
    assert all(np.isfinite(list(losses.values())).all() for losses in heard.losses)
    assert heard.graphs[-1] == heard.graphs[2], "compiled anew after the first epoch"
    assert not counters["graph_break"]
    made = {}
    for stain in data.stains:
        trained = load_generator(tmp_path / "run", DEVICE, "auto", stain)
        written = translate_folder(trained, tmp_path / "data" / "HE" / "test", tmp_path / stain)
        made[stain] = read_image(written[0])
    assert not np.array_equal(*made.values())


@pytest.mark.parametrize("model", [*MODELS, "several stains"])
@pytest.mark.parametrize("precision", ["auto", "32"])
def test_a_step_never_waits_for_the_gpu(model: str, precision: str) -> None:
    several = model == "several stains"
    named = {"stain": "HER2,KI67"} if several else {"model": model}
    config = settings(precision=precision, compile=False, **named)
    fabric = make_fabric(config)
    stepping = build_model(config, fabric)
    images = [torch.rand(2, 3, 64, 64, device="cuda") * 2 - 1 for _ in range(2)]
    weight = torch.ones(2, len(config.pyramid_weights), device="cuda")
    stains = (torch.tensor([0, 1], device="cuda"),) if several else ()
    batch = Batch(*images, weight if config.model == "pyramid-pix2pix" else None, stains)
    stepping.step([batch])

    torch.cuda.set_sync_debug_mode("error")
    try:
        stepping.step([batch])
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_recomputed_activations_take_less_memory_and_give_the_same_gradients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deeper = replace(GENERATORS["resnet_9blocks"], blocks=4)
    monkeypatch.setitem(GENERATORS, "resnet_9blocks", deeper)
    peaks, moments = [], []
    for recompute in (False, True):
        config = settings(precision="32", recompute=recompute, ngf=32, dropout=0.0)
        fabric = make_fabric(config)
        torch.manual_seed(0)
        stepping = build_model(config, fabric)
        generator = torch.Generator("cuda").manual_seed(1)
        he, ihc = (torch.rand(2, 3, 256, 256, device="cuda", generator=generator) for _ in range(2))
        stepping.step([Batch(he, ihc)])
        state = stepping.groups["generators"].optimizer.state_dict()["state"]
        moments.append(torch.cat([entry["exp_avg"].flatten() for entry in state.values()]))
        torch.cuda.reset_peak_memory_stats()
        stepping.step([Batch(he, ihc)])
        peaks.append(torch.cuda.max_memory_allocated())
        del stepping
        torch.compiler.reset()
        gc.collect()
        torch.cuda.empty_cache()

    assert peaks[1] < peaks[0]
    assert torch.linalg.norm(moments[0] - moments[1]) < 0.05 * torch.linalg.norm(moments[0])


def test_fp16_scales_the_loss_once_per_step() -> None:
    config = settings(model="cyclegan", precision="fp16", compile=False)
    fabric = make_fabric(config)
    stepping = build_model(config, fabric)
    scaler = loss_scaler(fabric)
    scaler.set_growth_interval(1)
    he, ihc = (torch.rand(2, 3, 64, 64, device="cuda") * 2 - 1 for _ in range(2))
    before = scaler.get_scale()

    stepping.step([Batch(he, ihc)])

    assert scaler.get_scale() in (2 * before, before / 2)


def test_running_out_of_memory_names_the_remedies(tmp_path: Path, write_pairs: WritePairs) -> None:
    data = open_dataset(write_pairs(tmp_path / "data", 3, 512, 512))
    torch.cuda.set_per_process_memory_fraction(0.002)
    try:
        with pytest.raises(MemoryFullError, match=r"--set recompute=true \(about .* GiB\)"):
            train(settings(compile=False, ngf=64, batch=3), data, tmp_path / "run")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def a_generator(kind: str = "resnet_9blocks", width: int = 64) -> TrainedGenerator:
    spec = replace(GENERATORS[kind], width=width, blocks=9 if kind == "resnet_9blocks" else 0)
    torch.manual_seed(0)
    network = build_generator(spec)
    initialise(network)
    network.to("cuda", memory_format=torch.channels_last)  # type: ignore[call-overload]
    recalibrate(network, [(torch.rand(2, 3, 128, 128, device="cuda") * 2 - 1,) for _ in range(2)])
    network.eval().requires_grad_(False)
    return TrainedGenerator(network, spec, Path("made.pt"), half=True)


@pytest.mark.parametrize("kind", ["resnet_9blocks", "unet_256"])
def test_half_precision_stays_within_a_grey_level_or_is_not_used(kind: str) -> None:
    trained = a_generator(kind)
    images = torch.randint(0, 256, (1, 3, 256, 256), dtype=torch.uint8, device="cuda")

    settled = trained.checked(images)
    exact = replace(trained, half=False)

    assert (settled(images).int() - exact(images).int()).abs().max() <= 1
    assert torch.equal(exact(images), exact(images))


@pytest.mark.parametrize("half", [False, True])
def test_tiles_fit_together(half: bool) -> None:
    trained = replace(a_generator(width=16), half=half)
    image = np.random.default_rng(0).integers(0, 256, (700, 900, 3), dtype=np.uint8)
    whole = trained(to_batch(image)).cpu()[0].permute(1, 2, 0).numpy()
    tiling = tiling_of(trained, 256)
    rows, columns = slice(256, 512), slice(256, 512)

    tile = prepare_tile(trained, tiling, lambda r, c: image[r, c], rows, columns, (700, 900))
    found = from_batch(generate_tile(trained, tile))

    assert np.abs(found.astype(int) - whole[rows, columns]).max() <= 1
    assert largest_tiling(trained).tile_px >= 2048


def test_shift_search_in_batches_gives_the_scores_of_a_cpu() -> None:
    generator = torch.Generator().manual_seed(0)
    real = torch.randint(0, 256, (2, 3, 97, 121), dtype=torch.uint8, generator=generator)
    fake = real.roll((2, -3), dims=(2, 3))

    here, there = shift_scores(real, fake, 6), shift_scores(real.cuda(), fake.cuda(), 6)

    assert torch.equal(here.shift_px, there.shift_px.cpu())
    assert torch.allclose(here.ssim, there.ssim.cpu(), atol=1e-6)
    assert torch.allclose(here.psnr, there.psnr.cpu(), atol=1e-6)


def test_reflected_borders_keep_channels_last() -> None:
    image = torch.randn(2, 16, 33, 47, device="cuda").to(memory_format=torch.channels_last)

    padded = ReflectionPad(3)(image)

    assert padded.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(padded, torch.nn.functional.pad(image, (3,) * 4, mode="reflect"))


def test_everything_that_doctor_tries_works_or_says_why() -> None:
    found = gpu_findings()

    assert set(found) == {"bf16", "fp16", "compiled networks"}
    assert found["fp16"] == ""


def test_a_resumed_run_goes_on_with_the_loss_scale(tmp_path: Path, write_pairs: WritePairs) -> None:
    data = open_dataset(write_pairs(tmp_path / "data", 5, 64, 64))
    config = settings(precision="fp16", compile=False, epochs=(1, 0))

    train(config, data, tmp_path / "run")

    assert read_checkpoint(tmp_path / "run" / "checkpoint.pt")["precision"]["scale"] > 0
