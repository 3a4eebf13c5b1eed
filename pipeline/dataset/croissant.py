"""``croissant.json``: the data card for machines, Croissant 1.1 in JSON-LD with responsible-AI fields.

Every column of the table is a field of the record set ``pairs``, with its meaning; those that say how
well a pair is aligned make the alignment statement of each pair. What only a person knows (terms,
authors, where the slides come from) is left to ``README.md``.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from importlib.metadata import version
from typing import Any

import pyarrow as pa

from pipeline.dataset.plan import Dataset
from pipeline.dataset.table import COLUMN_RECORDS, CSV_NAME
from pipeline.patches.grades import GRADES
from pipeline.patches.writer import SUFFIXES
from registration.files.storage import write_json

CROISSANT_NAME = "croissant.json"
CONFORMS_TO = ("http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0")
ALIGNMENT = (
    *("shift_um", "similarity", "null_percentile", "nuclei", "nuclei_paired", "nuclei_beyond"),
    *("nuclei_median_um", "nuclei_shift_x_um", "nuclei_shift_y_um", "grade"),
)
"""Columns that say how well a pair is aligned."""

MIME = {"png": "image/png", "webp": "image/webp", "jpeg": "image/jpeg"}
DATA_TYPES = {
    pa.int32(): "sc:Integer",
    pa.int64(): "sc:Integer",
    pa.float64(): "sc:Float",
    pa.bool_(): "sc:Boolean",
}
_CR = (
    *(
        "arrayShape",
        "citeAs",
        "column",
        "containedIn",
        "dataType",
        "extract",
        "field",
        "fileProperty",
    ),
    *("fileObject", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath", "key"),
    *("md5", "parentField", "path", "recordSet", "references", "regex", "repeated", "replace"),
    *("samplingRate", "separator", "source", "subField", "transform", "equivalentProperty"),
)
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    **{name: f"cr:{name}" for name in _CR},
    "data": {"@id": "cr:data", "@type": "@json"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
}


def write_croissant(dataset: Dataset) -> None:
    """Write the card beside the tables, which are there already."""
    write_json(dataset.folder / CROISSANT_NAME, croissant_of(dataset))


def croissant_of(dataset: Dataset) -> dict[str, Any]:
    """Return the card as plain values; nothing in it depends on when or where it was made."""
    settings, summary = dataset.plan.settings, dataset.summary
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "name": dataset.plan.name,
        "conformsTo": list(CONFORMS_TO),
        "description": (
            f"{summary.kept} registered pairs of H&E and IHC patches of {settings.size} px, in the splits "
            f"{', '.join(summary.splits)}. Made by bci-pipeline {version('bci-pipeline')}."
        ),
        "version": "1.0.0",
        **_responsible(dataset),
        "distribution": [_table(dataset), _images(dataset)],
        "recordSet": [_pairs()],
    }


def _responsible(dataset: Dataset) -> dict[str, Any]:
    """Return the responsible-AI fields."""
    settings = dataset.plan.settings
    kept = [row for row in dataset.rows if row.kept]
    grades = Counter(row.grade for row in kept)
    counts = ", ".join(f"{grades[grade]} {grade}" for grade in GRADES)
    levels = Counter(row.her2 or "unknown" for row in kept)
    balance = ", ".join(f"{level}: {count}" for level, count in sorted(levels.items()))
    return {
        "rai:dataCollection": (
            f"Patches of {len({row.case for row in kept})} pairs of whole-slide images of "
            f"{len({row.patient for row in kept})} patients; their origin stands in README.md."
        ),
        "rai:dataPreprocessingProtocol": [
            "One slide of each pair was warped onto the other by a projective and a non-rigid transform.",
            f"Alignment of each pair: a residual shift of at most {settings.max_shift_um:g} µm, more alike "
            f"than {settings.min_percentile:g} % of mismatched pairs; grades: {counts}. Each pair's own "
            f"statement is in the fields {', '.join(ALIGNMENT)}.",
        ],
        "rai:dataAnnotationProtocol": "HER2 levels are those given for the slides, not for the patches.",
        "rai:dataUseCases": "Training and testing of virtual staining, H&E to IHC; not for diagnosis.",
        "rai:dataBiases": f"Pairs per HER2 level: {balance}.",
        "rai:dataLimitations": (
            "The two sections of a pair may be neighbours: single nuclei need not correspond."
        ),
        "rai:personalSensitiveInformation": (
            "Images of human tissue; patients are called "
            + (
                "as in the labels that were given."
                if settings.keep_names
                else "by a case of theirs."
            )
        ),
    }


def _table(dataset: Dataset) -> dict[str, Any]:
    """Return the table as a file."""
    content = (dataset.folder / CSV_NAME).read_bytes()
    return {
        "@type": "cr:FileObject",
        "@id": CSV_NAME,
        "name": CSV_NAME,
        "description": "One row per candidate pair, kept or not.",
        "contentUrl": CSV_NAME,
        "contentSize": f"{len(content)} B",
        "encodingFormat": "text/csv",
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def _images(dataset: Dataset) -> dict[str, Any]:
    """Return the images as a set of files."""
    kind = dataset.plan.settings.format
    folders = {
        file.split("/")[0] for row in dataset.rows for file in (row.he_file, row.ihc_file) if file
    }
    return {
        "@type": "cr:FileSet",
        "@id": "images",
        "name": "images",
        "description": "The images that he_file and ihc_file name.",
        "encodingFormat": MIME[kind],
        "includes": [f"{folder}/**/*{SUFFIXES[kind]}" for folder in sorted(folders)],
    }


def _pairs() -> dict[str, Any]:
    """Return the record set: one field per column."""
    return {
        "@type": "cr:RecordSet",
        "@id": "pairs",
        "name": "pairs",
        "description": "Candidate pairs with their scores, grade and files.",
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"pairs/{column.field.name}",
                "name": column.field.name,
                "description": column.meaning,
                "dataType": DATA_TYPES.get(column.field.type, "sc:Text"),
                "source": {
                    "fileObject": {"@id": CSV_NAME},
                    "extract": {"column": column.field.name},
                },
            }
            for column in COLUMN_RECORDS
        ],
    }
