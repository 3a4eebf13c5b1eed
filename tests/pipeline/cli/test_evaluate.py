"""``bci-pipeline evaluate`` from the outside: files, JSON, and what it says when it cannot."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.cli.app import main


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pairs in BCI's layout, and generated images of them in ``generated``."""
    root = tmp_path_factory.mktemp("data")
    for number, her2 in enumerate(("0", "2+", "3+")):
        rng = np.random.default_rng(number)
        name = f"{number:05d}_test_{her2}.png"
        for folder in ("HE/test", "IHC/test", "generated"):
            (root / folder).mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(60, 240, (30, 42, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / folder / name)
    return root


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run the command in this process and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["bci-pipeline", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


def test_a_folder_of_images_is_scored(
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    generated = ("--generated", dataset / "generated")

    code = run(
        monkeypatch, "evaluate", dataset, *generated, "--out", tmp_path, "--shift-px", 1, "--json"
    )

    printed = json.loads(capsys.readouterr().out)
    assert code == 0
    assert printed == json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"))
    assert printed["images"] == 3
    assert {"0", "2+", "3+", "all"} == set(printed["summary"]["model"])
    assert (tmp_path / "evaluation.html").stat().st_size > 10_000


def test_two_folders_stand_for_a_dataset_and_the_table_is_readable(
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folders = ("--he", dataset / "HE" / "test", "--ihc", dataset / "IHC" / "test")

    code = run(
        monkeypatch,
        *("evaluate", *folders, "--generated", dataset / "generated"),
        *("--protocol", "official", "--out", tmp_path),
    )

    lines = capsys.readouterr().out.splitlines()
    assert code == 0
    assert lines[0] == "3 images; 95 % intervals, resampled by image"
    assert [line.split("  ")[0] for line in lines[3:5]] == ["PSNR, dB", "SSIM"]
    assert lines[-1] == f"report  {tmp_path / 'evaluation.html'}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["DATASET"], "expected RUN|CHECKPOINT and DATASET, got"),
        (["nowhere.pt", "DATASET"], "checkpoint not found: nowhere.pt"),
        (["DATASET", "--generated", "nowhere"], "folder of generated images not found: nowhere"),
        (["DATASET", "--generated", __file__], f"not found: {__file__} is a file"),
        (["DATASET", "--generated", "GENERATED", "--he", "x"], "--he and --ihc go together"),
        (
            ["DATASET", "--generated", "GENERATED", "--protocol", "official", "--as-released"],
            "--as-released goes with a model, not with --generated",
        ),
        (["DATASET", "--generated", "GENERATED", "--split", "train"], "its splits are test"),
        (["DATASET", "--generated", "GENERATED", "--lpips", "no.pth"], "LPIPS not found: no.pth"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_message(
    dataset: Path,
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    named = {"DATASET": str(dataset), "GENERATED": str(dataset / "generated")}

    code = run(monkeypatch, "evaluate", *(named.get(word, word) for word in arguments))

    captured = capsys.readouterr()
    assert code == 2
    assert message in captured.err
    assert captured.out == ""
