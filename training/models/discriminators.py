"""PatchGAN (Isola et al. 2017) and pix2pixHD's multi-scale discriminator (Wang et al. 2018)."""

from __future__ import annotations

from torch import Tensor, nn

from training.models.layers import Norm, norm_layer

LAYERS = 3
WIDEST = 8


class PatchGAN(nn.Module):
    """Says of every 70 x 70 patch whether it is real: ``(N, C, H, W) -> (N, 1, h, w)`` logits."""

    def __init__(self, in_channels: int = 6, width: int = 64, norm: Norm = "batch") -> None:
        super().__init__()
        stages = _stages(in_channels, width, norm, padding=1, bias=norm == "instance")
        self.model = nn.Sequential(*(layer for stage in stages for layer in stage))

    def forward(self, pair: Tensor) -> Tensor:
        """Return one logit per patch."""
        logits: Tensor = self.model(pair)
        return logits


class MultiscaleDiscriminator(nn.Module):
    """The same discriminator at several resolutions; also returns what each layer saw.

    ``forward`` gives, from full resolution down, the outputs of every stage; the last one of each
    scale are the logits.
    """

    def __init__(self, in_channels: int = 6, width: int = 64, scales: int = 2) -> None:
        super().__init__()
        self.scales = scales
        for scale in range(scales):
            stages = _stages(in_channels, width, "instance", padding=2, bias=True)
            for number, stage in enumerate(stages):
                self.add_module(f"scale{scale}_layer{number}", nn.Sequential(*stage))
        self.downsample = nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False)

    def forward(self, pair: Tensor) -> list[list[Tensor]]:
        """Return ``[scale][stage]`` feature maps."""
        found = []
        for scale in reversed(range(self.scales)):
            features = [pair]
            for number in range(LAYERS + 2):
                features.append(self.get_submodule(f"scale{scale}_layer{number}")(features[-1]))
            found.append(features[1:])
            pair = self.downsample(pair)
        return found


def _stages(
    in_channels: int, width: int, norm: Norm, padding: int, *, bias: bool
) -> list[list[nn.Module]]:
    """Return the layers of one PatchGAN with three strided stages."""
    stages: list[list[nn.Module]] = [
        [nn.Conv2d(in_channels, width, 4, 2, padding), nn.LeakyReLU(0.2, inplace=True)]
    ]
    channels = width
    for number in range(1, LAYERS + 1):
        wider = width * min(2**number, WIDEST)
        stride = 2 if number < LAYERS else 1
        stages.append(
            [
                nn.Conv2d(channels, wider, 4, stride, padding, bias=bias),
                norm_layer(norm, wider),
                nn.LeakyReLU(0.2, inplace=True),
            ]
        )
        channels = wider
    stages.append([nn.Conv2d(channels, 1, 4, 1, padding)])
    return stages
