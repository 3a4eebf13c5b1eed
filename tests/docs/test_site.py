"""The documentation: it builds without a warning, its commands exist, its messages are the program's."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import pipeline.errors
import training.errors
from pipeline.cli.app import app
from registration.errors import BciError
from registration.quality import seams, torn, verdict

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PACKAGES = ("registration", "pipeline", "training", "napari_plugin")
PLACEHOLDER = "…"


def code_blocks(page: Path) -> Iterator[str]:
    """Blocks between fences, whatever their language and indent."""
    yield from re.findall(r"^ *```\w*\n(.*?)^ *```$", page.read_text("utf-8"), re.M | re.S)


def commands(page: Path) -> Iterator[list[str]]:
    """The words of each call of the program; comments do not count."""
    for block in code_blocks(page):
        for line in block.replace("\\\n", " ").splitlines():
            found = re.search(
                r"(?:^|(?<!cd)[ (/])bci-pipeline (.*)", re.sub(r"(^|\s)#.*", "", line)
            )
            if found:
                words = shlex.split(found[1])
                yield words[: words.index(">")] if ">" in words else words


def parse(command: Any, words: list[str], parent: Any = None) -> None:
    """Parse ``words`` as the command line does, without running anything."""
    if not hasattr(command, "resolve_command"):
        command.make_context(command.name, list(words), parent=parent)
        return
    context = command.make_context(command.name, words[:1], parent=parent, resilient_parsing=True)
    _, inner, rest = command.resolve_command(context, list(words))
    parse(inner, rest, context)


def written_messages() -> list[str]:
    """Every text in the code, what is filled in as ``…``; neighbouring parts joined."""
    texts = []
    for package in PACKAGES:
        for source in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(source.read_text("utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    texts.append(node.value)
                elif isinstance(node, ast.JoinedStr):
                    parts = [
                        part.value if isinstance(part, ast.Constant) else PLACEHOLDER
                        for part in node.values
                    ]
                    texts.append("".join(map(str, parts)))
    return texts


def classes(base: type[Exception]) -> Iterator[type[Exception]]:
    for child in base.__subclasses__():
        yield child
        yield from classes(child)


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "start.html").is_file()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_can_be_parsed(page: Path) -> None:
    program = get_command(app)

    for words in commands(page):
        try:
            parse(program, words)
        except Exception as error:
            pytest.fail(f"{page.name}: bci-pipeline {shlex.join(words)}: {error}")


def test_most_pages_show_commands_so_that_the_search_finds_them() -> None:
    assert sum(any(commands(page)) for page in PAGES) > 8


def test_a_wrong_option_is_noticed() -> None:
    with pytest.raises(Exception, match="--blcoks"):
        parse(get_command(app), ["register", "a", "b", "--blcoks", "4x4"])


NOT_OURS = {
    "--an-option",
    "--help",
    "--force-reinstall",
    "--no-python",
    "--nproc-per-node",
    "--nthreads",
}


def test_options_that_messages_name_can_be_given() -> None:
    program = get_command(app)
    context = program.make_context("bci-pipeline", ["doctor"], resilient_parsing=True)
    commands = (program.get_command(context, name) for name in program.list_commands(context))
    given = {
        name for command in (program, *commands) for one in command.params for name in one.opts
    }
    texts = [*written_messages(), (ROOT / "CHANGELOG.md").read_text("utf-8")]

    named = {
        name for text in texts for name in re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]\b", text)
    }

    assert len(named) > 40
    assert named - given - NOT_OURS == set()


def test_messages_on_the_page_of_errors_are_the_programs() -> None:
    written = written_messages()
    page = (ROOT / "docs" / "errors.md").read_text("utf-8")
    shown = re.findall(r"^\| `(.*?)` \|", page, re.M)

    assert len(shown) > 60
    assert [text for text in shown if not any(text in other for other in written)] == []


def test_every_kind_of_error_is_on_the_page() -> None:
    page = (ROOT / "docs" / "errors.md").read_text("utf-8")
    bases = (pipeline.errors.PipelineError, training.errors.TrainingError)
    names = {
        kind.__name__
        for kind in classes(BciError)
        if kind not in bases and kind.__module__.endswith(".errors")
    }

    assert {name for name in names if f"`{name}`" not in page} == set()


def test_files_of_the_code_that_pages_name_are_there() -> None:
    named = {
        (page.name, found)
        for page in PAGES
        for found in re.findall(
            rf"\b((?:{'|'.join(PACKAGES)}|benchmarks|tests)/[\w/]*(?:\.py|\.sh|/))",
            page.read_text("utf-8"),
        )
    }
    modules = {
        (page.name, f"benchmarks/{found}.py")
        for page in PAGES
        for found in re.findall(r"python -m benchmarks\.(\w+)", page.read_text("utf-8"))
    }

    assert len(named) > 10
    assert {entry for entry in named | modules if not (ROOT / entry[1]).exists()} == set()


def test_batch_systems_leave_training_the_time_to_save() -> None:
    """SLURM's signal reaches the shell only with ``B:``, which then must be the program itself.

    torchrun kills what does not end within its own time, which must be longer than its default and
    shorter than SLURM's.
    """
    one, several = (
        block for block in code_blocks(ROOT / "docs" / "training.md") if "#SBATCH" in block
    )

    assert "--signal=B:TERM@120" in one
    assert re.search(r"^exec bci-pipeline train .*--resume$", one, re.MULTILINE)
    (notice,) = re.findall(r"--signal=TERM@(\d+)", several)
    (time,) = re.findall(r"^export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=(\d+)", several, re.MULTILINE)
    assert 30 < int(time) < int(notice)
    assert re.search(
        r"^srun torchrun --no-python .*--resume$", several.replace("\\\n", ""), re.MULTILINE
    )
    for block in (one, several):
        assert subprocess.run(["bash", "-n"], input=block, text=True, check=False).returncode == 0


def test_install_is_the_same_in_the_readme_and_on_its_page() -> None:
    readme, page = PAGES[0].read_text("utf-8"), (ROOT / "docs" / "install.md").read_text("utf-8")
    blocks = [block for block in code_blocks(PAGES[0]) if "pip install" in block]

    assert len(blocks) == 3
    assert "## Install" in readme
    assert all(block in page for block in blocks)


def test_the_guide_has_the_limits_of_the_verdict() -> None:
    page = (ROOT / "docs" / "user-guide.md").read_text("utf-8")
    limits = [
        (f"{100 * verdict.MUCH_UNCONFIRMED:g} %", "confirm"),
        (f"{100 * verdict.MOST_LOST:g} %", "no better than chance"),
        (f"{100 * verdict.MOST_LOST_UNVERIFIED:g} %", "start was not confirmed"),
        (f"{100 * verdict.MOST_LOST_TOGETHER:g} %", "lies elsewhere"),
        (f"{verdict.LARGE_RESIDUAL_UM:g} µm", "median"),
        (f"{100 * verdict.FEW_FALLEN:g} %", "hold more than"),
        (f"{seams.VISIBLE_JUMP_PX:g} px", "95th percentile"),
        (f"{100 * verdict.MUCH_FILLED:g} %", "has none"),
        (f"{torn.SHORTEST_MM:g} mm", "stretched or pressed"),
    ]
    rows = [line for line in page.splitlines() if line.startswith("|")]

    for limit, words in limits:
        assert any(limit in row and words in row for row in rows), (limit, words)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(7200)
def test_the_ten_minute_start_runs(tmp_path: Path) -> None:
    page = ROOT / "docs" / "start.md"
    typed = [shlex.join(["bci-pipeline", *words]) for words in commands(page)]
    program = tmp_path / "bin" / "bci-pipeline"
    program.parent.mkdir()
    program.write_text(f'#!/bin/bash\nexec {shlex.quote(sys.executable)} -m pipeline.cli "$@"\n')
    program.chmod(0o755)
    search = f"{program.parent}:{os.environ['PATH']}"

    assert typed[0] == "bci-pipeline demo"
    for line in ["bci-pipeline demo --size 2048", *typed[1:]]:
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=tmp_path,
            env={**os.environ, "PATH": search},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
