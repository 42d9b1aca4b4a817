"""Result rows as a JSON list, a row to a line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO

from host.report.output import open_text


def write_json(rows: Iterable[Mapping[str, Any]], out: Path | TextIO) -> None:
    """Write all rows; each line but the first and the last is one object, so that `grep` can be used."""
    with open_text(out) as stream:
        before = "[\n"
        for row in rows:
            stream.write(before + json.dumps(row, ensure_ascii=False, allow_nan=False))
            before = ",\n"
        stream.write("[]\n" if before == "[\n" else "\n]\n")


def write_json_value(value: Any, out: Path | TextIO) -> None:
    """Write one JSON document, for people too."""
    with open_text(out) as stream:
        stream.write(json.dumps(value, ensure_ascii=False, allow_nan=False, indent=2) + "\n")
