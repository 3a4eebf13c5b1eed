from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline import doctor
from pipeline.doctor import Check, Diagnosis, Machine, Probed, judge, look_around, probe

GIB = 2**30
MACHINE = Machine(
    packages={"napari": "0.9.2", "opencv-python-headless": "5.0.0"},
    cores=8,
    memory=32 * GIB,
    free_memory=20 * GIB,
    free_disk=100 * GIB,
    folder=Path("/data"),
    writable=True,
    display=True,
)
PROBED = {
    "slides": Probed(True, "4.0.1"),
    "elastix": Probed(True, ""),
    "images": Probed(True, "5.0.0"),
    "cluster": Probed(True, "2026.8.0"),
    "torch": Probed(True, "2.13.0\nNVIDIA H100, 80 GiB"),
    "qt": Probed(True, "pyqt6 6.11.0"),
}
BROKEN = Probed(False, "ImportError: libGL.so.1: cannot open shared object file")


def checks(machine: Machine = MACHINE, **probed: Probed) -> dict[str, Check]:
    return {check.name: check for check in judge(machine, {**PROBED, **probed})}


def test_all_is_well_on_a_complete_machine() -> None:
    assert {check.status for check in checks().values()} == {"works"}
    assert Diagnosis(MACHINE, tuple(checks().values())).can_register
    assert "NVIDIA H100, 80 GiB" in checks()["train"].detail


def test_every_probe_is_judged() -> None:
    for name in doctor.PROBES:
        worse = checks(**{name: BROKEN})
        assert any(BROKEN.output in check.detail and check.remedy for check in worse.values())


def test_what_does_not_answer_on_a_busy_machine_is_not_called_broken() -> None:
    found = checks(elastix=Probed(False, doctor.UNANSWERED))["register (elastix)"]

    assert found.status == "limited"
    assert "less busy" in found.remedy
    assert Diagnosis(MACHINE, (found,)).can_register


@pytest.mark.parametrize(
    ("broken", "name", "can_register"),
    [
        ("slides", "read slides", False),
        ("elastix", "register (elastix)", False),
        ("images", "write images", False),
        ("cluster", "workers", True),
        ("torch", "train", True),
        ("qt", "pick and review", True),
    ],
)
def test_only_what_registration_needs_stops_it(broken: str, name: str, can_register: bool) -> None:
    found = checks(**{broken: BROKEN})
    assert found[name].status != "works"
    assert Diagnosis(MACHINE, tuple(found.values())).can_register == can_register
    assert [check.name for check in found.values() if check.status != "works"] == [name]


def test_two_opencvs_are_in_each_others_way() -> None:
    packages = {**MACHINE.packages, "opencv-python": "5.0.0"}
    check = checks(replace(MACHINE, packages=packages))["write images"]
    assert check.status == "limited"
    assert "overwrite each other" in check.detail
    assert " uninstall -y opencv-python opencv-python-headless && " in check.remedy


@pytest.mark.parametrize(
    ("change", "name", "status", "remedy"),
    [
        ({"free_memory": GIB}, "memory", "limited", "--workers 1"),
        ({"free_disk": GIB}, "write here", "limited", "another disk"),
        ({"writable": False}, "write here", "fails", "--out"),
        ({"display": False}, "pick and review", "limited", "xvfb-run"),
        ({"packages": {}}, "pick and review", "fails", "[napari]"),
    ],
)
def test_limits_of_a_machine_come_with_a_remedy(
    change: dict[str, object], name: str, status: str, remedy: str
) -> None:
    found = checks(replace(MACHINE, **change))  # type: ignore[arg-type]
    assert found[name].status == status
    assert remedy in found[name].remedy
    assert Diagnosis(MACHINE, tuple(found.values())).can_register


def test_no_gpu_is_a_limit_for_training() -> None:
    check = checks(torch=Probed(True, "2.13.0+cpu"))["train"]
    assert check.status == "limited"
    assert "2.13.0+cpu sees no GPU" in check.detail


def test_what_training_tried_on_a_gpu_and_cannot_use_is_a_limit() -> None:
    without = [
        "without bf16 (this GPU only emulates it; training takes fp16)",
        "without compiled networks (RuntimeError: Cannot find a working triton installation)",
    ]

    check = checks(torch=Probed(True, "\n".join(["2.11.0", "Tesla T4, 15 GiB", *without])))["train"]

    assert check.status == "limited"
    assert all(line in check.detail for line in ["Tesla T4, 15 GiB", *without])
    assert "Python's headers" in check.remedy


def test_a_probe_reports_what_the_library_says_or_why_it_does_not_load(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert probe("slides").ok
    assert probe("slides").output.startswith("4.")
    monkeypatch.setitem(doctor.PROBES, "missing", "import no_such_library")
    monkeypatch.setitem(doctor.PROBES, "crash", "import os; os.abort()")
    monkeypatch.setitem(doctor.PROBES, "hangs", "import time; time.sleep(60)")
    assert probe("missing") == Probed(
        False, "ModuleNotFoundError: No module named 'no_such_library'"
    )
    assert probe("crash") == Probed(False, "ended with -6")
    monkeypatch.setattr(doctor, "PROBE_SECONDS", 0.2)
    assert "no answer" in probe("hangs").output


def test_the_machine_is_looked_at_for_real(tmp_path: Path) -> None:
    machine = look_around(tmp_path)
    assert machine.writable
    assert machine.cores >= 1
    assert machine.packages["bci-pipeline"]
    assert 0 < machine.free_memory <= machine.memory
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_command_tries_everything_and_writes_nothing(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-c",
        "from pipeline.cli.app import main; main()",
        "doctor",
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0
    report = json.loads(done.stdout)
    assert report["can_register"]
    core = [check for check in report["checks"] if check["core"]]
    assert [check["status"] for check in core] == ["works"] * 3
    assert list(tmp_path.iterdir()) == []
    plain = subprocess.run(command[:-1], capture_output=True, text=True, cwd=tmp_path)
    assert "Slides can be registered on this machine." in plain.stdout


def test_names_what_is_called_like_ours(tmp_path: Path) -> None:
    (tmp_path / "training.py").write_text("")
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline" / "__init__.py").write_text("")
    home = Path(doctor.__file__).parents[1]

    found = doctor.foreign([str(tmp_path), str(home), str(tmp_path / "none")], home)

    assert found == [tmp_path / "pipeline" / "__init__.py", tmp_path / "training.py"]
    check = checks(replace(MACHINE, foreign=tuple(found)))["names of modules"]
    assert check.status == "limited"
    assert str(tmp_path / "training.py") in check.detail
    assert doctor.foreign([str(home)], home) == []
