"""The top of agent.pyz (there it is `__main__.py`): a sentence for an old Python, else the agent.

Python 2.7 must be able to read this file, so it holds nothing that 2.7 does not know.
"""

import sys

OLDEST = (3, 6)
EXIT_OLD_PYTHON = 3


def start():
    # type: () -> int
    """The exit code of the command line, or EXIT_OLD_PYTHON where the interpreter is too old."""
    if sys.version_info[:2] < OLDEST:
        found = ".".join(str(part) for part in sys.version_info[:3])
        sys.stderr.write("boardbench needs Python 3.6 or newer on the board; this is Python %s\n" % found)
        return EXIT_OLD_PYTHON
    from device_agent.main import main

    return main()


if __name__ == "__main__":
    sys.exit(start())
