"""The table of a dataset: one row per candidate pair, kept or not (``docs/dataset.md``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, get_args, get_type_hints

import pyarrow as pa
from pyarrow import parquet

from pipeline.errors import DatasetError
from pipeline.patches.grades import Grade
from pipeline.split import Split
from registration.files.her2 import Her2
from registration.files.storage import write_text, written_whole
from registration.files.tables import table_text
from registration.patch_reasons import REASON_WORDS

UNNAMED_STAIN = "IHC"
PARQUET_NAME = "patches.parquet"
CSV_NAME = "patches.csv"

ARROW_TYPES = {int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
"""How values are stored; whatever else is text."""

_REASONS = ", ".join(f"`{reason}` ({words})" for reason, words in REASON_WORDS.items())


@dataclass(frozen=True, slots=True)
class PatchRow:
    """One candidate pair. The fields are the columns of the table, in their order.

    The schema, the table in ``docs/dataset.md`` and what is read and written come from here: a
    column is its type, whether it may be null, and one sentence.
    """

    pair_id: Annotated[str, "`<case>_<x>_<y>`, unique in the dataset"]
    case: Annotated[str, "name of the case (of the run folder, where no manifest names it)"]
    patient: Annotated[str, "splits are made of whole patients"]
    he_hash: Annotated[str | None, "content hash of the H&E slide"]
    ihc_hash: Annotated[str | None, "content hash of the IHC slide"]
    x: Annotated[
        int | None,
        "left edge, level-0 pixels of the slide that kept its pixels (IHC, unless `--moving ihc`)",
    ]
    y: Annotated[int | None, "upper edge, likewise"]
    size: Annotated[int, pa.int32(), "side of the patch in its own pixels"]
    mpp: Annotated[float | None, "µm per pixel of the patch"]
    her2: Annotated[Her2 | None, "`0`, `1+`, `2+`, `3+`"]
    split: Annotated[Split, "`train`, `val`, `test`"]
    he_tissue: Annotated[
        float | None,
        "share of the H&E patch that is tissue; pen, bubbles, folds and out-of-focus areas do not count",
    ]
    ihc_tissue: Annotated[float | None, "the same of the IHC patch"]
    filled: Annotated[
        float | None, "share of the warped patch that has no source on its slide and was filled"
    ]
    shift_um: Annotated[
        float | None, "residual shift between the two images, µm; null where nothing was compared"
    ]
    similarity: Annotated[
        float | None, "similarity of the two images in a stain-independent representation, -1 to 1"
    ]
    null_percentile: Annotated[
        float | None,
        "share (0 to 100) of the slide's own mismatched pairs that the pair beats, after what each "
        "patch has in common with mismatched patches on average was subtracted",
    ]
    fold: Annotated[bool, "the transform folds inside the patch"]
    seam: Annotated[
        bool,
        "the patch crosses a border of two blocks at which the transform jumps by more than half a pixel",
    ]
    piece: Annotated[
        int | None,
        pa.int32(),
        "piece of tissue that the patch shows, 1 where the slide is one; null where it shows several, "
        "none that was registered, or one that failed",
    ]
    kept: Annotated[bool, "whether the pair is in the dataset"]
    reason: Annotated[str, f"why not: the first of {_REASONS} that holds; empty when kept"]
    nuclei: Annotated[
        int | None,
        pa.int32(),
        "nuclei found in the middle 250 µm of the patch on the slide that kept its pixels; null, "
        "as below, where none were looked for",
    ] = None
    nuclei_paired: Annotated[
        float | None,
        "share of them with a nucleus of the other slide within 4.8 µm (1.5 radii), one to one",
    ] = None
    nuclei_beyond: Annotated[
        float | None, "share of them that pairs beyond what nuclei displaced by 20 to 60 µm reach"
    ] = None
    nuclei_median_um: Annotated[float | None, "median distance of the partners, µm"] = None
    nuclei_shift_x_um: Annotated[
        float | None,
        "shift that they share from that slide to the other, µm; null where they share none",
    ] = None
    nuclei_shift_y_um: Annotated[float | None, "likewise"] = None
    grade: Annotated[
        Grade | None,
        "`gold`, `silver` or `bronze`: how far the alignment can be trusted; null when not kept",
    ] = None
    he_file: Annotated[
        str | None,
        "path of the H&E image inside the dataset, `/` between folders; null when not kept",
    ] = None
    ihc_file: Annotated[
        str | None, "the same of the IHC image: the same file in the layout `pix2pix`"
    ] = None
    stain: Annotated[str, "IHC stain, as the manifest names it; `IHC` where it does not"] = (
        UNNAMED_STAIN
    )


@dataclass(frozen=True, slots=True)
class Column:
    """A column as it is stored and as it is documented."""

    field: pa.Field
    meaning: str


def _column(name: str, hint: Any) -> Column:
    """Return the column of one field of :class:`PatchRow`."""
    kind, *notes = get_args(hint)
    nullable = NoneType in get_args(kind)
    stored = ARROW_TYPES.get(get_args(kind)[0] if nullable else kind, pa.string())
    return Column(pa.field(name, notes[0] if notes[1:] else stored, nullable), notes[-1])


COLUMN_RECORDS = tuple(
    _column(name, hint) for name, hint in get_type_hints(PatchRow, include_extras=True).items()
)
COLUMNS = tuple(column.field.name for column in COLUMN_RECORDS)
REQUIRED = tuple(item.name for item in fields(PatchRow) if item.default is MISSING)
"""Columns that tables of every version have."""

SCHEMA = pa.schema([column.field for column in COLUMN_RECORDS])


def write_tables(folder: Path, rows: Sequence[PatchRow]) -> None:
    """Write ``patches.parquet`` and ``patches.csv``, the same content in both."""
    write_parquet(folder / PARQUET_NAME, [_record(row) for row in rows], SCHEMA)
    cells = ([_cell(value) for value in _record(row).values()] for row in rows)
    write_text(folder / CSV_NAME, table_text([COLUMNS, *cells]))


def write_parquet(path: Path, records: Sequence[dict[str, Any]], schema: pa.Schema) -> None:
    """Write records as Parquet."""
    with written_whole(path) as part:
        parquet.write_table(pa.Table.from_pylist(list(records), schema=schema), part)


def read_table(folder: Path) -> list[PatchRow]:
    """Read ``patches.parquet`` of a dataset.

    Raises :class:`DatasetError` where it is missing, damaged or has other columns.
    """
    path = folder / PARQUET_NAME
    if not path.is_file():
        raise DatasetError(
            f"no table of patches in {folder}: {PARQUET_NAME} is missing. "
            "`bci-pipeline patch` and `run` write it; a foreign folder has none."
        )
    try:
        table = parquet.read_table(path)
    except pa.ArrowException as error:
        raise DatasetError(f"{path} is damaged: {error}. Cut the patches again.") from error
    missing = [name for name in REQUIRED if name not in table.column_names]
    if missing:
        raise DatasetError(
            f"{path} lacks the columns {', '.join(missing)}: not written by this version"
        )
    known = [name for name in COLUMNS if name in table.column_names]
    return [PatchRow(**record) for record in table.select(known).to_pylist()]


def _record(row: PatchRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in COLUMNS}


def _cell(value: object) -> object:
    """Return a CSV cell: empty for null, ``true`` and ``false`` in lower case."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return value
