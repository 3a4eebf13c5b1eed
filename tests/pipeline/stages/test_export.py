"""Exported transforms, read back by other programs: SimpleITK, the NGFF schemas, a reader of our own."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import zarr
from scipy.interpolate import RBFInterpolator, RegularGridInterpolator

from bci_pipeline import open_run
from pipeline.errors import UsageError
from pipeline.stages.export import export_transform
from registration.bspline import BSpline
from registration.errors import OutputError, SettingsError
from registration.geometry import Box, Points
from registration.piece_map import MappedPiece, PieceMap
from registration.result import Registration
from registration.transforms import Chain, Projective, SplicedField

PERSPECTIVE = np.array([[1.2, -0.15, 60.0], [0.15, 1.25, -40.0], [2e-5, -1e-5, 1.0]])
WITHIN_PX = 0.05


def square(x: float, y: float, side: float) -> np.ndarray:
    return np.array([[x, y], [x + side, y], [x + side, y + side], [x, y + side]])


def pieces_of(run: Registration) -> Registration:
    """Two pieces that changed places, each with the field and a homography of its own."""
    field = run.chain.steps[0]
    pieces = [
        MappedPiece(
            number,
            (square(fixed, 200, 500),),
            (square(moving, 200, 500),),
            Chain((field, Projective.translation(moving - fixed, 30.0))),
        )
        for number, fixed, moving in ((1, 100, 900), (2, 900, 100))
    ]
    return replace(run, chain=PieceMap.of(pieces, run.fixed.size, run.moved.size))


@pytest.fixture
def perspective(hand_made) -> Registration:
    """The known registration, with a homography that is no affine map."""
    found = hand_made.registration
    return replace(found, chain=Chain((found.chain.steps[0], Projective(PERSPECTIVE))))


def places(run: Registration, box: Box | None = None) -> Points:
    box = box or Box.of(run.fixed.size)
    unit = np.random.default_rng(7).random((500, 2))
    return np.array([box.x, box.y]) + unit * [box.width - 1, box.height - 1]


def in_itk(path: Path, points: Points, mpp: tuple[float, float]) -> Points:
    """Map points of pixels with SimpleITK, which works in millimetres."""
    sitk = pytest.importorskip("SimpleITK")
    if path.suffix == ".mha":
        field = sitk.ReadImage(str(path), sitk.sitkVectorFloat64)
        transform = sitk.DisplacementFieldTransform(field)
    else:
        transform = sitk.ReadTransform(str(path))
    mapped = [transform.TransformPoint((point * mpp[0] / 1000).tolist()) for point in points]
    return np.array(mapped) * 1000 / mpp[1]


def test_simpleitk_maps_points_as_the_registration_does(perspective, tmp_path: Path) -> None:
    done = export_transform(perspective, "itk", tmp_path / "out")

    points = places(perspective)
    mpp = (perspective.ihc.mpp, perspective.he.mpp)
    wanted = perspective.chain(points)
    for name in ("ihc_to_he.tfm", "ihc_to_he_displacement.mha"):
        found = in_itk(done.folder / name, points, mpp)
        assert np.abs(found - wanted).max() < WITHIN_PX, name
    back = in_itk(done.folder / "he_to_ihc.tfm", wanted, mpp[::-1])
    assert np.abs(back - points).max() < WITHIN_PX
    told = {file.name: file.accuracy for file in done.files}
    assert told["ihc_to_he.tfm"].max_px < 0.03


def test_the_stains_are_called_by_what_is_warped(perspective, tmp_path: Path) -> None:
    turned = replace(perspective, moving="ihc")

    done = export_transform(turned, "itk", tmp_path / "out")

    points = places(turned, Box(0, 0, 1700, 1400))
    found = in_itk(done.folder / "he_to_ihc.tfm", points, (turned.he.mpp, turned.ihc.mpp))
    assert np.abs(found - turned.chain(points)).max() < WITHIN_PX


def test_each_piece_has_files_of_its_own(hand_made, tmp_path: Path) -> None:
    run = pieces_of(hand_made.registration)
    done = export_transform(run, "itk", tmp_path / "out")

    mpp = (run.ihc.mpp, run.he.mpp)
    for piece in run.chain.pieces:
        x, y = piece.fixed[0][0]
        points = places(run, Box(int(x) + 2, int(y) + 2, 495, 495))
        found = in_itk(done.folder / f"piece_{piece.number}_ihc_to_he.tfm", points, mpp)
        assert np.abs(found - run.chain(points)).max() < WITHIN_PX


def test_a_grid_over_both_slides_as_tia_toolbox_reads_it(perspective, tmp_path: Path) -> None:
    """It resamples the nodes' places through the field, counts in nodes, and takes the padding away."""
    sitk = pytest.importorskip("SimpleITK")
    done = export_transform(perspective, "itk", tmp_path / "out")

    field = sitk.ReadImage(str(done.folder / "ihc_to_he_grid.mha"), sitk.sitkVectorFloat64)
    shifts = sitk.GetArrayFromImage(field)
    rows, columns = shifts.shape[:2]
    he, ihc = perspective.he.size, perspective.ihc.size
    step = np.array([max(he.width, ihc.width) / columns, max(he.height, ihc.height) / rows])
    padding = (ihc.width - he.width) // 2, (ihc.height - he.height) // 2
    nodes = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1)
    found = (nodes + shifts) * step - padding
    inside = (nodes * step < [ihc.width, ihc.height]).all(axis=-1)
    wanted = perspective.chain((nodes * step)[inside])
    assert np.abs(found[inside] - wanted).max() < WITHIN_PX


def read_scene(path: Path, points: Points, mpp: tuple[float, float]) -> Points:
    """Follow the specification: pixels to micrometres, displacements, affine map, and back."""
    root = zarr.open_group(str(path), mode="r")
    scene = root.attrs["ome"]["scene"]
    sequence = next(t for t in scene["coordinateTransformations"] if t["type"] == "sequence")
    scales = {
        t["input"]["name"]: (np.array(t["scale"]), t["output"]["name"])
        for t in scene["coordinateTransformations"]
        if t["type"] == "scale"
    }
    (first, start), (second, end) = scales["ihc pixels"], scales["he pixels"]
    assert (start, end) == (sequence["input"]["name"], sequence["output"]["name"])
    assert (first[0], second[0]) == mpp
    physical = points[:, ::-1] * first
    displaced, affine = sequence["transformations"]
    group = root[displaced["path"]]
    (multiscale,) = group.attrs["ome"]["multiscales"]
    (dataset,) = multiscale["datasets"]
    scale, translation = dataset["coordinateTransformations"][0]["transformations"]
    values = group[dataset["path"]][:]
    axes = [
        np.arange(count) * step + shift
        for count, step, shift in zip(
            values.shape[1:], scale["scale"][1:], translation["translation"][1:], strict=True
        )
    ]
    read = RegularGridInterpolator(
        axes, np.moveaxis(values, 0, -1), method=displaced["interpolation"]
    )
    matrix = np.array(affine["affine"])
    mapped = (physical + read(physical)) @ matrix[:, :2].T + matrix[:, 2]
    return (mapped / second)[:, ::-1]


def test_an_independent_reader_of_the_scene_maps_points_alike(perspective, tmp_path: Path) -> None:
    done = export_transform(perspective, "ome-zarr", tmp_path / "out")

    points = places(perspective)
    mpp = (perspective.ihc.mpp, perspective.he.mpp)
    found = read_scene(done.folder / "ihc_to_he.ome.zarr", points, mpp)
    assert np.abs(found - perspective.chain(points)).max() < WITHIN_PX


def test_the_scene_and_its_field_keep_to_the_schemas_of_the_specification(
    perspective, tmp_path: Path
) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    referencing = pytest.importorskip("referencing")
    spec = find_spec("ngff_zarr")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("ngff-zarr, which brings the schemas of OME-NGFF, is not installed")
    schemas = [
        json.loads(file.read_text())
        for file in Path(spec.submodule_search_locations[0], "spec/0.6/schemas").glob("*.schema")
    ]
    known = [(schema["$id"], referencing.Resource.from_contents(schema)) for schema in schemas]
    registry = referencing.Registry().with_resources(known)
    by_name = {schema["$id"].rsplit("/")[-1]: schema for schema in schemas}
    done = export_transform(perspective, "ome-zarr", tmp_path / "out")

    root = zarr.open_group(str(done.folder / "ihc_to_he.ome.zarr"), mode="r")
    for group, name in ((root, "scene.schema"), (root["displacements"], "image.schema")):
        attributes = json.loads(json.dumps(dict(group.attrs)))
        validator = jsonschema.Draft202012Validator(by_name[name], registry=registry)
        assert not list(validator.iter_errors(attributes)), name
        attributes["ome"]["version"] = "0.1"
        assert list(validator.iter_errors(attributes)), "a wrong version must be noticed"


def warpy(path: Path, points: Points) -> Points:
    """What Warpy makes of its file: affine, thin-plate spline, affine."""
    record = json.loads(path.read_text())
    assert (record["type"], record["size"]) == ("InvertibleRealTransformSequence", 3)
    spline = record["realTransform_1"]["wrappedTransform"]["wrappedTransform"]
    assert spline["type"] == "ThinplateSplineTransform"
    source, target = (np.array(spline[key]).T for key in ("srcPts", "tgtPts"))
    scales = [record[f"realTransform_{n}"]["affinetransform3d"][0] for n in (0, 2)]
    mapped = RBFInterpolator(source, target, kernel="thin_plate_spline")(points * scales[0])
    return mapped * scales[1]


def test_warpy_moves_objects_both_ways_within_the_error_that_is_told(
    perspective, tmp_path: Path
) -> None:
    done = export_transform(perspective, "qupath", tmp_path / "out")

    told = {file.name: file.accuracy for file in done.files}
    ihc = places(perspective)
    ihc = ihc[Box.of(perspective.he.size).contains(perspective.chain(ihc))]
    he = perspective.chain(ihc)
    for name, source, target in (("ihc_to_he", ihc, he), ("he_to_ihc", he, ihc)):
        missed = np.hypot(
            *(warpy(done.folder / f"{name}_warpy.json", source + 0.5) - 0.5 - target).T
        )
        accuracy = told[f"{name}_warpy.json"]
        assert np.median(missed) == pytest.approx(accuracy.median_px, rel=0.3)
        assert np.percentile(missed, 95) < 1.5 * accuracy.p99_px
        rows = (done.folder / f"{name}_affine.txt").read_text().split()
        matrix = np.array([float(cell.strip(",")) for cell in rows]).reshape(2, 3)
        affine = (source + 0.5) @ matrix[:, :2].T + matrix[:, 2] - 0.5
        found = np.median(np.hypot(*(affine - target).T))
        assert found == pytest.approx(told[f"{name}_affine.txt"].median_px, rel=0.3)
        assert accuracy.median_px < 0.2 * told[f"{name}_affine.txt"].median_px


def test_qupath_counts_from_the_bounds_of_a_slide(
    hand_made, tmp_path: Path, write_scn: Callable[..., Path]
) -> None:
    pixels = np.full((400, 500, 3), 200, np.uint8)
    scn = write_scn(tmp_path / "he.scn", pixels, origin=(96, 64), glass=(900, 700))
    run = hand_made.registration
    run = replace(
        run,
        he=replace(run.he, path=str(scn), width=900, height=700, mpp=0.5),
        chain=Chain((Projective.translation(96.0, 64.0),)),
    )

    done = export_transform(run, "qupath", tmp_path / "out")

    found = warpy(done.folder / "ihc_to_he_warpy.json", np.array([[10.0, 20.0], [200.0, 100.0]]))
    assert found == pytest.approx(np.array([[10.0, 20.0], [200.0, 100.0]]), abs=1e-3)


def test_jumps_at_block_borders_are_told_as_error(hand_made, tmp_path: Path) -> None:
    run = hand_made.registration
    size = run.fixed.size
    half = size.width // 2
    cores = (Box(0, 0, half, size.height), Box(half, 0, size.width - half, size.height))
    shift = BSpline((-400.0, -400.0), (400.0, 400.0), np.full((8, 8, 2), 6.0))
    run = replace(run, chain=Chain((SplicedField(cores, (None, shift)), run.chain.steps[1])))

    done = export_transform(run, "ome-zarr", tmp_path / "out")

    (accuracy,) = (file.accuracy for file in done.files)
    assert accuracy.median_px < 0.01
    assert accuracy.max_px > 1


def test_from_python_and_into_the_run_folder(hand_made) -> None:
    run = open_run(hand_made.registration.folder)

    folder = run.export("ome-zarr")

    assert folder == run.folder / "transform_ome-zarr"
    record = json.loads((folder / "transform.json").read_text())
    assert record["registration"] == run.key
    assert any("0.6 scene" in sentence for sentence in record["about"])
    assert run.export("ome-zarr") == folder
    assert open_run(run.folder).verdict == run.verdict


def test_what_is_refused(hand_made, tmp_path: Path) -> None:
    run = hand_made.registration
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")

    with pytest.raises(
        SettingsError, match=r"expected ome-zarr, itk, qupath, found 'itkk'. Did you"
    ):
        export_transform(run, "itkk", tmp_path / "out")
    with pytest.raises(UsageError, match="holds something else"):
        export_transform(run, "itk", tmp_path / "mine")
    with pytest.raises(OutputError, match="which this command reads"):
        export_transform(run, "itk", run.folder)
    assert (tmp_path / "mine" / "thesis.txt").exists()
