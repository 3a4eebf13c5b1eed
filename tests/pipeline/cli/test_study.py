"""``bci-pipeline study`` from the outside: create, fill in, score."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.cli.app import main

LEVELS = ("0", "1+", "2+", "3+")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight pairs in BCI's layout, two of each level, six of them generated."""
    root = tmp_path_factory.mktemp("data")
    for number in range(8):
        name = f"{number:05d}_test_{LEVELS[number % 4]}.png"
        rng = np.random.default_rng(number)
        for folder in ("HE/test", "IHC/test", *(["generated"] if number < 6 else [])):
            (root / folder).mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(60, 240, (12, 18, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / folder / name)
    return root


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run the command in this process and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["bci-pipeline", "study", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


def fill_in(study: Path, sheet: Path, reader: str, wrong: int) -> None:
    """Fill in the blank sheet with the truth, but for some generated images."""
    with (study / "key.csv").open(encoding="utf-8") as file:
        key = {row["image"]: row for row in csv.DictReader(file)}
    with (study / "readers" / "sheet.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with sheet.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        for row in rows:
            level = LEVELS.index(key[row["image"]]["her2"])
            if key[row["image"]]["kind"] == "generated" and wrong > 0:
                level, wrong = (level + 1) % 4, wrong - 1
            writer.writerow({**row, "reader": reader, "her2": LEVELS[level]})


def test_a_study_is_created_filled_in_and_scored(
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    study, generated = tmp_path / "study", dataset / "generated"
    created = run(
        monkeypatch, "create", dataset, "--generated", generated, "--n", 5, "--out", study
    )
    said = capsys.readouterr().out
    for reader, wrong in (("Ada", 2), ("Grace", 3)):
        fill_in(study, tmp_path / f"{reader}.csv", reader, wrong)

    scored = run(
        monkeypatch, "score", study, tmp_path / "Ada.csv", tmp_path / "Grace.csv", "--json"
    )

    found = json.loads(capsys.readouterr().out)
    assert (created, scored) == (0, 0)
    assert "pairs    5" in said
    assert "do not show it to readers" in said
    shares = [reader["generated_vs_dataset"]["share"] for reader in found["readers"]]
    assert shares == pytest.approx([0.6, 0.4])
    assert [reader["real_vs_dataset"]["right"] for reader in found["readers"]] == [5, 5]
    assert (study / "agreement.html").exists()


def test_the_text_names_readers_the_paper_and_the_report(
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    generated = ("--generated", dataset / "generated", "--out", tmp_path / "s", "--seed", "4")
    run(monkeypatch, "create", dataset, "--n", 4, *generated)
    fill_in(tmp_path / "s", tmp_path / "ada.csv", "Ada", 1)
    capsys.readouterr()

    code = run(monkeypatch, "score", tmp_path / "s", tmp_path / "ada.csv")

    lines = capsys.readouterr().out.splitlines()
    assert code == 0
    assert lines[1] == "  generated, right  75.0 % (3 of 4; 19.4 to 99.4 %)"
    assert "37.5 % and 40.0 %" in lines[4]
    assert lines[-1].endswith("agreement.html")


def test_too_few_images_and_an_incomplete_sheet_are_said(
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    generated = ("--generated", dataset / "generated", "--out", tmp_path / "s")

    assert run(monkeypatch, "create", dataset, *generated) == 2
    assert "needs 40 pairs with a generated image; there are 6" in capsys.readouterr().err
    run(monkeypatch, "create", dataset, "--n", 3, *generated)
    capsys.readouterr()
    assert run(monkeypatch, "score", tmp_path / "s", tmp_path / "s/readers/sheet.csv") == 2
    assert "6 images not scored: 001, 002" in capsys.readouterr().err
