"""Options that come from a model of settings."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import pytest
import typer
from typer.testing import CliRunner, Result

from pipeline.cli.app import Commands, app
from pipeline.cli.help import HelpfulCommand, epilog
from pipeline.cli.options import facts_text
from pipeline.cli.setting_options import with_settings
from registration.settings import Settings, setting

COMMANDS = (*Commands.entries, "study create", "study score")


class Cut(Settings):
    size: int = setting(1024, "Side.", unit="px", ge=64)
    max_shift_um: float = setting(10.0, "Largest shift.", unit="µm", option="max-shift", ge=0)
    mpp: float | None = setting(None, "Resolution.", unset="the slide's own")
    image: Literal["png", "webp"] = setting("png", "Format.", option="format")
    epochs: tuple[int, ...] = setting((1, 2), "Epochs.")
    keep: bool = setting(False, "Keep everything.")


@with_settings(Cut)
def cut(name: str, settings: Cut = Cut(), times: int = 1) -> None:
    """Cut."""
    typer.echo(f"{name} {times} {settings!r}")


@with_settings(Cut, "given", only=("size", "keep"))
def given(given: dict[str, Any]) -> None:
    """Say what was given."""
    typer.echo(repr(given))


def called(command: Any, *words: str) -> Result:
    part = typer.Typer(rich_markup_mode=None, add_completion=False)
    part.command(cls=HelpfulCommand, epilog=epilog(("bci-pipeline cut a",)))(command)
    return CliRunner().invoke(part, words)


def test_facts_are_lines_and_what_belongs_to_a_name_stands_below_it() -> None:
    facts = {"pairs": 3, "checked": True, "splits": {"train": 2, "test": 1}, "notes": ["a", "b"]}

    lines = [
        "pairs    3",
        "checked  yes",
        "splits",
        "  train  2",
        "  test   1",
        "notes",
        "  a",
        "  b",
    ]
    assert facts_text({**facts, "problems": []}).splitlines() == lines


def test_without_options_the_model_has_its_defaults() -> None:
    assert called(cut, "a").stdout == f"a 1 {Cut()!r}\n"


def test_options_set_what_they_are_called_after() -> None:
    words = ("--size", "128", "--max-shift", "2.5", "--format", "webp", "--keep", "--times", "3")

    expected = Cut(size=128, max_shift_um=2.5, image="webp", keep=True)
    assert called(cut, "a", *words).stdout == f"a 3 {expected!r}\n"


def test_a_decimal_comma_is_a_decimal_point() -> None:
    assert called(cut, "a", "--max-shift", "2,5", "--mpp", "0,46").stdout == (
        f"a 1 {Cut(max_shift_um=2.5, mpp=0.46)!r}\n"
    )

    wrong = called(cut, "a", "--mpp", "1.000,5")
    assert wrong.exit_code == 2
    assert "Invalid value for '--mpp': '1.000,5' is not a number such as 0.25" in wrong.stderr


def test_a_command_can_ask_for_what_was_given_alone() -> None:
    assert called(given, "--size", "128").stdout == "{'size': 128}\n"
    assert called(given, "--max-shift", "1").exit_code == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--size", "3"), "--size: expected at least 64 px, found 3"),
        (("--max-shift", "-1"), "--max-shift: expected at least 0 µm, found -1.0"),
        (("--epochs", "many"), "--epochs: expected"),
    ],
)
def test_mistakes_name_the_option(words: tuple[str, str], message: str) -> None:
    assert str(called(cut, "a", *words).exception).startswith(message)


def test_help_shows_unit_limits_and_default_of_each_setting() -> None:
    shown = called(cut, "--help").stdout

    assert "--size <px>                 Side. [at least 64 px; default: 1024]" in shown
    assert "--mpp <number>              Resolution. [default: the slide's own]" in shown
    assert "--format <png|webp>         Format. [default: png]" in shown
    assert "--keep                      Keep everything.\n" in shown


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_has_examples_and_breaks_no_option(command: str) -> None:
    result = CliRunner().invoke(app, [*command.split(), "--help"], env={"COLUMNS": "80"})

    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert "<bool>" not in result.stdout
    assert re.findall(r"range>|<(?:str|int|float)>|list\[|\bx[<>]=", result.stdout) == []
    assert not any(line.rstrip().endswith(("-", "--")) for line in lines)
    assert lines[0].startswith(f"Usage: bci-pipeline {command} [OPTIONS]") or command == "study"
    if command != "study":
        assert "Examples:" in lines


def test_the_overview_lists_all_commands_by_group_and_says_where_to_start() -> None:
    shown = CliRunner().invoke(app, ["--help"]).stdout

    assert "Start with `bci-pipeline demo`" in shown
    for name, entry in Commands.entries.items():
        assert f"\n  {name:<28}{entry.summary}" in shown
        assert f"\n{entry.panel}:\n" in shown


def test_the_version_is_printed() -> None:
    result = CliRunner().invoke(app, ["--version"])

    assert result.exit_code == 0
    assert result.stdout.startswith("bci-pipeline ")


def test_a_mistyped_command_is_suggested() -> None:
    result = CliRunner().invoke(app, ["regster"])

    assert result.exit_code == 2
    assert "Did you mean 'register'?" in result.output


def test_the_overview_imports_no_library_that_takes_time(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pipeline.cli.app import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'numpy', 'pydantic', 'cv2', 'itk', 'torch', 'dask', 'openslide'} & set(sys.modules)\n"
        "print('heavy:', sorted(heavy))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.endswith("heavy: []\n")


@pytest.mark.parametrize("command", COMMANDS)
def test_an_option_of_the_program_is_told_where_it_belongs(command: str) -> None:
    refused = CliRunner().invoke(app, [*command.split(), "--quiet"], prog_name="bci-pipeline")

    assert str(refused.exception).startswith(
        f"--quiet stands before the command: bci-pipeline --quiet {command} ..."
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("patch a --out b --size 256.5", "'--size': expected a whole number, found '256.5'"),
        ("patch a --out b --workers -1", "'--workers': expected at least 1, found '-1'"),
        ("synth a --changed 3", "'--changed': expected at most 1, found '3'"),
        ("train a --model pixpix", "'--model': 'pixpix' is not one of 'pyramid-pix2pix', "),
        ("study create a --generated b --n some", "'--n': expected a whole number, found 'some'"),
    ],
)
def test_a_value_that_cannot_be_is_told_in_plain_words(words: str, message: str) -> None:
    refused = CliRunner().invoke(app, words.split())

    assert refused.exit_code == 2
    assert f"Invalid value for {message}" in refused.stderr
