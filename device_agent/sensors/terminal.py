"""Printed text without what a terminal, a serial line or a C string adds to it."""

import re

# Colours and `erase to the end of the line` stand inside words (grep --color writes both): what is left and
# right of them belongs together.
_STYLE = re.compile(r"\x1b\[[0-9;:]*[mK]")
# After any other escape the cursor may be elsewhere: what is left and right of it must not become one number.
_MOVE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)|[ -/]*[0-~])")
_LINE_END = re.compile(r"[\r\0]")

LOST = "\ufffd"
"""Stands where characters are missing; the same that decoding with errors="replace" leaves."""


def strip_terminal(text: str) -> str:
    """The text with `\\n` as its only line end (NUL and `\\r` are such ends, too) and without escapes."""
    return _LINE_END.sub("\n", _MOVE.sub(LOST, _STYLE.sub("", text)))
