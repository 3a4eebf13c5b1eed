"""Loading generators: ours, the original code's, and files that are neither."""

from __future__ import annotations

import os
from collections import OrderedDict
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from training.data.images import from_batch, to_batch
from training.errors import CheckpointError
from training.inference.checkpoints import (
    TrainedGenerator,
    load_generator,
    read_checkpoint,
    save_generator,
    write_checkpoint,
)
from training.models.discriminators import MultiscaleDiscriminator, PatchGAN
from training.models.generators import GENERATORS, GeneratorSpec, build_generator, initialise
from training.models.official import save_official


def drawn(spec: GeneratorSpec) -> nn.Module:
    torch.manual_seed(7)
    network = build_generator(spec)
    initialise(network)
    for buffer in network.buffers():
        if buffer.dtype.is_floating_point:
            buffer.uniform_(0.5, 1.5)
    return network.eval()


def picture(spec: GeneratorSpec) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    side = spec.multiple_px
    size = (2, 3, max(side, 24), 2 * max(side, 24))
    return torch.randint(0, 256, size, generator=generator, dtype=torch.uint8)


SPECS = {
    "resnet_9blocks": replace(GENERATORS["resnet_9blocks"], width=3),
    "resnet_6blocks": replace(GENERATORS["resnet_9blocks"], width=2, blocks=6),
    "without dropout": GeneratorSpec(width=2, blocks=2, dropout=None),
    "cyclegan": replace(GENERATORS["cyclegan"], width=2),
    "unet_256": replace(GENERATORS["unet_256"], width=2),
    "unet_128": replace(GENERATORS["unet_256"], width=2, downs=7),
    "pix2pixhd": replace(GENERATORS["pix2pixhd"], width=2, blocks=2),
    "enhancer": replace(GENERATORS["pix2pixhd_enhancer"], width=2, downs=2, blocks=1),
    "infrared": GeneratorSpec(width=2, blocks=1, in_channels=3, out_channels=1),
}


@pytest.mark.parametrize("name", SPECS)
def test_official_form_is_recognised_from_its_keys(tmp_path: Path, name: str) -> None:
    spec = SPECS[name]
    network = drawn(spec)
    save_official(network, tmp_path / "latest_net_G.pth")

    loaded = load_generator(tmp_path)

    # Nothing in a state dict tells a U-Net's dropout, which is off when the network is used.
    expected = replace(spec, dropout=0.5) if spec.kind == "unet" else spec
    assert loaded.spec == expected
    image = picture(spec).float() / 127.5 - 1
    with torch.no_grad():
        # Other layouts in memory are convolved by other code, on some processors 1e-6 apart.
        assert torch.allclose(loaded.network(image), network(image), atol=1e-4)


def test_export_is_a_plain_state_dict_of_the_official_layout(tmp_path: Path) -> None:
    save_official(drawn(SPECS["resnet_9blocks"]), tmp_path / "g.pth")

    stored = torch.load(tmp_path / "g.pth", weights_only=True)

    assert len(stored) == 140
    assert all(isinstance(value, Tensor) and value.is_contiguous() for value in stored.values())
    assert stored["model.10.conv_block.6.weight"].shape == (12, 12, 3, 3)


def test_wrapped_and_old_official_files_load(tmp_path: Path) -> None:
    network = drawn(SPECS["resnet_9blocks"])
    wrapped = OrderedDict(
        (f"module.{k}", v) for k, v in network.state_dict().items() if "num_batches" not in k
    )
    torch.save(wrapped, tmp_path / "g.pth")
    old = drawn(SPECS["cyclegan"]).state_dict()
    old["model.2.running_mean"], old["model.2.running_var"] = torch.zeros(2), torch.ones(2)
    torch.save(old, tmp_path / "old.pth")

    assert load_generator(tmp_path / "g.pth").spec == SPECS["resnet_9blocks"]
    assert load_generator(tmp_path / "old.pth").spec == SPECS["cyclegan"]


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (PatchGAN(width=1).state_dict(), "holds a PatchGAN discriminator, not a generator"),
        (MultiscaleDiscriminator(width=1).state_dict(), "a discriminator of pix2pixHD"),
        ({"Conv1.conv.0.weight": torch.zeros(1), "Att5.W_g.0.weight": torch.zeros(1),
          "Up5.up.1.weight": torch.zeros(1)}, "an attention U-Net of a third party"),
        ({"model.model.0.weight": torch.zeros(1), "model.model.1.gating.0.weight": torch.zeros(1)},
         "the released attention U-Net"),
        ({"encoder.weight": torch.zeros(1)}, "unknown network: its tensors are named encoder.weight"),
        ({"a": 1}, "written by another program"),
        ({}, "written by another program"),
        ([1, 2], "holds a list, not a set of weights"),
    ],
)  # fmt: skip
def test_other_networks_are_named(tmp_path: Path, state: object, message: str) -> None:
    torch.save(state, tmp_path / "x.pth")

    with pytest.raises(CheckpointError, match=message):
        load_generator(tmp_path / "x.pth")


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    state = drawn(SPECS["resnet_9blocks"]).state_dict()
    del state["model.14.conv_block.2.weight"]
    torch.save(state, tmp_path / "x.pth")

    with pytest.raises(CheckpointError, match="do not fit its network: 1 are missing"):
        load_generator(tmp_path / "x.pth")


def test_our_generators_come_back_whole(tmp_path: Path) -> None:
    spec = SPECS["without dropout"]
    network = drawn(spec)
    stored = TrainedGenerator(
        network, spec, Path("x"), 0.46, {"model": "pix2pix", "recipe": "paper"}, 7, {"psnr": 20.5}
    )
    save_generator(tmp_path / "best.pt", stored)

    loaded = load_generator(tmp_path)

    assert (loaded.spec, loaded.mpp, loaded.epoch, loaded.scores) == (spec, 0.46, 7, {"psnr": 20.5})
    assert loaded.describe() == "pix2pix, recipe paper, epoch 7"
    assert torch.equal(loaded(picture(spec)), stored(picture(spec)))
    assert not loaded.network.training
    assert [p.name for p in tmp_path.iterdir()] == ["best.pt"]


def test_damaged_missing_and_unfinished_files_say_so(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "whole.pt", {"format": "bci-pipeline training state 1"})
    data = (tmp_path / "whole.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.pt").write_text("hello")

    with pytest.raises(CheckpointError, match=r"state of an unfinished run; use best\.pt"):
        load_generator(tmp_path / "whole.pt")
    for name in ("cut.pt", "text.pt"):
        with pytest.raises(CheckpointError, match=f"not a readable checkpoint: .*{name}"):
            read_checkpoint(tmp_path / name)
    with pytest.raises(CheckpointError, match="checkpoint not found"):
        load_generator(tmp_path / "none.pt")
    with pytest.raises(CheckpointError, match="no generator in"):
        load_generator(tmp_path)


class Opens:
    """A pickle that would run code when loaded."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("executed",))


def test_code_in_a_checkpoint_is_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"format": Opens()}, tmp_path / "evil.pt")

    with pytest.raises(CheckpointError, match="holds more than weights"):
        load_generator(tmp_path / "evil.pt")
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize("size", [(24, 37), (5, 3), (1, 9)])
def test_any_image_size_is_generated(size: tuple[int, int]) -> None:
    spec = SPECS["without dropout"]
    trained = TrainedGenerator(drawn(spec), spec, Path("x"))

    assert trained(torch.zeros(1, 3, *size, dtype=torch.uint8)).shape == (1, 3, *size)


def test_pixels_that_cannot_be_written_to_are_taken_without_a_warning() -> None:
    pixels = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    pixels.flags.writeable = False

    images = to_batch(pixels)

    assert tuple(images.shape) == (1, 3, 4, 5)
    assert np.array_equal(from_batch(images), pixels)


def spec_with(**changed: object) -> dict[str, object]:
    return {"spec": asdict(GeneratorSpec(width=2, blocks=1)) | changed}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        *(({"mpp": value}, "its mpp is") for value in (float("nan"), -1.0, 0.0, 1e-9, 1e9, "x")),
        *(({"config": value}, "its config is") for value in (None, 3.0, [])),
        ({"epoch": -1}, "its epoch is"),
        ({"scores": {"psnr": "high"}}, "its scores"),
        ({"weights": None}, "holds no weights"),
        (spec_with(downs=2**40), "downs is"),
        (spec_with(blocks=2**40), "blocks is"),
        (spec_with(width=0), "width is"),
        (spec_with(width=float("nan")), "width is"),
        (spec_with(kind="transformer"), "kind is"),
        (spec_with(out_channels=2), "out_channels is"),
        (spec_with(secret=1), "secret is"),
        (spec_with(kind="unet"), "at least five levels"),
        (spec_with(width=1024, downs=10), "do not fit its network"),
    ],
    ids=str,
)
def test_absurd_files_are_refused_before_anything_is_built(
    tmp_path: Path, changed: dict[str, object], message: str
) -> None:
    path = tmp_path / "best.pt"
    spec = GeneratorSpec(width=2, blocks=1)
    save_generator(path, TrainedGenerator(drawn(spec), spec, path, 0.5))
    write_checkpoint(path, read_checkpoint(path) | changed)

    with pytest.raises(CheckpointError, match=message) as refused:
        load_generator(path)

    assert str(path) in str(refused.value)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (torch.full((2,), float("nan")), "no numbers"),
        (torch.zeros(2, dtype=torch.int8), "of another shape"),
        (torch.zeros(3), "of another shape"),
        ("x", "of another shape"),
    ],
    ids=str,
)
def test_weights_that_are_none_are_refused(tmp_path: Path, weight: object, message: str) -> None:
    path = tmp_path / "best.pt"
    spec = GeneratorSpec(width=2, blocks=1)
    save_generator(path, TrainedGenerator(drawn(spec), spec, path, 0.5))
    stored = read_checkpoint(path)
    stored["weights"]["model.2.weight"] = weight
    write_checkpoint(path, stored)

    with pytest.raises(CheckpointError, match=message):
        load_generator(path)


def test_a_pipe_is_no_checkpoint(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "best.pt")

    with pytest.raises(CheckpointError, match="is no file"):
        load_generator(tmp_path / "best.pt")
