"""Recordings of what boards' own tools printed, by the kind that `parse` knows them by."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from device_agent.parsing import KINDS, find_parser

RECORDINGS = Path(__file__).parent / "recordings" / "board_texts.jsonl"
ENTRIES = [json.loads(line) for line in RECORDINGS.read_text(encoding="utf-8").splitlines()]
WORDS_OF_KINDS = {
    "vcgencmd": "vcgencmd",
    "nvpmodel": "nvpmodel",
    "jetson_clocks": "jetson_clocks",
    "/etc/nv_tegra_release": "nv_tegra_release",
    "/proc/device-tree": "device_tree_model",
}
TEXT_KINDS = sorted(set(KINDS) - {"tegrastats"})


def kind_of(entry: dict[str, Any]) -> str:
    return next(kind for word, kind in WORDS_OF_KINDS.items() if word in entry["command"])


def parse(kind: str, text: str) -> dict[str, Any]:
    """What is said of a text, which is JSON whatever the text."""
    answer = find_parser(kind)(text)
    json.dumps(answer, allow_nan=False)
    return answer
