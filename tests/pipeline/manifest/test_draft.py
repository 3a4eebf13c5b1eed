"""`manifest`: folders of slides with everything that real folders have, to manifests that load."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml
from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.errors import ManifestError, UsageError
from pipeline.manifest.draft import Draft, DraftRequest, draft_manifest
from pipeline.manifest.manifest import Manifest, load_manifest
from registration.errors import OutputError


def slide(path: Path, seed: int, mpp: float | None = 0.5) -> Path:
    """A small TIFF with pixels of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(seed).integers(0, 255, (40, 64, 3), np.uint8)
    options = {} if mpp is None else {"resolution": (1e4 / mpp,) * 2, "resolutionunit": 3}
    tifffile.imwrite(path, image, photometric="rgb", **options)
    return path


def drafted(folder: Path, **given: object) -> tuple[Draft, Manifest]:
    out = folder.parent / "cohort.yaml"
    request = DraftRequest(folder, out, "bci-pipeline manifest slides", overwrite=True, **given)  # type: ignore[arg-type]
    draft = draft_manifest(request, lambda done, total: None)
    return draft, load_manifest(out)


def kinds(draft: Draft) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for finding in draft.pairing.findings:
        found.setdefault(finding.kind, []).append(finding.text)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate(("a_HE", "a_IHC", "b_HE", "b_IHC")):
        slide(tmp_path / "slides" / f"{name}.tif", number)
    return tmp_path / "slides"


def test_pairs_by_name(folder: Path) -> None:
    draft, manifest = drafted(folder)

    assert [(case.id, case.patient) for case in manifest.cases] == [("a", "a"), ("b", "b")]
    assert manifest.case("a").he == folder.parent.resolve() / "slides" / "a_HE.tif"
    assert manifest.register_.image == "none"
    assert not draft.pairing.findings
    assert "64 x 40" in draft.out.read_text()
    assert any("a_HE.tif is HE of case a" in sentence for sentence in draft.about)
    assert any("patient of its own" in sentence for sentence in draft.about)


@pytest.mark.parametrize(
    "record",
    ["registration.json", "dataset.json", "patches.json", "study.json", "truth.json"],
)
def test_what_this_program_made_is_no_slide(folder: Path, record: str) -> None:
    slide(folder / "made" / "inner" / "c_HE.tif", 8)
    (folder / "made" / record).write_text("{}")

    draft, _ = drafted(folder)

    assert draft.slides == 4


@pytest.mark.parametrize(
    ("slides", "results"),
    [("slides", "cohort"), ("cohort", "cohort_results"), ("cohort/raw", "cohort_results")],
)
def test_results_do_not_go_among_the_slides(tmp_path: Path, slides: str, results: str) -> None:
    for number, stain in enumerate(("HE", "IHC")):
        slide(tmp_path / slides / f"a_{stain}.tif", number)
    request = DraftRequest(tmp_path / slides, tmp_path / "cohort.yaml", "bci-pipeline manifest")

    draft_manifest(request, lambda done, total: None)

    assert load_manifest(tmp_path / "cohort.yaml").out == tmp_path.resolve() / results


def test_everything_that_does_not_fit_is_named_and_left_out(folder: Path) -> None:
    slide(folder / "c_HE.tif", 10)
    slide(folder / "cc_IHC.tif", 11)
    slide(folder / "d_HE.tif", 12)
    slide(folder / "sub" / "d_HE.tif", 13)
    slide(folder / "d_IHC.tif", 14)
    slide(folder / "e_HE.tif", 15, mpp=0.25)
    slide(folder / "e_IHC.tif", 16, mpp=0.5)
    slide(folder / "f_HE.tif", 17, mpp=None)
    slide(folder / "f_IHC.tif", 18)
    slide(folder / "g_HE.tif", 19)
    slide(folder / "g_IHC.tif", 20).write_text("not a slide")
    shutil.copyfile(slide(folder / "h_HE.tif", 21), folder / "i_HE.tif")
    slide(folder / "h_IHC.tif", 22)
    slide(folder / "i_IHC.tif", 23)
    slide(folder / "overview.tif", 24)
    (folder / "old.vsi").write_bytes(b"Olympus")
    slide(folder / ".hidden_HE.tif", 25)
    slide(folder / "run" / "registered_HE.tif", 26)
    (folder / "run" / "registration.json").write_text("{}")

    draft, manifest = drafted(folder)

    assert [case.id for case in manifest.cases] == ["a", "b", "e"]
    found = kinds(draft)
    assert [text.split(":")[0] for text in found["no partner"]] == [
        str(folder / "c_HE.tif"),
        str(folder / "cc_IHC.tif"),
    ]
    assert "Nearest: cc" in found["no partner"][0]
    assert "d has several H&E slides" in found["twice"][0]
    assert "the same slide in case h and i; left out" in found["twice"][1]
    assert found["scales differ"] == ["e: H&E 0.25, IHC 0.5 µm per pixel"]
    assert "f_HE.tif" in found["no scale"][0]
    assert found["cannot be opened"] == [
        f"case g: {folder / 'g_IHC.tif'} is a text file, not an image."
    ]
    assert sorted(text.split(":")[0] for text in found["no stain in its name"]) == [
        "old.vsi",
        "overview.tif",
    ]
    text = draft.out.read_text()
    assert "#   mpp_he: unknown  # give the true µm per pixel" in text
    assert "no partner: " in text


def test_left_out_cases_can_be_put_back(folder: Path) -> None:
    slide(folder / "f_HE.tif", 17, mpp=None)
    slide(folder / "f_IHC.tif", 18)
    draft, _ = drafted(folder)

    text = draft.out.read_text()
    begin = text.index("  # - id: f")
    block = text[begin : text.index("\n\n", begin)]
    back = "\n".join("  " + line.removeprefix("  # ") for line in block.splitlines())
    draft.out.write_text(text.replace(block, back))
    with pytest.raises(ManifestError, match=r"case f: mpp_he: expected a number, found 'unknown'"):
        load_manifest(draft.out)
    draft.out.write_text(text.replace(block, back.replace("unknown", "0.25")))

    assert load_manifest(draft.out).case("f").mpp_he == 0.25


def test_a_folder_of_slides_without_scale_leaves_a_manifest_to_fill_in(tmp_path: Path) -> None:
    folder, out = tmp_path / "slides", tmp_path / "cohort.yaml"
    for number, name in enumerate(("a_HE.tif", "a_IHC.tif", "b_HE.tif", "b_IHC.tif")):
        slide(folder / name, number, mpp=None)

    with pytest.raises(UsageError, match=r"cohort\.yaml lists them: fill in") as caught:
        drafted(folder)

    assert "Give it with mpp_he or mpp_ihc in the manifest" in str(caught.value)
    lines = out.read_text().splitlines()
    assert lines[0].startswith("# 0 cases of slides")
    filled = [
        "  " + line.removeprefix("  # ") if line.startswith("  # ") else line
        for line in lines
        if "left out" not in line
    ]
    out.write_text("\n".join(filled))
    with pytest.raises(ManifestError, match=r"case a: mpp_ihc: expected a number, found 'unknown'"):
        load_manifest(out)
    out.write_text("\n".join(filled).replace("unknown", "0.5"))
    assert [case.mpp_he for case in load_manifest(out).cases] == [0.5, 0.5]


def test_scales_that_few_slides_share_are_not_called_those_of_most(tmp_path: Path) -> None:
    for number, (name, mpp) in enumerate([("a", 1.74), ("b", 3.2)]):
        slide(tmp_path / "slides" / f"{name}_HE.tif", 2 * number, mpp=mpp)
        slide(tmp_path / "slides" / f"{name}_IHC.tif", 2 * number + 1, mpp=mpp)

    found = kinds(drafted(tmp_path / "slides")[0])["scales differ"]

    assert [text.split("; ")[1] for text in found] == ["the slides have 1.74 to 3.2"] * 2


def test_every_setting_can_be_put_in(folder: Path) -> None:
    draft, manifest = drafted(folder)

    lines = draft.out.read_text().splitlines()
    begin = lines.index("# patch:")
    whole = [line.removeprefix("# ") for line in lines[begin : begin + 4]]

    patch = {"keep_names": False, "size": 1024, "stride": None}
    assert yaml.safe_load("\n".join(whole)) == {"patch": patch}
    assert manifest.patch.size == 1024


def test_several_stains_and_patients_by_pattern(tmp_path: Path) -> None:
    folder = tmp_path / "slides"
    for number, name in enumerate(("x/1_HE", "x/1_HER2", "x/1_ki-67", "x/2_HE", "x/2_HER2")):
        slide(folder / f"{name}.tif", number)

    draft, manifest = drafted(folder, he="{patient}/{case}_HE", ihc="{patient}/{case}_{stain}")

    assert {case.patient for case in manifest.cases} == {"x"}
    assert [case.id for case in manifest.cases] == ["1_HER2", "1_KI67", "2"]
    assert [case.stain for case in manifest.cases] == ["HER2", "KI67", "HER2"]
    assert [entry.id for entry in draft.pairing.usable] == ["1", "2"]
    assert {case.ihc.name for case in manifest.cases} == {"1_HER2.tif", "1_ki-67.tif", "2_HER2.tif"}


def test_a_table_of_excel_says_more_of_cases_paired_by_name(folder: Path) -> None:
    table = folder.parent / "cases.csv"
    table.write_bytes(
        "sep=;\r\ncase;patient;HER2;mpp_he;note\r\na;007;3+;0,25;old\r\nz;9;0;;\r\n".encode(
            "utf-16"
        )
    )

    draft, manifest = drafted(folder, table=table)

    case = manifest.case("a")
    assert (case.patient, case.her2, case.mpp_he) == ("007", "3+", 0.25)
    assert manifest.case("b").patient == "b"
    found = kinds(draft)
    assert found["not in the table"] == ["b: taken for a patient of its own"]
    assert "no slides of case z" in found["not found"][0]
    assert any("note" in sentence for sentence in draft.about)
    assert not any("patient of its own" in sentence for sentence in draft.about)


def test_a_table_pairs_slides_that_no_name_pairs(folder: Path) -> None:
    slide(folder / "scan 0001.tif", 30)
    slide(folder / "deep" / "scan 0002.tif", 31)
    table = folder.parent / "cases.csv"
    table.write_text("case,he,ihc\nnew,scan 0001.tif,deep\\scan 0002.tif\n")

    draft, manifest = drafted(folder, table=table)

    assert manifest.case("new").ihc.name == "scan 0002.tif"
    assert "no stain in its name" not in kinds(draft)


def test_a_patient_given_two_splits_is_named_and_left_to_the_draw(folder: Path) -> None:
    table = folder.parent / "cases.csv"
    table.write_text("case,patient,split\na,p,train\nb,p,test\n")

    draft, manifest = drafted(folder, table=table)

    assert [case.split for case in manifest.cases] == [None, None]
    assert "patient p is given test and train" in kinds(draft)["patient unclear"][0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: shutil.rmtree(folder), "not there"),
        (lambda folder: [path.unlink() for path in folder.iterdir()], "holds no slides"),
        (lambda folder: [path.unlink() for path in folder.glob("*_IHC*")], "no case of"),
    ],
)
def test_a_folder_without_cases_is_refused(folder: Path, change: object, words: str) -> None:
    change(folder)  # type: ignore[operator]

    with pytest.raises(UsageError, match=words):
        drafted(folder)


def test_an_existing_manifest_is_not_replaced_unasked(folder: Path) -> None:
    out = folder.parent / "mine.yaml"
    out.write_text("name: by hand\n")

    refused = CliRunner().invoke(app, ["manifest", str(folder), "--out", str(out)])

    assert isinstance(refused.exception, UsageError)
    assert out.read_text() == "name: by hand\n"


SETTINGS = "name: breast\nout: results\nregister: {image: none}\npatch: {size: 256}\n"


@pytest.fixture
def table(folder: Path) -> Path:
    path = folder.parent / "cohort.csv"
    path.write_text("case;patient;he;ihc;flip\na;p1;slides/a_HE.tif;slides/a_IHC.tif;wahr\n")
    return path


def test_a_manifest_may_be_a_table(table: Path) -> None:
    config = table.with_name("settings.yaml")
    config.write_text(SETTINGS)

    manifest = load_manifest(table, config)

    assert (manifest.name, manifest.patch.size) == ("breast", 256)
    assert manifest.case("a").flip is True
    assert load_manifest(table).out == table.parent.resolve() / "cohort"


def test_mistakes_in_a_table_have_line_and_column_and_those_of_settings_their_file(
    table: Path,
) -> None:
    table.write_text(
        table.read_text() + "b;p2;slides/b_HE.tif;slides/x_IHC.tif;\na;p3;slides/b_HE.tif;;\n"
    )
    config = table.with_name("settings.yaml")
    config.write_text(SETTINGS + "splitt: {}\n")

    with pytest.raises(ManifestError) as refused:
        load_manifest(table, config)

    lines = str(refused.value).splitlines()
    assert f"{table}:3:4: case b: ihc: IHC slide not found: slides/x_IHC.tif" in lines[0]
    assert lines[1] == f"{table}:4:1: case a: id: a is also the id of case number 1"
    assert f"{config}:5:1: splitt: unknown key" in "\n".join(lines)
    assert any(line.startswith(f"{table}:4:1: case a: ihc is missing") for line in lines)


@pytest.mark.parametrize(
    ("name", "text", "config", "words"),
    [
        ("c.csv", "case,he\na,b\n", None, "no column 'ihc'"),
        ("c.csv", "he,ihc\na,b\n", None, "no column 'case'"),
        ("c.xlsx", "PK", None, "save its sheet as CSV"),
        ("c.yaml", "out: o\ncases: []\n", "out: o", "--config goes with a table"),
        (
            "c.csv",
            "case,patient,he,ihc\na,p,x,y\n",
            "cases: []",
            "settings.yaml:1:1: the cases are",
        ),
        ("c.csv", "case,patient,he,ihc\na,p,x,y\n", "- 1", "expected the settings"),
        (
            "c.csv",
            "case;patient;he;ihc\na;p;x;y\nb;;x;y",
            None,
            "line 3: the patient is missing; of",
        ),
        (
            "c.csv",
            "case;patient;he;ihc\na;p;x;y\n;p;x;y",
            None,
            "line 3: the case is missing; of m",
        ),
        (
            "c.csv",
            "case;patient;he;ihc\na;4,1E+9;x;y",
            None,
            "line 2: patient '4,1E.9' was rounded",
        ),
        ("c.csv", "case;he;ihc;mpp_he\na;x;y;1.000", None, "line 2: mpp_he '1.000' may be a fract"),
    ],
)
def test_a_table_that_is_no_manifest_is_refused(
    tmp_path: Path, name: str, text: str, config: str | None, words: str
) -> None:
    (tmp_path / name).write_text(text)
    settings = tmp_path / "settings.yaml"
    settings.write_text(config or "")

    with pytest.raises(ManifestError, match=words):
        load_manifest(tmp_path / name, None if config is None else settings)


def test_a_slide_is_never_replaced_by_the_manifest(folder: Path) -> None:
    out = folder / "a_HE.tif"
    before = out.read_bytes()

    with pytest.raises(OutputError, match=r"a_HE\.tif is there already and of another kind"):
        draft_manifest(DraftRequest(folder, out, "", overwrite=True), lambda done, total: None)

    assert out.read_bytes() == before
