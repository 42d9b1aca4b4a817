"""Result rows as a Parquet file: typed columns, nested values flattened."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from host.ledger.flat import FIELDS, Kind, flatten_row
from host.report.output import open_binary

BATCH = 5000


def write_parquet(rows: Iterable[Mapping[str, Any]], out: Path | BinaryIO) -> None:
    """Write all rows. The types are the same for all files, also where a column holds nothing."""
    columns = [(field.name, field.kind) for field in FIELDS]
    write_parquet_lines(columns, (list(flatten_row(row).values()) for row in rows), out)


def write_parquet_lines(
    columns: Sequence[tuple[str, Kind]], lines: Iterable[Sequence[Any]], out: Path | BinaryIO
) -> None:
    """As `write_parquet`, of columns with these names and kinds."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {
        "text": pa.string(),
        "json": pa.string(),
        "truth": pa.bool_(),
        "whole": pa.int64(),
        "real": pa.float64(),
    }
    schema = pa.schema([(name, types[kind]) for name, kind in columns])
    waiting = iter(lines)
    with open_binary(out) as stream, pq.ParquetWriter(stream, schema, compression="zstd") as writer:
        while batch := list(islice(waiting, BATCH)):
            held = [pa.array([line[at] for line in batch], field.type) for at, field in enumerate(schema)]
            writer.write_table(pa.Table.from_arrays(held, schema=schema))
