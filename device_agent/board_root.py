"""Where the files are by which a board tells what it is: `/`, except on a board that only looks like one."""

import os

_VARIABLE = "BOARDBENCH_ROOT"


def find_root() -> str:
    """The folder that holds proc, sys and etc of the board."""
    return os.environ.get(_VARIABLE) or "/"


def is_disguised() -> bool:
    """Whether another folder than `/` tells what this board is: then nothing measured is of a real board."""
    return find_root() != "/"
