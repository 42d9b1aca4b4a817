"""Result rows as a Parquet file: typed columns, nested values flattened."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from host.report.flat import FIELDS, flatten_row
from host.report.output import open_binary


def write_parquet(rows: Iterable[Mapping[str, Any]], out: Path | BinaryIO) -> None:
    """Write all rows. The types are the same for all files, also where a column holds nothing."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {
        "text": pa.string(),
        "json": pa.string(),
        "truth": pa.bool_(),
        "whole": pa.int64(),
        "real": pa.float64(),
    }
    schema = pa.schema([(field.name, types[field.kind]) for field in FIELDS])
    table = pa.Table.from_pylist([flatten_row(row) for row in rows], schema=schema)
    with open_binary(out) as stream:
        pq.write_table(table, stream, compression="zstd")
