"""``bci-pipeline synth`` as a user runs it."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest

from pipeline.cli.app import main
from pipeline.manifest.manifest import load_manifest


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


def run(*arguments: str) -> Done:
    """Run the command in this process, as the console script does."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["bci-pipeline", "synth", *arguments]),
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(stderr),
        pytest.raises(SystemExit) as ended,
    ):
        sys.exit(main())
    code = ended.value.code
    return Done(code if isinstance(code, int) else 0, stdout.getvalue(), stderr.getvalue())


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    out = tmp_path_factory.mktemp("cli") / "slides"
    done = run(
        *(str(out), "--size", "1024x512", "--cases", "2", "--her2", "0,3+", "--rotation", "-40"),
        *("--damage", "mirror,bubble", "--workers", "1", "--json"),
    )
    assert done.returncode == 0, done.stderr
    return out, json.loads(done.stdout)


def test_json_names_every_file(written: tuple[Path, dict]) -> None:
    out, described = written

    assert described["manifest"] == str(out / "manifest.yaml")
    assert [case["her2"] for case in described["cases"]] == ["0", "3+"]
    for case in described["cases"]:
        assert all(
            Path(case[key]).stat().st_size > 0 for key in ("he", "ihc", "landmarks", "truth")
        )


def test_options_reach_the_truth(written: tuple[Path, dict]) -> None:
    stored = json.loads((written[0] / "case01" / "truth" / "truth.json").read_text())

    assert stored["settings"]["rotation_deg"] == -40
    assert stored["settings"]["mirrored"] is True
    assert [item["kind"] for item in stored["damage"]] == ["bubble"]


def test_the_same_command_again_finds_everything_done(written: tuple[Path, dict]) -> None:
    slide = Path(written[1]["cases"][0]["he"])
    before = slide.stat().st_mtime_ns

    done = run(
        *(str(written[0]), "--size", "1024x512", "--cases", "2", "--her2", "0,3+"),
        *("--rotation", "-40", "--damage", "mirror,bubble"),
    )

    assert done.returncode == 0
    assert f"run {written[0] / 'manifest.yaml'}" in done.stdout
    assert slide.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--size", "big"), "neither a number of pixels nor WIDTHxHEIGHT"),
        (("--size", "1000"), "multiple of 64; use 1024"),
        (
            ("--damage", "fire"),
            "--damage fire: expected some of tear, fold, pen, bubble, missing, blur, mirror",
        ),
        (("--her2", "4+"), "HER2 level '4+' is not one of"),
        (("--stains", "HER3"), "--stains HER3: expected some of HER2, KI67, ER. Did you mean HER2"),
    ],
)
def test_bad_options_end_with_one_message(
    arguments: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    done = run(str(tmp_path / "out"), *arguments)

    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_the_manifest_runs_as_it_is(written: tuple[Path, dict]) -> None:
    manifest = load_manifest(written[0] / "manifest.yaml")

    assert [case.her2 for case in manifest.cases] == ["0", "3+"]
    assert all(Path(str(case.truth)).is_file() for case in manifest.cases)
    assert manifest.out.parent == written[0]


def test_stains_share_an_he_slide(tmp_path: Path) -> None:
    out = tmp_path / "out"

    done = run(
        *(str(out), "--size", "512", "--cases", "1", "--stains", "ki-67,her2", "--workers", "1"),
        *("--her2", "2+", "--json"),
    )

    assert done.returncode == 0, done.stderr
    cases = json.loads(done.stdout)["cases"]
    assert [case["stain"] for case in cases] == ["HER2", "KI67"]
    assert len({case["he"] for case in cases}) == 1
    manifest = load_manifest(out / "manifest.yaml")
    assert [case.id for case in manifest.cases] == ["case01_HER2", "case01_KI67"]
    assert [case.her2 for case in manifest.cases] == ["2+", None]
    assert all(case.he_fixed for case in manifest.cases)


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")

    done = run(str(tmp_path))

    assert done.returncode == 2
    assert "holds other files" in done.stderr
