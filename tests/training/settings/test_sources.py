"""Settings: where they come from, which goes first, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from registration.errors import SettingsError
from training.settings.config import TrainConfig
from training.settings.recipes import RECIPES
from training.settings.sources import resolve


def test_paper_recipe_is_the_published_one() -> None:
    config = resolve({"recipe": "paper"}, environment={})

    assert config == TrainConfig(val_fraction=0.0)
    assert (config.epochs, config.batch, config.scales, config.augment) == ((50, 50), 2, 1, "none")
    assert config.pyramid_weights == (25.0, 25.0)
    assert (config.ema, config.recalibrate, config.crop) == (0.0, 0, 0)


def test_official_recipe_is_the_released_code() -> None:
    config = resolve({"recipe": "official"}, environment={})

    assert config.pyramid_weights == (25.0, 25.0, 25.0, 25.0)
    assert (config.epochs, config.augment, config.statistics) == ((100, 100), "flip", "batch")


def test_cyclegan_has_a_crop_of_its_own_that_any_other_replaces() -> None:
    assert resolve({"model": "cyclegan", "recipe": "paper"}, environment={}).crop == 512
    assert resolve({"model": "cyclegan", "crop": "0"}, environment={}).crop == 0
    assert resolve({"model": "pix2pix"}, environment={}).crop == 0


def test_robust_is_the_default() -> None:
    assert resolve({}, environment={}).recipe == "robust"


def released_factor(epoch: int, constant: int, decay: int) -> float:
    """The released lambda rule after its scheduler was stepped at the start of the epoch."""
    last_epoch = epoch + 1
    return 1.0 - max(0, last_epoch + 1 - constant) / float(decay + 1)


def test_learning_rate_falls_linearly() -> None:
    config = TrainConfig(epochs=(3, 4), lr=1.0)
    released = TrainConfig(epochs=(3, 4), lr=1.0, schedule="released")

    rates = [config.learning_rate(e) for e in range(7)]

    assert rates == pytest.approx([1, 1, 1, 0.8, 0.6, 0.4, 0.2])
    assert [released.learning_rate(e) for e in range(7)] == pytest.approx(
        [released_factor(e, 3, 4) for e in range(7)]
    )
    assert released.learning_rate(6) == pytest.approx(0)


def test_command_line_before_environment_before_file_before_recipe(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("batch: 3\ncrop: 128\nlr: 1e-3\naugment: none\nepochs: 7+8\n")
    environment = {"BCI_TRAIN_CROP": "256", "BCI_TRAIN_LR": "2e-3", "OTHER": "x"}

    config = resolve({"lr": "3e-3"}, tmp_path / "s.yaml", environment)

    assert (config.batch, config.crop, config.lr, config.augment) == (3, 256, 3e-3, "none")
    assert config.epochs == (7, 8)
    assert config.ema == RECIPES["robust"]["ema"]


@pytest.mark.parametrize(
    ("written", "epochs"),
    [("50+50", (50, 50)), ("5", (3, 2)), (4, (2, 2)), ([3, 4], (3, 4)), ("3,4", (3, 4))],
)
def test_epochs_as_people_write_them(written: object, epochs: tuple[int, int]) -> None:
    assert resolve({"epochs": written}, environment={}).epochs == epochs


def test_a_saved_configuration_resolves_to_itself(tmp_path: Path) -> None:
    config = resolve({"recipe": "official", "epochs": "3+2", "confidence": "yes"}, environment={})
    (tmp_path / "config.json").write_text(json.dumps(config.as_dict()))

    assert resolve({}, base=tmp_path / "config.json", environment={}) == config
    changed = resolve({"lr": 1e-5}, base=tmp_path / "config.json", environment={})
    assert (changed.lr, changed.recipe, changed.epochs) == (1e-5, "official", (3, 2))


def test_weights_per_scale() -> None:
    assert TrainConfig(scales=3).pyramid_weights == (25, 25, 25, 25)
    assert TrainConfig(scales=2, lambda_scale=5.0).pyramid_weights == (25, 5, 5)
    assert TrainConfig(model="pix2pix", scales=3).pyramid_weights == (25,)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"bacth": 3}, r"command line: bacth: unknown key\. Did you mean batch\?"),
        ({"foo": 3}, "command line: foo: unknown key; known here: recipe, model, stain, ngf"),
        ({"batch": "many"}, "command line: batch: expected a whole number, found 'many'"),
        ({"batch": 2.5}, "expected a whole number, found 2.5"),
        ({"batch": True}, "expected a number or a text, found True"),
        ({"confidence": "perhaps"}, "expected true or false, found 'perhaps'"),
        ({"batch": 0}, "batch: expected at least 1, found 0"),
        ({"ema": 1.0}, "ema: expected at least 0 and less than 1, found 1.0"),
        ({"scales": -1}, "scales: expected 0 to 8, found -1"),
        ({"epochs": "5+5+5"}, "expected two numbers, such as 50[+]50"),
        ({"epochs": "0"}, "expected two numbers, such as 50[+]50"),
        ({"model": "pix3pix"}, "model: expected pyramid-pix2pix, pix2pix, .* found 'pix3pix'"),
        ({"recipe": "mine"}, "recipe: expected robust, paper or official, found 'mine'"),
    ],
)
def test_wrong_settings_are_named(given: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        resolve(given, environment={})


def test_wrong_files_are_named_with_their_line(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text('{"batch": 3,\n "crop" 4}')
    (tmp_path / "s.yaml").write_text("batch: 3\ncrop: [1\n")
    (tmp_path / "list.yaml").write_text("- 1\n")

    with pytest.raises(SettingsError, match=r"s\.json, line 2: not JSON: Expecting ':'"):
        resolve({}, tmp_path / "s.json", {})
    with pytest.raises(SettingsError, match=r"s\.yaml:3:1: "):
        resolve({}, tmp_path / "s.yaml", {})
    with pytest.raises(SettingsError, match="must hold `setting: value` lines"):
        resolve({}, tmp_path / "list.yaml", {})
    (tmp_path / "tab.yaml").write_text("train:\n\tbatch: 3\n")
    with pytest.raises(SettingsError, match=r"tab\.yaml:2:1: .*; indent with spaces, not tabs"):
        resolve({}, tmp_path / "tab.yaml", {})
    with pytest.raises(SettingsError, match=r"file not found: .*none\.yaml"):
        resolve({}, tmp_path / "none.yaml", {})
    with pytest.raises(
        SettingsError, match="environment: batch: expected a whole number, found 'x'"
    ):
        resolve({}, None, {"BCI_TRAIN_BATCH": "x"})
