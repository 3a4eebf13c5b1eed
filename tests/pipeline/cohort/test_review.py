"""`review` of a cohort: which windows open, in which order, and that picks reach the next run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.cohort.facts import CaseFacts, pick_words, waiting
from pipeline.cohort.state import Cohort

MANIFEST = """\
out: out
cases:
  - {id: good, patient: a, he: he.png, ihc: ihc.png}
  - {id: folded, patient: b, he: he2.png, ihc: ihc2.png}
  - {id: unlike, patient: c, he: he3.png, ihc: ihc3.png, mpp_he: 0.5}
  - {id: broken, patient: d, he: he4.png, ihc: ihc4.png}
"""
FACTS = {
    "good": CaseFacts("good", "a", "", "pass", "ok", ()),
    "folded": CaseFacts("folded", "b", "", "review", "look", ("it folds",), window="review"),
    "unlike": CaseFacts("unlike", "c", "", "failed", "bad", ("no alignment",), window="pick"),
    "broken": CaseFacts("broken", "d", "", "failed", "bad", ("cut short",), next="mend it"),
}


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    for number in ("", "2", "3", "4"):
        for stain in ("he", "ihc"):
            (tmp_path / f"{stain}{number}.png").touch()
    path = tmp_path / "cohort.yaml"
    path.write_text(MANIFEST)
    return path


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What would be opened in windows, with the facts of the cases given."""
    windows: list[list[str]] = []
    look: Callable[..., CaseFacts] = lambda cohort, case: FACTS[case.id]  # noqa: E731
    monkeypatch.setattr("pipeline.cohort.facts.case_facts", look)
    monkeypatch.setattr("pipeline.cli.pick._check_window", lambda: None)
    monkeypatch.setattr("pipeline.cli.pick._open_window", windows.append)
    return windows


def test_the_worst_come_first_and_what_no_window_helps_is_said(
    manifest: Path, opened: list[list[str]]
) -> None:
    done = CliRunner().invoke(app, ["review", str(manifest)])

    assert done.exit_code == 0, done.output
    cohort = Cohort.load(manifest)
    unlike = cohort.manifest.case("unlike")
    assert opened == [
        ["pick", *pick_words(cohort, unlike)],
        ["review", str(cohort.run(cohort.manifest.case("folded")))],
    ]
    assert [case.id for case, _ in waiting(cohort)] == ["unlike", "broken", "folded"]
    assert "mend it" in done.output
    assert "unlike (1 of 3), failed: no alignment" in done.output


def test_a_folder_is_still_a_registration(tmp_path: Path, opened: list[list[str]]) -> None:
    done = CliRunner().invoke(app, ["review", str(tmp_path)])

    assert done.exit_code == 0, done.output
    assert opened == [["review", str(tmp_path)]]


def test_picked_landmarks_are_used_by_the_next_run(manifest: Path) -> None:
    cohort = Cohort.load(manifest)
    case = cohort.manifest.case("unlike")
    assert cohort.request(case).landmarks is None
    words = pick_words(cohort, case)
    picks = Path(words[words.index("--landmarks") + 1])
    assert words[-2:] == ["--mpp-he", "0.5"]

    picks.parent.mkdir(parents=True)
    picks.write_text("id,he_x,he_y,ihc_x,ihc_y,enabled\n")

    assert cohort.request(case).landmarks == str(picks)
