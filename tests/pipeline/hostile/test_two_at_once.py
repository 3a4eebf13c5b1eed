"""Two processes on one result: the second is refused, or each writes one whole file of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.bad_inputs.good import Bench
from benchmarks.bad_inputs.trial import Ending, tried
from benchmarks.bad_inputs.writing import COMMANDS
from registration.files.alone import alone_with
from registration.files.storage import written_whole

REFUSED = {
    **{"register": "run", "register to Zarr": "run", "patch": "data", "train": "trained"},
    **{"translate": "v.tif", "translate a folder": "v", "synth": "drawn", "export": "e"},
    **{"evaluate": "e", "study": "study", "ablate": "ablation", "audit": "a"},
}
"""What each command makes that writes several files, or is long at one."""
WHOLE = {"manifest": "cohort.yaml", "export a generator": "e.pth", "warp-points": "w.csv"}
"""What each command makes that writes one file at its end, whole."""
LIMIT_S = 240.0
MANIFEST = (
    "out: out\ncases:\n  - {id: p, patient: p, he: a.png, ihc: b.png, mpp_he: 0.5, mpp_ihc: 0.5}\n"
)


def refused(ending: Ending, out: Path) -> bool:
    return ending.code == 2 and f"another process is at work on {out}: " in ending.said


def test_every_command_that_writes_is_either() -> None:
    assert REFUSED.keys() | WHOLE.keys() == COMMANDS.keys()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", REFUSED)
def test_the_second_is_refused_and_changes_nothing(name: str, bench: Bench, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = out / REFUSED[name]
    with alone_with(result):
        before = sorted(out.rglob("*"))
        ending = tried(COMMANDS[name].words(bench, out), tmp_path / "said", LIMIT_S)
        assert refused(ending, result), ending.said
        assert sorted(out.rglob("*")) == before


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_so_is_a_second_cohort_or_demo(bench: Bench, tmp_path: Path) -> None:
    manifest = tmp_path / "cohort.yaml"
    manifest.write_text(MANIFEST)
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(bench.slide.read_bytes())
    for words in (("run", manifest), ("demo", "--out", tmp_path / "out")):
        with alone_with(tmp_path / "out"):
            ending = tried(words, tmp_path / "said", LIMIT_S)
        assert refused(ending, tmp_path / "out"), ending.said
        assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", WHOLE)
def test_each_writes_its_own_whole_file(name: str, bench: Bench, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = out / WHOLE[name]
    with written_whole(result) as part:
        part.write_bytes(b"of the first")
        ending = tried(COMMANDS[name].words(bench, out), tmp_path / "said", LIMIT_S)
        assert ending.code == 0, ending.said
        assert result.stat().st_size > len(b"of the first")
    assert result.read_bytes() == b"of the first"
    assert [*out.iterdir()] == [result]
