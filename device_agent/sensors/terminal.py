"""Printed text without what a terminal, a serial line or a C string adds to it."""

import re

# Colours and `erase to the end of the line` stand inside words (grep --color writes both): what is left and
# right of them belongs together. A paste may have lost the escape character, or show it as ^[.
_STYLE = re.compile(r"(?:\x1b|\^\[)?\[[0-9;:]{0,16}m|(?:\x1b\[|\x9b)[0-9;:]{0,16}[mK]|\x1b\([A-Z0-9]")
# After any other escape the cursor may be elsewhere: what is left and right of it must not become one number.
# The last is one that was cut off.
_MOVE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b\n]*(?:\x07|\x1b\\)|\x1b[ -/]*[0-~]|\x1b"
)
_LINE_END = re.compile(r"[\r\0]")

LOST = "\ufffd"
"""Stands where characters are missing; the same that decoding with errors="replace" leaves."""


def strip_escapes(text: str, moved: str) -> str:
    """The text without escapes, and `moved` for each that may have moved the cursor."""
    return _MOVE.sub(moved, _STYLE.sub("", text))


def strip_terminal(text: str) -> str:
    """The text with `\\n` as its only line end (NUL and `\\r` are such ends, too) and without escapes."""
    return _LINE_END.sub("\n", strip_escapes(text, LOST))
