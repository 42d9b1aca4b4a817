"""Wheels that a test makes, in the only folder where pip then looks: layers without a network."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import pytest

RUNTIME = ("numpy", "onnxruntime", "psutil")
FORWARDING = """\
__path__[:] = [{folder!r}]
__file__ = {file!r}
exec(compile(open(__file__, encoding="utf-8").read(), __file__, "exec"))
"""
MANY = 600
"""Small files of the planted runtime, of a page each: unpacking them takes a moment and 2.4 MB."""


def look_only_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pip know no other place, also in processes that are started."""
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))


def plant_wheel(
    folder: Path, name: str, tag: str, requires: str = "", files: Mapping[str, str] | None = None
) -> None:
    """A wheel with a package of that name, entry point and all."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-1.0.dist-info"
    needs = f"Requires-Dist: {requires}\n" if requires else ""
    content = {
        f"{name}/__init__.py": f"NAME = {name!r}\n",
        **(files or {}),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{needs}",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: false\nTag: {tag}\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name}-tool = {name}:main\n",
    }
    record = "".join(f"{path},,\n" for path in (*content, f"{info}/RECORD"))
    with zipfile.ZipFile(folder / f"{name}-1.0-{tag}.whl", "w") as wheel:
        for path, text in {**content, f"{info}/RECORD": record}.items():
            wheel.writestr(path, text)


def plant_runtime(folder: Path) -> None:
    """What is sent to a board that lacks onnxruntime: packages that hand over to those of this machine."""
    pages = {f"onnxruntime/pages/{number:03}.txt": os.urandom(2048).hex() for number in range(MANY)}
    for name in RUNTIME:
        found = find_spec(name)
        assert found is not None
        assert found.origin is not None
        file = Path(found.origin)
        forwarding = FORWARDING.format(folder=str(file.parent), file=str(file))
        more = pages if name == "onnxruntime" else {}
        plant_wheel(folder, name, "py3-none-any", files={f"{name}/__init__.py": forwarding, **more})
