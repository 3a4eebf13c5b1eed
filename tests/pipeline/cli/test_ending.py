from __future__ import annotations

import errno
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cli.ending import BAD_INPUT, FAILED_CHECK, INTERRUPTED, OWN_FAULT, ended
from pipeline.errors import UsageError
from registration.errors import SlideError, StartError
from tests.patience import PATIENCE_S
from training.run.report import CONFIG


def raising(error: BaseException) -> object:
    def command() -> None:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (UsageError("no [such] option"), BAD_INPUT, "error: no [such] option"),
        (SlideError("he.svs is empty"), BAD_INPUT, "error: he.svs is empty"),
        (StartError("no match"), FAILED_CHECK, "not registered: no match"),
        (SystemExit(1), FAILED_CHECK, ""),
        (SystemExit(0), 0, ""),
        (KeyboardInterrupt(), INTERRUPTED, "interrupted: the same command goes on where it stopped"),
        (SystemExit(130), INTERRUPTED, "interrupted: the same command goes on where it stopped"),
        (OSError(errno.ENOSPC, "full", "a.tif"), BAD_INPUT, "error: the disk is full: a.tif"),
        (OSError(errno.EACCES, "Permission denied", "a"), BAD_INPUT, "error: a: permission denied"),
        (MemoryError(), BAD_INPUT, "error: this machine has too little memory"),
    ],
)  # fmt: skip
def test_every_end_has_a_code_and_at_most_one_message(
    error: BaseException, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(raising(error), ["register"]) == code  # type: ignore[arg-type]
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(message)
    assert len(said.err.splitlines()) <= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("register he ihc", "the same command goes on where it stopped"),
        ("train dataset --out begun", "the same command with --resume goes on from the last"),
        ("train dataset --out=begun", "the same command with --resume goes on from the last"),
        ("train dataset --out begun --resume", "the same command goes on where it stopped"),
        (
            "--quiet train dataset --out begun",
            "the same command with --resume goes on from the last",
        ),
        ("--quiet dataset BCI --audit", "the same command starts anew"),
        ("train dataset --out new", "training had not begun; the same command starts it"),
        ("train dataset", "training had not begun; the same command starts it"),
        ("evaluate runs dataset", "the same command starts anew"),
        ("evaluate --slide virtual.tif real.ndpi", "the same command goes on where it stopped"),
        ("dataset BCI --audit", "the same command starts anew"),
        ("", "the same command goes on where it stopped"),
    ],
)
def test_an_interrupt_says_what_is_true_of_the_command(
    arguments: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / CONFIG).write_text("{}")

    assert ended(raising(KeyboardInterrupt()), arguments.split()) == INTERRUPTED  # type: ignore[arg-type]

    assert capsys.readouterr().err.startswith(f"interrupted: {message}")


@pytest.mark.parametrize(
    "error", [ValueError("odd"), KeyError("key"), RecursionError(), OSError("x")]
)
def test_what_is_not_ours_is_told_as_our_fault_with_a_log(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(raising(error), ["patch"]) == OWN_FAULT  # type: ignore[arg-type]
    said = capsys.readouterr().err
    assert said.startswith("error: this is a fault of bci-pipeline.")
    assert len(said.splitlines()) == 1
    log = Path(said.split("the log: ")[1].strip())
    text = log.read_text()
    log.unlink()
    assert "Traceback" in text
    assert type(error).__name__ in text
    assert "numpy " in text


def test_messages_are_cut_to_ten_lines_and_lines_to_what_can_be_read(
    capsys: pytest.CaptureFixture[str],
) -> None:
    ended(raising(UsageError("\n".join(["x" * 10**6] * 100))), [])  # type: ignore[arg-type]
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 10
    assert "... and 91 more lines" in said
    assert len(said) < 12_000


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_with_the_way_to_go_on(number: signal.Signals) -> None:
    program = (
        "import signal, sys, time; from pipeline.cli.ending import ended\n"
        # Tests that were started in the background of a shell hand down that Ctrl-C is ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "def command(): print('ready', flush=True); time.sleep(60)\n"
        "sys.exit(ended(command, ['register']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        said = process.communicate(timeout=PATIENCE_S)[1]
    assert process.returncode == INTERRUPTED
    assert said == "interrupted: the same command goes on where it stopped\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "entry",
    [
        "import bci_pipeline; bci_pipeline.main()",
        "import runpy; runpy.run_module('pipeline.cli', run_name='__main__')",
    ],
)
@pytest.mark.parametrize(("words", "code"), [(["--version"], 0), (["nothing"], BAD_INPUT)])
def test_a_signal_after_the_result_does_not_change_how_a_command_ended(
    number: signal.Signals, words: list[str], code: int, entry: str
) -> None:
    program = (
        "import atexit, signal, sys, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        # As long as torch takes to be unloaded.
        "def leave(): print('leaving', flush=True); time.sleep(0.3)\n"
        "atexit.register(leave)\n"
        f"sys.argv[1:] = {words!r}\n"
        f"{entry}"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert "leaving\n" in iter(process.stdout.readline, "")
        process.send_signal(number)
        said = process.communicate(timeout=PATIENCE_S)[1]
    assert process.returncode == code
    assert "Traceback" not in said
    assert "interrupted" not in said


def test_an_interrupt_while_the_program_is_loaded_ends_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt")
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import bci_pipeline as bci; bci.main()"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert done.returncode == INTERRUPTED
    assert done.stderr == "interrupted: nothing had begun; the same command starts anew\n"
