"""The agent as one file."""

from __future__ import annotations

import hashlib
import importlib.resources
import shutil
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from device_agent.protocol import EXIT_OLD_PYTHON
from host.fleet.agent_archive import build_agent, pack, read_sources
from tests.old_python import find_old_python


def test_identical_sources_have_identical_bytes(tmp_path: Path) -> None:
    first, second = build_agent(tmp_path / "a"), build_agent(tmp_path / "b")
    assert first.path.read_bytes() == second.path.read_bytes()
    assert first.path.name == f"{first.sha256}.pyz"
    assert hashlib.sha256(first.path.read_bytes()).hexdigest() == first.sha256
    assert first.size == first.path.stat().st_size


def test_neither_order_nor_dates_of_the_sources_matter() -> None:
    sources = read_sources()
    assert pack(dict(reversed(sources.items()))) == pack(sources)


def test_another_source_is_another_agent() -> None:
    sources = read_sources()
    assert pack(sources) != pack({**sources, "device_agent/protocol.py": b"# other"})


def test_a_damaged_file_in_the_cache_is_written_anew(tmp_path: Path) -> None:
    agent = build_agent(tmp_path)
    agent.path.write_bytes(b"torn")
    assert build_agent(tmp_path).path.stat().st_size == agent.size


def test_threads_that_build_it_at_once_all_have_it_whole(tmp_path: Path) -> None:
    for step in range(20):
        with ThreadPoolExecutor(8) as pool:
            agents = set(pool.map(build_agent, [tmp_path / str(step)] * 8))
        (agent,) = agents
        assert hashlib.sha256(agent.path.read_bytes()).hexdigest() == agent.sha256
        assert list(agent.path.parent.iterdir()) == [agent.path]


def test_the_archive_holds_the_sources_and_nothing_else(tmp_path: Path) -> None:
    with zipfile.ZipFile(build_agent(tmp_path).path) as archive:
        names = archive.namelist()
    package = Path(str(importlib.resources.files("device_agent")))
    assert sorted(names) == sorted(
        ["__main__.py", *(str(path.relative_to(package.parent)) for path in package.rglob("*.py"))]
    )


def test_the_agent_runs_without_anything_installed(tmp_path: Path) -> None:
    path = shutil.copy(build_agent(tmp_path).path, tmp_path / "agent.pyz")
    done = subprocess.run(
        [sys.executable, "-I", "-S", path, "--version"], capture_output=True, text=True, cwd="/", check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip()


def test_an_old_python_gets_a_sentence(tmp_path: Path) -> None:
    old = find_old_python()
    done = subprocess.run(
        [old, build_agent(tmp_path).path, "--version"], capture_output=True, text=True, check=False
    )
    assert done.returncode == EXIT_OLD_PYTHON
    assert len(done.stderr.splitlines()) == 1
    assert "3.6 or newer" in done.stderr
