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
        lines = ",\n".join(json.dumps(row, ensure_ascii=False, allow_nan=False) for row in rows)
        stream.write(f"[\n{lines}\n]\n" if lines else "[]\n")
