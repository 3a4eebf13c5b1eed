"""Settings models: values from text, limits, and mistakes in one sentence."""

from __future__ import annotations

import pickle
from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError

from registration.errors import SettingsError
from registration.settings import Settings, setting, setting_infos

Share = Annotated[float, Field(ge=0, lt=1)]


class Inner(Settings):
    share: Share | None = setting(None, "Share of tissue.")


class Cut(Settings):
    size: int = setting(1024, "Side of a patch.", unit="px", ge=64, le=8192)
    max_shift_um: float = setting(10.0, "Largest shift.", unit="µm", option="max-shift", ge=0)
    image: Literal["png", "webp"] = setting("png", "Format of the images.")
    keep: bool = setting(False, "Keep what is rejected.")
    inner: Inner = Inner()


def test_text_becomes_values() -> None:
    cut = Cut.of({"size": "512", "max_shift_um": "2.5", "keep": "yes", "inner": {"share": "0.25"}})

    assert (cut.size, cut.max_shift_um, cut.keep, cut.inner.share) == (512, 2.5, True, 0.25)


def test_settings_are_frozen_and_travel_to_other_processes() -> None:
    cut = Cut(size=128)

    with pytest.raises(ValidationError, match="frozen"):
        cut.size = 256
    assert pickle.loads(pickle.dumps(cut)) == cut
    assert cut.as_dict() == {
        "size": 128,
        "max_shift_um": 10.0,
        "image": "png",
        "keep": False,
        "inner": {"share": None},
    }


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"size": 3}, "size: expected 64 to 8192 px, found 3"),
        ({"size": "big"}, "size: expected a whole number, found 'big'"),
        ({"size": "1.5"}, "size: expected a whole number, found '1.5'"),
        ({"size": "9" * 5000}, "size: expected a whole number, found '999"),
        ({"max_shift_um": -1}, "max_shift_um: expected at least 0 µm, found -1"),
        ({"max_shift_um": "nan"}, "max_shift_um: expected a number, found 'nan'"),
        ({"max_shift_um": "inf"}, "max_shift_um: expected a number, found 'inf'"),
        ({"max_shift_um": None}, "max_shift_um: expected a number, found nothing"),
        ({"image": "bmp"}, "image: expected png or webp, found 'bmp'"),
        ({"keep": "perhaps"}, "keep: expected true or false, found 'perhaps'"),
        ({"inner": {"share": 1}}, "inner: share: expected at least 0 and less than 1, found 1"),
        ({"inner": {"shar": 1}}, "inner: shar: unknown key. Did you mean share?"),
        ({"inner": 3}, "inner: "),
        ({"sise": 3}, "sise: unknown key. Did you mean size?"),
        ({"x": 3}, "x: unknown key; known here: size, max_shift_um, image, keep, inner"),
    ],
)
def test_mistakes_are_one_sentence_with_place_value_and_remedy(
    values: dict[str, object], message: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        Cut.of(values)

    assert str(caught.value).startswith(message)
    assert len(str(caught.value)) < 200


def test_every_mistake_is_named() -> None:
    with pytest.raises(SettingsError) as caught:
        Cut.of({"size": 3, "image": "bmp"})

    assert len(str(caught.value).splitlines()) == 2


def test_a_setting_knows_its_option_unit_and_limits() -> None:
    size, shift, *_ = setting_infos(Cut)

    assert (size.option, size.limits, size.default) == ("size", "64 to 8192 px", 1024)
    assert (shift.option, shift.limits, shift.text) == (
        "max-shift",
        "at least 0 µm",
        "Largest shift.",
    )
