"""What `trtexec` prints and exports, releases 8 to 11: pure parsers.

trtexec's source is samples/trtexec and samples/common of NVIDIA/TensorRT.
"""

import json
import re
from typing import Any, Dict, FrozenSet, List, NamedTuple, Optional

_BANNER = re.compile(r"^&&&& RUNNING TensorRT\.trtexec \[TensorRT v([0-9.]+)\]", re.MULTILINE)
_OPTION = re.compile(r"^ {1,4}(--[A-Za-z]\w*)", re.MULTILINE)
_LINE = re.compile(r"^\[[0-9/]+-[0-9:]+\] \[(?P<kind>[A-Z])\] (?P<text>.*?)\s*$", re.MULTILINE)
_VERDICT = re.compile(r"^&&&& (PASSED|FAILED) TensorRT\.trtexec", re.MULTILINE)
_TAIL_LINES = 12

# In the log of each run, as trtexec prints what it took its options for.
_TRANSFERS, _GRAPH, _SPIN, _DMA = "Data transfers", "CUDA Graph", "Spin-wait", "ExposeDMA"
EXPECTED = {_TRANSFERS: "Enabled", _GRAPH: "Disabled", _SPIN: "Enabled", _DMA: "Enabled"}
# H2D of one inference: until 8.1 and since 8.2.
_COPY_IN = ("inMs", "h2dMs")


class Times(NamedTuple):
    """One inference in ms. `latency` is the way in, the computing and the way out; `copy_in` the way in."""

    latency: float
    compute: float
    copy_in: float


def parse_version(text: str) -> Optional[str]:
    """8.2.1 of a banner with v8201, 10.3.0 of v100300 (NV_TENSORRT_VERSION of NvInferVersion.h)."""
    found = _BANNER.search(text)
    if found is None:
        return None
    told = found.group(1)
    if "." in told:
        return told
    number = int(told)
    if number >= 100000:
        return "{}.{}.{}".format(number // 10000, number // 100 % 100, number % 100)
    return "{}.{}.{}".format(number // 1000, number // 100 % 10, number % 100)


def parse_options(text: str) -> FrozenSet[str]:
    """The options that `--help` has a line for; others are only spoken of in the lines of these."""
    return frozenset(_OPTION.findall(text))


def parse_settings(text: str) -> Dict[str, str]:
    """`key: value` of each line of information; the first of a key counts."""
    found: Dict[str, str] = {}
    for line in _LINE.finditer(text):
        key, colon, value = line.group("text").partition(":")
        if line.group("kind") == "I" and colon:
            found.setdefault(key.strip(), value.strip())
    return found


def find_deviations(text: str) -> List[str]:
    """What a run did otherwise than it was told to: then its times mean something else."""
    settings = parse_settings(text)
    return [
        "{}: {}".format(key, settings[key])
        for key, expected in EXPECTED.items()
        if settings.get(key, expected) != expected
    ]


def has_passed(text: str) -> bool:
    """Whether trtexec's last verdict is a good one."""
    verdicts = _VERDICT.findall(text)
    return bool(verdicts) and verdicts[-1] == "PASSED"


def find_reason(text: str) -> str:
    """What a failed run logged as errors, or else its last lines."""
    errors = [line.group("text") for line in _LINE.finditer(text) if line.group("kind") in "EF"]
    lines = errors or [line for line in text.splitlines() if line.strip()]
    return "\n".join(lines[-_TAIL_LINES:])


def parse_times(text: str) -> List[Times]:
    """The inferences of a file of `--exportTimes`. Raises ValueError where it is not of that form."""
    entries = json.loads(text)
    if not isinstance(entries, list):
        raise ValueError("the exported times are no list")  # noqa: TRY004 (a wrong file, not a wrong call)
    return [_read_times(entry) for entry in entries]


def _read_times(entry: Any) -> Times:
    try:
        copy_in = next(float(entry[key]) for key in _COPY_IN if key in entry)
        times = Times(float(entry["latencyMs"]), float(entry["computeMs"]), copy_in)
    except (KeyError, TypeError, StopIteration) as error:
        raise ValueError("an exported time lacks a part: {!r}".format(entry)) from error
    if not 0 < times.latency < float("inf"):
        raise ValueError("an exported time is no duration: {!r}".format(entry))
    return times
