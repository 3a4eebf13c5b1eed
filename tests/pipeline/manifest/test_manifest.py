"""The manifest: what it understands, and what it refuses, with the place of every mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import ManifestError
from pipeline.manifest.manifest import Manifest, load_manifest
from pipeline.manifest.yaml_positions import read_located

CASE = """\
  - id: p012
    patient: p012
    he: slides/p012_he.ndpi
    ihc: slides/p012_ihc.ndpi
"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "slides").mkdir()
    for name in ("p012_he.ndpi", "p012_ihc.ndpi", "p013_he.ndpi", "p013_ihc.ndpi", "marks.csv"):
        (tmp_path / "slides" / name).touch()
    return tmp_path


def load(base: Path, text: str) -> Manifest:
    path = base / "cohort.yaml"
    path.write_text(text, encoding="utf-8")
    return load_manifest(path)


def complaints(base: Path, text: str) -> list[str]:
    """Lines of the error, without the file's name."""
    with pytest.raises(ManifestError) as refused:
        load(base, text)
    prefix = f"{base / 'cohort.yaml'}:"
    lines = str(refused.value).splitlines()
    assert all(line.startswith(prefix) for line in lines), lines
    return [line.removeprefix(prefix) for line in lines]


def test_a_whole_manifest_is_understood(base: Path) -> None:
    manifest = load(
        base,
        f"""\
name: breast
out: results
cases:
{CASE}    her2: 0
    landmarks: [slides/marks.csv, slides/marks.csv]
    mpp_he: 0.25
    flip: true
    split: test
register: {{recipe: paper, moving: ihc, blocks: 2x3, image: none}}
patch: {{size: 512, stride: 256, layout: pix2pix, format: webp, max_shift_um: 5}}
split: {{test: 0.3, val: 0.1, seed: 4}}
train: {{model: pix2pix, epochs: 1+1, crop: 256}}
""",
    )

    case = manifest.case("p012")
    assert case.he == base / "slides" / "p012_he.ndpi"
    assert (case.her2, case.flip, case.split, case.mpp_he) == ("0", True, "test", 0.25)
    assert case.landmarks == f"{base}/slides/marks.csv,{base}/slides/marks.csv"
    assert manifest.out == base / "results"
    assert (manifest.register_.recipe, manifest.register_.image) == ("paper", "none")
    assert manifest.patch.side_by_side
    assert manifest.split.seed == 4
    assert manifest.train == {"model": "pix2pix", "epochs": "1+1", "crop": "256"}


@pytest.mark.parametrize(
    ("written", "patient"), [("012345", "012345"), ("no", "no"), ("1:30", "1:30"), ("'7'", "7")]
)
def test_yaml_changes_no_name(base: Path, written: str, patient: str) -> None:
    text = f"out: o\ncases:\n{CASE.replace('patient: p012', f'patient: {written}')}"

    assert load(base, text).cases[0].patient == patient


@pytest.mark.parametrize(("written", "level"), [("0", "0"), ("1+", "1+"), ("3", "3+")])
def test_her2_is_understood_as_people_write_it(base: Path, written: str, level: str) -> None:
    assert load(base, f"out: o\ncases:\n{CASE}    her2: {written}\n").cases[0].her2 == level


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            CASE.replace("p012_ihc", "p012_IHCC"),
            "6:10: case p012: ihc: IHC slide not found: slides/p012_IHCC.ndpi. "
            "Nearest: slides/p012_ihc.ndpi",
        ),
        (
            CASE.replace("slides/p012_ihc", "slide/p012_ihc"),
            "6:10: case p012: ihc: IHC slide not found: slide/p012_ihc.ndpi "
            "(there is no folder slide)",
        ),
        (
            CASE.replace("slides/p012_ihc", "slides\\p012_ihc"),
            "6:10: case p012: ihc: IHC slide not found: slides\\p012_ihc.ndpi: write slides/p012_ihc.ndpi",
        ),
        (
            CASE.replace("slides/p012_ihc.ndpi", '"C:\\Users\\p012_ihc.ndpi"'),
            "6:15: expected escape sequence of 8 hexadecimal numbers, but found 's'; write paths with / "
            "or between single quotes",
        ),
        (
            CASE.replace("slides/p012_ihc.ndpi", '"slides\\p012_ihc.ndpi"'),
            "6:18: found unknown escape character 'p'; write paths with / or between single quotes",
        ),
        (
            CASE.replace("    ihc:", "\tihc:"),
            "6:1: found character '\\t' that cannot start any token; indent with spaces, not tabs",
        ),
        (
            CASE.replace("p012_ihc", "p012_he"),
            "6:10: case p012: ihc: the same file as the H&E slide: slides/p012_he.ndpi",
        ),
        (
            CASE + "    landmark: x\n",
            "7:5: case p012: landmark: unknown key. Did you mean landmarks?",
        ),
        (
            CASE + "    her2: 5+\n",
            "7:11: case p012: her2: expected a HER2 level, 0, 1+, 2+ or 3+, found '5+'",
        ),
        (CASE + "    mpp_he: fine\n", "7:13: case p012: mpp_he: expected a number, found 'fine'"),
        (
            CASE + "    flip: maybe\n",
            "7:11: case p012: flip: expected true or false, found 'maybe'",
        ),
        (
            CASE + "    split: training\n",
            "7:12: case p012: split: expected train, val or test, found 'training'",
        ),
        (CASE + "    patient: again\n", "7:5: case p012: patient: given twice, first in line 4"),
        (CASE.replace("    patient: p012\n", ""), "3:5: case p012: patient is missing"),
        (CASE.replace("id: p012", "id: a/b"), "3:9: case a/b: id: expected letters, digits"),
        (
            CASE.replace("id: p012", f"id: {'p' * 201}"),
            f"3:9: case {'p' * 201}: id: expected at most 200 letters, found 201",
        ),
        (
            CASE + CASE.replace("slides/p012", "slides/p013"),
            "7:9: case p012: id: p012 is also the id of case number 1",
        ),
        (
            CASE + CASE.replace("p012\n", "p099\n").replace("p012_ihc", "p013_ihc"),
            "9:9: case p099: he: slides/p012_he.ndpi is also the H&E slide of case p012, "
            "of another patient",
        ),
        (
            CASE
            + "    split: train\n"
            + CASE.replace("id: p012", "id: b").replace("slides/p012", "slides/p013")
            + "    split: test\n",
            "12:12: case b: split: patient p012 is in test here and in train in case p012; "
            "all slides of a patient belong to one split",
        ),
        (CASE + "patch: {size: 12}\n", "7:15: patch.size: expected 64 to 8192 px, found '12'"),
        (CASE + "patch: {size: big}\n", "7:15: patch.size: expected a whole number, found 'big'"),
        (CASE + "patch: {min_tissue: 2}\n", "7:21: patch.min_tissue: expected 0 to 1, found"),
        (CASE + "register: {channel: purple}\n", "7:21: register.channel: expected hematoxylin"),
        (CASE + "register: {blocks: 4*4}\n", "7:20: register.blocks: expected rows x columns"),
        (CASE + "synthetic: {folder: s, size: 100}\n", "7:12: synthetic: "),
        (CASE + "patch: {laout: hf}\n", "7:9: patch.laout: unknown key. Did you mean layout?"),
        (CASE + "split: {test: 0.9, val: 0.2}\n", "7:8: split: a share of 0.9 for test and 0.2"),
        (
            CASE + "train: {epoch: 3}\n",
            "7:9: train.epoch: unknown key. Did you mean epochs?",
        ),
        (CASE + "train: {batch: two}\n", "7:16: train.batch: expected a whole number, found 'two'"),
        (CASE + "color: red\n", "7:1: color: unknown key; known here: name, out, cases"),
    ],
)
def test_each_mistake_has_its_place(base: Path, text: str, expected: str) -> None:
    (line,) = complaints(base, f"out: o\ncases:\n{text}")

    assert line.startswith(expected)


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(base: Path) -> None:
    text = (
        CASE.replace("p012_ihc", "p012_ICH")
        + "    her2: x\n"
        + CASE
        + "patch: {sise: 1, size: 1, mpp: big}\ntrain: {model: no}\n"
    )

    lines = complaints(base, f"cases:\n{text}")

    places = [tuple(map(int, line.split(":")[:2])) for line in lines]
    assert places == sorted(places)
    for expected in (
        "manifest: out is missing",
        "case p012: ihc: IHC slide not found",
        "case p012: her2: expected",
        "case p012: id: p012 is also the id",
        "patch.sise: unknown key. Did you mean size?",
        "patch.size: expected 64 to 8192 px",
        "patch.mpp: expected a number",
        "train",
    ):
        assert any(expected in line for line in lines), (expected, lines)


def test_two_slides_of_a_patient_may_share_one(base: Path) -> None:
    second = CASE.replace("id: p012", "id: p012b").replace("p012_ihc", "p013_ihc")

    assert len(load(base, f"out: o\ncases:\n{CASE}{second}").cases) == 2


def test_slides_that_are_to_be_drawn_may_be_missing(base: Path) -> None:
    text = CASE.replace("slides/", "drawn/case01/") + "synthetic: {folder: drawn, her2: [2+]}\n"

    manifest = load(base, f"out: o\ncases:\n{text}")

    assert manifest.synthetic is not None
    assert manifest.synthetic.folder == base / "drawn"
    assert manifest.synthetic.her2 == ("2+",)


MULTIPLIED = "a0: &a0 [x, x]\n" + "".join(
    f"a{k}: &a{k} [*a{k - 1}, *a{k - 1}]\n" for k in range(1, 30)
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cases: [", ":1:9: "),
        ("- a\n", ":1:1: expected `cases:`"),
        ("", ":1:1: expected `cases:`"),
        ("out: o\ncases: []\n", ":2:8: cases: expected at least one entry"),
        ("out: o\ncases: p012\n", ":2:8: cases: expected a list, found 'p012'"),
        ("out: o\ncases: [p012]\n", ":2:9: case number 1: expected names with values"),
        ("a: &x 1\nb: *y\n", ":2:4: found undefined alias"),
        ("a: &x [*x]\n", "nested more than 100 levels deep"),
        ("a: " + "[" * 200 + "]" * 200, "nested more than 100 levels deep"),
        ("a: " + "{a: " * 3000 + "}" * 3000, "nested more than 100 levels deep"),
        (MULTIPLIED, "holds over 200,000 values"),
        ("out: o\nregister: {'x[0]': 1}\ncases: []\n", ":2:12: register.x[0]: unknown key"),
        ("'[': 1\n", ":1:1: [: unknown key"),
    ],
)
def test_what_is_no_manifest_at_all(base: Path, text: str, expected: str) -> None:
    with pytest.raises(ManifestError) as refused:
        load(base, text)

    assert expected in str(refused.value)


def test_a_missing_and_a_binary_file(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="cannot be read: No such file"):
        load_manifest(tmp_path / "none.yaml")
    (tmp_path / "cohort.yaml").write_text("cases: []\n")
    with pytest.raises(ManifestError, match=r"No such file.*Nearest: .*cohort\.yaml"):
        load_manifest(tmp_path / "cohort.yml")
    with pytest.raises(ManifestError, match=r"is a folder; write a manifest .*manifest"):
        load_manifest(tmp_path)
    (tmp_path / "slide.yaml").write_bytes(b"II*\0\xff\xfe")
    with pytest.raises(ManifestError, match="not UTF-8 text"):
        load_manifest(tmp_path / "slide.yaml")


def test_places_of_nested_values(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("a:\n  - b: 1\n    c: [x, y]\n")

    located = read_located(path)

    assert located.value == {"a": [{"b": "1", "c": ["x", "y"]}]}
    assert (located.place(("a", 0, "c", 1)).line, located.place(("a", 0, "c", 1)).column) == (3, 12)
    assert located.place(("a", 0, "c"), of_key=True).column == 5
    assert located.place(("a", 0, "nothing")).line == 2


def test_the_example_of_the_repository_is_right() -> None:
    manifest = load_manifest(Path(__file__).parents[3] / "data_manifest.yaml")

    assert [case.id for case in manifest.cases] == ["case01", "case02"]
    assert manifest.synthetic is not None
