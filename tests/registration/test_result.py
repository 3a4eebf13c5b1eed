"""Run folders that were damaged, and what reading a sound one needs."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from registration.errors import RunError
from registration.figures import ErrorSummary, Folding, Quality, Residual
from registration.files.storage import write_npz
from registration.geometry import Box
from registration.landmarks.landmarks import Landmarks
from registration.recipes import RegistrationSettings
from registration.residual_map import ResidualMap
from registration.result import (
    RECORD_NAME,
    RESIDUAL_NAME,
    BlockRecord,
    Registration,
    SlideRecord,
    StartRecord,
    write_registration,
)
from registration.transforms import Chain, DisplacementField, Projective

OPTIMISERS = ("itk", "scipy.optimize", "scipy.stats", "dask", "distributed", "torch", "skimage")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A complete run folder, written without slides."""
    folder = tmp_path / "run"
    rng = np.random.default_rng(0)
    field = DisplacementField.from_nodes((0.0, 0.0), 50.0, rng.normal(size=(5, 7, 2)))
    none = np.zeros((0, 2))
    registration = Registration(
        folder=folder,
        key="0123456789abcdef",
        he=SlideRecord("/slides/he.ndpi", "a", 300, 200, 0.25),
        ihc=SlideRecord("/slides/ihc.ndpi", "b", 310, 190, 0.25),
        moving="he",
        settings=RegistrationSettings(),
        start=StartRecord("landmarks", True, False, ("odd",), {"share": 0.5}, (1.0, float("nan"))),
        chain=Chain((field, Projective.translation(3.0, -2.0))),
        blocks=(BlockRecord("1-1", 0, 0, 310, 190, "registered", "", 0.5, 0.1, 0.2, 0.9, 3.0),),
        quality=Quality(
            Folding(0.9, 0.95, 1.05, 1.1, 0.0),
            None,
            Residual(40, 0.8, 1.0, float("nan")),
            0.01,
            {"after_all": ErrorSummary(3, *(float(k) for k in range(10)))},
        ),
        verdict="pass",
        reasons=("all checks passed",),
        image=None,
    )
    write_registration(registration, Landmarks.of(none, none))
    points = rng.uniform(0, 100, (6, 2))
    residual = ResidualMap(points, points / 50, np.full(6, 0.5), np.full(6, 0.1), np.full(6, 40.0))
    write_npz(folder / RESIDUAL_NAME, **residual.arrays())
    return folder


def test_a_run_comes_back_as_it_was_written(run: Path) -> None:
    loaded = Registration.load(str(run))

    assert loaded.start.reasons == ("odd",)
    assert np.isnan(loaded.start.leave_one_out_um[1])
    assert np.isnan(loaded.quality.residual.p90_um)
    assert loaded.blocks[0].shift_max_um == 3.0
    assert loaded.blocks[0].width == 310
    assert loaded.chain(np.array([[10.0, 20.0]])).shape == (1, 2)
    assert loaded.residual_map.matched.all()


def test_what_is_no_run_folder_is_told_with_what_is_meant(run: Path, tmp_path: Path) -> None:
    (tmp_path / "manifest.yaml").touch()
    (tmp_path / "empty").mkdir()
    for path, message in (
        (tmp_path / "manifest.yaml", r"manifest\.yaml is a file; name the folder that `register`"),
        (tmp_path / "nowhere", "there is no folder .*nowhere; name what `register` wrote"),
        (tmp_path / "empty", "no finished registration in .*empty: .* is missing"),
        (run.parent, f"holds several registrations; name one of them: {run}"),
    ):
        with pytest.raises(RunError, match=message):
            Registration.load(path)


def test_reading_a_run_loads_nothing_that_could_make_one(run: Path) -> None:
    program = (
        "import sys\n"
        "from registration.result import Registration\n"
        f"loaded = Registration.load({str(run)!r})\n"
        "loaded.residual_map, loaded.landmarks, loaded.chain([[5.0, 6.0]])\n"
        f"print([name for name in {OPTIMISERS!r} if name in sys.modules])\n"
        "print([name for name in sys.modules if 'elastix' in name or 'nonrigid' in name])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n")[:2] == ["[]", "[]"]


def _with(*keys: str | int, value: Any) -> Callable[[Path], None]:
    """Return what puts a value into the record; ``...`` removes it."""

    def spoil(folder: Path) -> None:
        path = folder / RECORD_NAME
        record = json.loads(path.read_text())
        part = record
        for key in keys[:-1]:
            part = part[key]
        if value is ...:
            del part[keys[-1]]
        else:
            part[keys[-1]] = value
        path.write_text(json.dumps(record))

    return spoil


SPOILT_RECORDS = {
    "a key is missing": _with("inputs", value=...),
    "a deep key is missing": _with("quality", "folding", "jacobian_min", value=...),
    "a text for a number": _with("inputs", "he", "mpp", value="0.25"),
    "a pixel size of nothing": _with("inputs", "he", "mpp", value=0),
    "a pixel size that is not finite": _with("inputs", "he", "mpp", value=float("nan")),
    "a size below one": _with("inputs", "ihc", "width", value=-3),
    "a list for a record": _with("start", value=[1, 2]),
    "a number for a list": _with("blocks", value=7),
    "a text for truth": _with("start", "verified", value="yes"),
    "an unknown verdict": _with("verdict", value="splendid"),
    "an unknown recipe": _with("settings", "recipe", value="magic"),
    "an unknown moving slide": _with("moving", value="both"),
    "an unknown judgement": _with("review", value="perhaps"),
    "an image elsewhere": _with("image", value="../../home/slide.tif"),
    "a chain of nothing": _with("chain", value=[]),
    "an unknown transform": _with("chain", 0, "type", value="spline"),
    "a matrix of two rows": _with("chain", 1, "matrix", value=[[1, 0, 0], [0, 1, 0]]),
    "a matrix without inverse": _with("chain", 1, "matrix", value=[[0, 0, 0]] * 3),
    "a matrix that is not finite": _with("chain", 1, "matrix", 0, 0, value=float("inf")),
    "a field elsewhere": _with("chain", 0, "file", value="../field_0.npz"),
    "a list where a file belongs": _with("chain", 0, "file", value=["field_0.npz"]),
    "a version that is a text": _with("format_version", value="one"),
    "a newer version": _with("format_version", value=99),
    "no JSON": lambda folder: (folder / RECORD_NAME).write_text("{"),
    "other encoding": lambda folder: (folder / RECORD_NAME).write_bytes("{}ü".encode("latin-1")),
    "deep nesting": lambda folder: (folder / RECORD_NAME).write_text("[" * 100_000),
    "a number of 5,000 digits": lambda folder: (folder / RECORD_NAME).write_text("9" * 5000),
    "a list": lambda folder: (folder / RECORD_NAME).write_text("[1, 2]"),
}


@pytest.mark.parametrize("kind", SPOILT_RECORDS)
def test_a_damaged_record_is_one_sentence(run: Path, kind: str) -> None:
    SPOILT_RECORDS[kind](run)
    with pytest.raises(RunError) as refused:
        Registration.load(run)
    message = str(refused.value)
    assert str(run) in message
    assert len(message) < 700
    assert "\n" not in message


def _huge(path: Path) -> None:
    """Write an NPZ whose header asks for 14 TiB."""
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000, 2), }"
    header = header.ljust(117) + b"\n"
    with zipfile.ZipFile(path, "w") as archive:
        prefix = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little")
        archive.writestr("coefficients.npy", prefix + header + b"\0" * 64)


def _field(path: Path, **changed: Any) -> None:
    """Write the field's file with other arrays."""
    arrays: dict[str, Any] = {
        "origin": np.zeros(2),
        "spacing": np.array(50.0),
        "coefficients": np.zeros((5, 7, 2)),
    }
    arrays |= changed
    np.savez_compressed(
        path, **{name: value for name, value in arrays.items() if value is not None}
    )


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def _flipped(path: Path) -> None:
    """Spoil the compressed bytes, not the directory of the archive."""
    data = bytearray(path.read_bytes())
    data[80:120] = b"\xff" * 40
    path.write_bytes(data)


SPOILT_FIELDS: dict[str, Callable[[Path], Any]] = {
    "missing": Path.unlink,
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "empty": lambda path: path.write_bytes(b""),
    "no NPZ": lambda path: path.write_text("field"),
    "an NPY": lambda path: path.write_bytes(b"\x93NUMPY\x01\x00"),
    "cut short": _truncated,
    "flipped bytes": _flipped,
    "14 TiB": _huge,
    "Python objects": lambda path: _field(path, origin=np.array([{}, []], dtype=object)),
    "another shape": lambda path: _field(path, coefficients=np.zeros((5, 7))),
    "three components": lambda path: _field(path, coefficients=np.zeros((5, 7, 3))),
    "no nodes": lambda path: _field(path, coefficients=np.zeros((0, 7, 2))),
    "texts": lambda path: _field(path, coefficients=np.full((5, 7, 2), "1")),
    "not finite": lambda path: _field(path, coefficients=np.full((5, 7, 2), np.nan)),
    "no spacing": lambda path: _field(path, spacing=None),
    "spacing of nothing": lambda path: _field(path, spacing=np.array(0.0)),
    "two spacings": lambda path: _field(path, spacing=np.array([50.0, 50.0])),
}


@pytest.mark.parametrize("kind", SPOILT_FIELDS)
def test_a_damaged_field_is_one_sentence(run: Path, kind: str) -> None:
    SPOILT_FIELDS[kind](run / "field_0.npz")
    with pytest.raises(RunError, match=r"field_0\.npz") as refused:
        Registration.load(run)
    assert len(str(refused.value)) < 700
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["points", "shift_um", "score", "chance", "reach_um"])
def test_a_residual_map_whose_arrays_do_not_fit_each_other_is_damaged(run: Path, name: str) -> None:
    path = run / RESIDUAL_NAME
    with np.load(path) as stored:
        arrays = dict(stored)
    write_npz(path, **{**arrays, name: arrays[name][:-1]})
    with pytest.raises(RunError, match=r"residual\.npz is damaged"):
        ResidualMap.read(path)
    assert Registration.load(run).residual_map is None


def test_spliced_fields_are_checked_as_well(run: Path) -> None:
    _with("chain", 0, "type", value="spliced_field")(run)
    cores = np.array([[0, 0, 155, 190], [155, 0, 155, 190]])
    frame, coefficients = np.array([0.0, 0.0, 40.0, 40.0]), np.ones((4, 4, 2))
    sound = {"cores": cores, "frame_1": frame, "coefficients_1": coefficients}
    write_npz(run / "field_0.npz", **sound)
    spliced = Registration.load(run).chain.steps[0]
    assert spliced.cores[1] == Box(155, 0, 155, 190)
    assert spliced.splines[0] is None
    for name, value in {
        "cores": cores[:, :3],
        "frame_1": frame[:3],
        "coefficients_1": coefficients[..., 0],
    }.items():
        write_npz(run / "field_0.npz", **{**sound, name: value})
        with pytest.raises(RunError, match=r"field_0\.npz is damaged"):
            Registration.load(run)
