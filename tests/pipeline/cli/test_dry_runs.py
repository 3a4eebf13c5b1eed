"""``--dry-run``: what would be done, nothing written, and refused what the run refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from pipeline.cli.app import Commands, app
from pipeline.cli.ending import ended

SHORT = ("doctor", "pick", "review", "warp-points", "manifest", "status", "export", "study")
"""Commands that take seconds, or wait for a person; ``study create`` has it, ``score`` needs none."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pairs in BCI's layout, and generated images of them in ``generated``."""
    root = tmp_path_factory.mktemp("data")
    for number, her2 in enumerate(("0", "2+", "3+")):
        pixels = np.random.default_rng(number).integers(60, 240, (30, 42, 3), dtype=np.uint8)
        for folder in ("BCI/HE/test", "BCI/IHC/test", "generated"):
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(root / folder / f"{number:05d}_test_{her2}.png")
    return root


def planned(*words: object) -> str:
    done = CliRunner().invoke(app, [*map(str, words), "--dry-run"])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_every_long_command_has_a_dry_run() -> None:
    group = CliRunner()
    for name in Commands.entries:
        if name not in SHORT:
            assert "--dry-run" in group.invoke(app, [name, "--help"]).stdout, name
    assert set(SHORT) < set(Commands.entries)


def test_plans_are_printed_and_nothing_is_written(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    bci, generated = data / "BCI", data / "generated"

    synth = planned("synth", out, "--size", 1024, "--cases", 2)
    demo = json.loads(planned("demo", "--out", out, "--size", 2048, "--json"))
    scored = planned("evaluate", bci, "--generated", generated, "--images", 2, "--out", out)
    study = planned("study", "create", bci, "--generated", generated, "--n", 3, "--out", out)
    table = planned("dataset", bci, "--scores", bci / "patches.csv")  # where training looks for it

    assert "4 megapixels" in synth
    assert demo["pairs"] == 2
    assert demo["stages"].startswith("making slides, registering")
    assert "images        2" in scored
    assert "images  6" in study
    assert "pairs to measure  3" in table
    assert not out.exists()
    assert not (bci / "patches.csv").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("synth", "{data}"), "holds other files"),
        (("synth", "{out}", "--size", 1024, "--warp-px", 500), "would fold a slide"),
        (("demo", "--out", "{data}"), "holds something else"),
        (("evaluate", "{data}/BCI", "--generated", "{data}/BCI/HE"), "no generated image"),
        (("study", "create", "{data}/BCI", "--generated", "{data}/generated"), "Lower --n"),
        (("dataset", "{data}/BCI", "--scores", "{data}/generated"), "is a folder; name a file"),
    ],
)
def test_what_the_run_refuses_is_refused(
    words: tuple[object, ...],
    message: str,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = [str(word).format(data=data, out=tmp_path / "out") for word in words]
    monkeypatch.chdir(tmp_path)

    code = ended(lambda: app([*given, "--dry-run"]), given)

    assert code == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
