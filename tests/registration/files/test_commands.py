"""Commands that are printed can be pasted."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from registration.files.commands import typed


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of an environment that this process runs in, with our program."""
    folder = tmp_path / "my environment" / "bin"
    folder.mkdir(parents=True)
    for name in ("python", "bci-pipeline"):
        (folder / name).touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    return folder


def test_an_active_environment_needs_no_path(
    environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(environment))

    assert typed("register", "he.ndpi") == "bci-pipeline register he.ndpi"


@pytest.mark.parametrize("elsewhere", [False, True])
def test_without_it_the_environments_program_is_named(
    environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, elsewhere: bool
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    if elsewhere:
        (other / "bci-pipeline").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(other))
    monkeypatch.chdir(tmp_path)

    assert shlex.split(typed("doctor")) == ["my environment/bin/bci-pipeline", "doctor"]


def test_words_are_quoted(environment: Path) -> None:
    words = ["register", "a b.ndpi", "it's $HOME", "--out", "x;y"]

    assert shlex.split(typed(*words))[1:] == words
