"""The command `parse`: what a board's own tools printed, on standard input, as JSON on standard output.

It needs no work folder and no board: what a user reports can be read anywhere.
"""

import os
import sys
from typing import Any, Callable, Dict, Iterator

from device_agent import protocol
from device_agent.faults import AgentFault

Answer = Dict[str, Any]
Parse = Callable[[str], Answer]

KINDS = ("tegrastats", "vcgencmd", "nvpmodel", "jetson_clocks", "nv_tegra_release", "device_tree_model")

# A line of tegrastats has less than a thousand characters.
_MAX_LINE_BYTES = 1 << 16


def print_answers(kind: str, say: Callable[[Answer], None]) -> None:
    """Say one answer for the whole input; of tegrastats, which never ends, one for each line as it comes."""
    parse = find_parser(kind)
    texts = _read_lines() if kind == "tegrastats" else _read_all()
    try:
        for text in texts:
            say(parse(text.decode("utf-8", "replace")))
    except KeyboardInterrupt:
        pass  # this is how tegrastats is ended, and with it what reads it
    except BrokenPipeError:
        # `| head` has what it wanted; what is left in the buffer must not complain when the process ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _read_all() -> Iterator[bytes]:
    content = sys.stdin.buffer.read(protocol.MAX_ANSWER_BYTES + 1)
    if len(content) > protocol.MAX_ANSWER_BYTES:
        raise AgentFault(protocol.ERROR_OTHER, "standard input is larger than what any of these tools prints")
    yield content


def _read_lines() -> Iterator[bytes]:
    """Lines with their newlines; of one that does not end in time its start, so that it stays one line."""
    line = part = sys.stdin.buffer.readline(_MAX_LINE_BYTES)
    while line:
        while part and not part.endswith(b"\n"):
            part = sys.stdin.buffer.readline(_MAX_LINE_BYTES)
        yield line
        line = part = sys.stdin.buffer.readline(_MAX_LINE_BYTES)


def find_parser(kind: str) -> Parse:
    """What turns the text of a kind into an answer, and never raises. No other command loads their tables."""
    from device_agent.sensors import (
        device_tree,
        jetson_clocks,
        nv_tegra_release,
        nvpmodel,
        tegrastats,
        vcgencmd,
    )

    parsers = {
        "tegrastats": tegrastats.parse_line,
        "vcgencmd": vcgencmd.parse,
        "nvpmodel": nvpmodel.parse,
        "jetson_clocks": jetson_clocks.parse,
        "nv_tegra_release": nv_tegra_release.parse,
        "device_tree_model": device_tree.parse,
    }
    return parsers[kind]
