"""Where things are: the workspace first (from the current folder upwards), then what is shipped."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from host.errors import UsageError

MARKER = "devices.yaml"
SUFFIXES = (".yml", ".yaml")
"""Of two files that differ in this only, the later one counts."""


def find_root(start: Path) -> Path:
    """The nearest folder upwards that holds a workspace, or `start` itself where there is none."""
    for folder in (start, *start.parents):
        # Not `.boardbench` alone: in a home folder that is what the agent leaves on a board.
        if (folder / MARKER).is_file() or (folder / ".boardbench" / "cache").is_dir():
            return folder
    return start


def shipped_folder(kind: str) -> Path:
    """Where the shipped `models` or `profiles` are: inside the wheel, or beside `host/` in a clone."""
    package = Path(__file__).resolve().parent
    inside_wheel = package / "shipped" / kind
    return inside_wheel if inside_wheel.is_dir() else package.parent / kind


@dataclass(frozen=True)
class Workspace:
    """The folders of one workspace. Nothing is created before something is written there."""

    root: Path

    @property
    def devices_file(self) -> Path:
        return self.root / MARKER

    @property
    def results(self) -> Path:
        return self.root / "results"

    @property
    def ledger_url(self) -> str:
        """Where measurements are stored unless a command names another database."""
        return f"sqlite:///{self.results / 'boardbench.sqlite'}"

    @property
    def cache(self) -> Path:
        """Builds, layers and the agent, all named by their content; safe to delete."""
        return self.root / ".boardbench" / "cache"

    @property
    def emulators(self) -> Path:
        return self.root / ".boardbench" / "emulators"

    def find_files(self, kind: str) -> dict[str, Path]:
        """Name to file of every recipe (`models`) or profile (`profiles`); the workspace comes first."""
        found: dict[str, Path] = {}
        for folder in (shipped_folder(kind), self.root / kind):
            for suffix in SUFFIXES:
                found |= {path.stem: path for path in sorted(folder.glob(f"*{suffix}"))}
        return dict(sorted(found.items()))

    def find_file(self, kind: str, name: str) -> Path:
        """The file of a name, or of a path to a file. Raises UsageError that offers the nearest names."""
        files = self.find_files(kind)
        if name in files:
            return files[name]
        if name.endswith(SUFFIXES) and Path(name).is_file():
            return Path(name)
        raise unknown_name(kind.removesuffix("s"), name, files, f"`bench {kind} list` shows them all.")


def unknown_name(kind: str, name: str, known: Iterable[str], otherwise: str) -> UsageError:
    """The error for a name that does not exist, with the nearest ones that do."""
    nearest = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    offer = f"Did you mean {' or '.join(nearest)}? " if nearest else ""
    return UsageError(f"there is no {kind} {name!r}", f"{offer}{otherwise}")
