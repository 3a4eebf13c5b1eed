"""Pictures within pages: every image has one, noise and single colours as well."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from registration.files.pictures import QUALITY, jpeg_uri


@pytest.mark.parametrize("quality", [QUALITY, 92, 100])
@pytest.mark.parametrize("kind", ["noise", "white", "ramp"])
def test_a_picture_comes_back(kind: str, quality: int) -> None:
    shape = (390, 510, 3)
    image = {
        "noise": np.random.default_rng(4).integers(0, 256, shape),
        "white": np.full(shape, 255),
        "ramp": np.linspace(0, 255, 390 * 510 * 3).reshape(shape),
    }[kind].astype(np.uint8)

    head, _, content = jpeg_uri(image[:, ::-1], quality).partition(",")
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))[:, ::-1]

    assert head == "data:image/jpeg;base64"
    assert shown.shape == image.shape
    assert np.abs(shown.astype(int) - image).mean() < (1 if kind != "noise" else 40)
    if quality == 100:
        assert np.abs(shown.astype(int) - image).max() <= 4
