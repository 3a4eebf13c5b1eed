"""Reports and datasets name cases; files and patients only where somebody asks for it."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.naming import without_files, without_names
from pipeline.patches.settings import PatchSettings
from pipeline.report.refused import write_refusal
from pipeline.report.registration import has_report, write_report
from pipeline.split import SplitSettings
from pipeline.stages.patch import PatchRequest, run_patch
from registration.errors import StartError

PATIENT = "Anna Müller"
FILTERS = {"max_shift_um": 100.0, "max_filled": 1.0, "min_percentile": 0.0}


def all_bytes(folder: Path) -> bytes:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return b"\n".join(path.read_bytes() for path in files)


@pytest.fixture(scope="module", params=[False, True])
def dataset(request: Any, hand_made: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("named")
    labels = folder / "labels.csv"
    labels.write_text(f"case,patient,her2\nrun,{PATIENT},2+\n")
    settings = PatchSettings(size=256, keep_names=request.param, **FILTERS)
    out = folder / "data"
    run = hand_made.registration.folder
    asked = PatchRequest((run,), out, settings, SplitSettings(test=0), labels)
    run_patch(asked, 1, None, lambda *_: None)
    return request.param, out, hand_made.pair.he.path


@pytest.mark.slow
def test_a_dataset_names_files_and_patients_only_where_it_is_asked(dataset: Any) -> None:
    kept, out, he = dataset
    content = all_bytes(out)

    assert (PATIENT.encode() in content) is kept
    record = json.loads((out / "dataset.json").read_text())
    assert (record["cases"][0]["slides"]["he_name"] == he.name) is kept
    assert record["cases"][0]["patient"] == (PATIENT if kept else "run")
    assert str(he.parent).encode() not in content


@pytest.mark.slow
def test_a_report_names_files_only_where_it_is_asked(hand_made: Any, tmp_path: Path) -> None:
    registration = replace(hand_made.registration, folder=tmp_path)
    for path in hand_made.registration.folder.iterdir():
        if path.is_file():
            os.link(path, tmp_path / path.name)
    he = hand_made.pair.he.path

    named = write_report(registration, hand_made.pair).read_text(encoding="utf-8")
    assert has_report(tmp_path, None)
    assert not has_report(tmp_path, "p012")
    nameless = write_report(registration, hand_made.pair, "p012").read_text(encoding="utf-8")
    assert has_report(tmp_path, "p012")

    for text in (str(he), he.name, str(tmp_path)):
        assert text in named
        assert text not in nameless
    assert "<title>review: p012</title>" in nameless


def test_the_report_of_a_refused_pair_names_the_case(hand_made: Any, tmp_path: Path) -> None:
    he = hand_made.pair.he.path
    error = StartError(f"{he.name} is too faint; see {tmp_path / 'landmarks.csv'}")

    page = write_refusal(tmp_path, hand_made.pair, error, ["bci-pipeline pick HE IHC"], "p012")

    text = page.read_text(encoding="utf-8")
    for name in (str(he), he.name, str(tmp_path)):
        assert name.lower() not in text.lower()
    assert "HE is too faint; see p012/landmarks.csv" in text


def test_names_are_found_as_a_page_escapes_them() -> None:
    page = "<p>a&amp;b &#39;c&#39;.svs</p>"

    assert without_names(page, {"a&b 'c'.svs": "HE"}) == "<p>HE</p>"


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("failed: /data/Jane Doe/he.svs is cut short", "failed"),
        ("failed: Jane Doe.svs is empty (0 bytes)", "failed"),
        ("registration failed: 0.46 µm/px, H&E/IHC, limit 2.5 %", None),
    ],
)
def test_messages_that_name_files_are_cut(message: str, shown: str | None) -> None:
    assert without_files(message) == (shown or message)
