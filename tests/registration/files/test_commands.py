"""Commands that are printed can be pasted."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from registration.files import commands
from registration.files.commands import install_extra, pip, typed


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


def test_packages_are_installed_into_this_environment(
    environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "pip").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(other))
    monkeypatch.chdir(tmp_path)

    assert shlex.split(pip("install", "a>1")) == [
        str(environment / "python"),
        "-m",
        "pip",
        "install",
        "a>1",
    ]

    (environment / "pip").touch(mode=0o755)

    assert shlex.split(pip("list"))[0] == "my environment/bin/pip"


def test_extras_come_from_the_checkout_with_the_tested_versions(
    environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (environment / "pip").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(environment))
    home = tmp_path / "a checkout"
    home.mkdir()
    (home / "constraints.txt").touch()
    monkeypatch.setattr(commands, "CHECKOUT", home)

    monkeypatch.chdir(home)
    assert install_extra("train") == "pip install -c constraints.txt -e '.[train]'"
    monkeypatch.chdir("/")
    words = shlex.split(install_extra("napari"))
    assert Path(words[3]).resolve() == home / "constraints.txt"
    assert words[5].endswith("a checkout[napari]")


def test_without_a_checkout_packages_are_named_since_no_index_has_the_program(
    environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "CHECKOUT", tmp_path)

    assert "torch>=2.6" in shlex.split(install_extra("train"))
    assert "napari[pyqt6]>=0.9" in shlex.split(install_extra("napari"))
    assert "itk-elastix>=0.23" in shlex.split(install_extra())
    assert not any(word.startswith(("torch", "bci")) for word in shlex.split(install_extra()))
