"""What a board can measure with: its Python, its source of power, and what only root would see."""

from __future__ import annotations

from collections.abc import Iterator

from host.readiness.finding import BoardFinding, Look

LEAST_PYTHON = (3, 8)
"""Below, the newest ONNX Runtime is 1.10 (Python 3.6) or 1.14 (3.7), with kernels of their time."""

_RAPL = "/sys/class/powercap/intel-rapl:*/energy_uj"


def judge_sources(look: Look) -> Iterator[BoardFinding]:
    yield _judge_python(look)
    yield _judge_power(look)
    yield from _list_root_only(look)


def _judge_python(look: Look) -> BoardFinding:
    major, minor = (int(part) for part in look.facts.python.split(".")[:2])
    if (major, minor) >= LEAST_PYTHON:
        return look.fine("python", look.facts.python)
    return look.wrong(
        "python",
        look.facts.python,
        f"Only old runtimes run with it. Name a newer one of the board as `python:` of {look.device.name} in "
        "devices.yaml, unless you need what JetPack brings for this one.",
        "sudo apt install python3.8",
    )


def _judge_power(look: Look) -> BoardFinding:
    if look.device.meter is not None:
        return look.fine("power source", "the meter of devices.yaml")
    sources = look.facts.power_sources
    readable = next((one for one in sources if one.readable), None)
    if readable is not None:
        return look.fine("power source", readable.name)
    if any(one.name == "rapl" for one in sources):
        advice = "Only root may read it. This lets everybody, until the next start."
        return look.wrong("power source", "rapl, for root only", advice, f"sudo chmod a+r {_RAPL}")
    if sources:
        return look.wrong(
            "power source", f"{sources[0].name}: {sources[0].note}", "Its sensor gives no value."
        )
    return look.wrong(
        "power source",
        "none",
        f"Power and energy will be `-`. A meter of yours can be named as `meter:` of {look.device.name} in "
        "devices.yaml.",
    )


def _list_root_only(look: Look) -> Iterator[BoardFinding]:
    """What other checks do not tell already."""
    told = ("RAPL", "vcgencmd", "jetson_clocks --show")
    for sentence in look.facts.root_would_add:
        if not any(word in sentence for word in told):
            yield look.unknown("root", "hidden from this user", f"Root would see {sentence}.")
