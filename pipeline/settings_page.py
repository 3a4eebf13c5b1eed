"""The reference of all settings, made from their models: ``python -m pipeline.settings_page``."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pipeline.cli.train import NAMED
from pipeline.patches.settings import PatchSettings
from pipeline.split import SplitSettings
from pipeline.stages.settings import RegisterSettings, TranslateSettings
from registration.files.storage import write_text
from registration.settings import SettingInfo, Settings, setting_infos
from training.settings.config import TrainConfig
from training.settings.evaluate import EvaluateSettings
from training.settings.recipes import RECIPES

PAGE = Path("docs/settings.md")

INTRODUCTION = """\
# Settings

Every setting of every stage, with the names that it has on the command line and in a manifest. This
page is made from the program itself (`python -m pipeline.settings_page`), and a test compares the two.

In a manifest, `register:`, `patch:`, `split:` and `train:` take the names of the first column. The
record of a run (`registration.json`, `patches.json`, `dataset.json`, `config.json`) holds them under the
same names.
"""


@dataclass(frozen=True, slots=True)
class Section:
    """The settings of one stage."""

    title: str
    about: str
    model: type[Settings]
    options: Collection[str] | None = None
    """Names of the settings with an option of their own; ``None``: all."""


def _changes(recipe: Mapping[str, Any]) -> str:
    return ", ".join(f"`{name}` {_words(value)}" for name, value in recipe.items())


def _words(value: Any) -> str:
    """Return a value as a person writes it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return "+".join(map(str, value)) or "none"
    return f"{value:g}" if isinstance(value, int | float) else f"`{value}`"


SECTIONS = (
    Section("register", "How a pair is registered, and what is written.", RegisterSettings),
    Section("patch", "Where patches are cut, and which are kept.", PatchSettings),
    Section(
        "split",
        "How patients are shared out to training, validation and test; options of `patch`.",
        SplitSettings,
    ),
    Section(
        "train",
        "How a generator is trained. Settings without an option are given with `--set NAME=VALUE`; all "
        "of them in a file with `--config`, or as an environment variable such as `BCI_TRAIN_BATCH`. "
        "The command line goes before the environment, the environment before the file, the file "
        "before the recipe. The defaults are those without a recipe, which changes "
        + "; ".join(f"{name}: {_changes(recipe)}" for name, recipe in RECIPES.items())
        + ".",
        TrainConfig,
        NAMED,
    ),
    Section("evaluate", "Which pairs are scored, by what, and where.", EvaluateSettings),
    Section("translate", "How a slide is translated, and what is written.", TranslateSettings),
)


def settings_page() -> str:
    """Return the page as Markdown."""
    return "\n".join([INTRODUCTION, *(line for each in SECTIONS for line in _section(each))])


def _section(section: Section) -> list[str]:
    rows = [
        (f"`{info.name}`", _option(info, section), values(info), default(info), info.text)
        for info in setting_infos(section.model)
    ]
    heads = ("setting", "option", "values", "default", "what it does")
    return [
        f"## {section.title}",
        "",
        section.about,
        "",
        *(f"| {' | '.join(row)} |" for row in (heads, ("---",) * len(heads), *rows)),
        "",
    ]


def _option(info: SettingInfo, section: Section) -> str:
    named = section.options is None or info.name in section.options
    return f"`--{info.option}`" if named else ""


def values(info: SettingInfo) -> str:
    """Return what a setting may be, in words."""
    return info.limits or _kind(info.field.annotation) + (f" ({info.unit})" if info.unit else "")


def default(info: SettingInfo) -> str:
    """Return a setting's default, in words."""
    if info.unset or info.default is None:
        return info.unset or "none"
    return "none" if info.default == "" else _words(info.default)


def _kind(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(annotation))
    names = {
        bool: "yes or no",
        int: "a whole number",
        float: "a number",
        Path: "a path",
        str: "text",
    }
    if annotation in names:
        return names[annotation]
    inner = [part for part in get_args(annotation) if part is not type(None)]
    many = get_origin(annotation) is tuple
    return "numbers" if many else _kind(inner[0])


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", nargs="?", type=Path, default=PAGE)
    write_text(parser.parse_args().page, settings_page())


if __name__ == "__main__":
    main()
