"""The documentation: what it says of the code is what the code says, and its pages hold together."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import click
import pytest
import yaml

from host.cli.main import bench as command_group
from host.specs.reference import make_reference
from tests.bench_command import bench

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
COMMON = frozenset(("--debug", "--help", "--version"))
MESSAGES = re.findall(r"^### `(.+)`$", (DOCS / "troubleshooting.md").read_text(), re.MULTILINE)


def say(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def spoken() -> tuple[str, ...]:
    """Every text in the code, with `…` for what is put into it."""
    files = [*(ROOT / "host").rglob("*.py"), *(ROOT / "device_agent").rglob("*.py")]
    return tuple(
        text for path in files for node in ast.walk(ast.parse(path.read_text())) for text in read_text(node)
    )


def read_text(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
        yield "".join(str(part) for part in parts)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield re.sub(r"\{[^}]*\}", "…", node.value)


@pytest.mark.parametrize("message", MESSAGES)
def test_every_message_of_troubleshooting_is_one_of_the_code(message: str) -> None:
    assert any(message in text for text in spoken())


def test_troubleshooting_has_messages_and_the_test_would_miss_a_wrong_one() -> None:
    assert len(MESSAGES) > 30
    assert not any("…: no road to …" in text for text in spoken())


def test_the_reference_of_profiles_is_what_bench_prints() -> None:
    assert (DOCS / "profile-reference.md").read_text() == make_reference()


def test_the_reference_names_every_key_that_a_record_has() -> None:
    text = make_reference()
    for key in ("granularity", "calibration_images", "inference_precision", "cooldown_cap_s", "max_file_mb"):
        assert f"| `{key}` |" in text


@pytest.mark.parametrize("path", PAGES, ids=say)
def test_links_between_pages_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target.partition("#")[0]).exists() or target.startswith("#"), target


@pytest.mark.parametrize("path", [*PAGES, ROOT / "README.md"], ids=say)
def test_commands_in_the_pages_exist(path: Path) -> None:
    for words in list_commands(path):
        find_command(words)


@pytest.mark.parametrize("path", [*PAGES, ROOT / "README.md"], ids=say)
def test_options_in_the_pages_exist(path: Path) -> None:
    for words in list_commands(path):
        known = {option for one in find_command(words).params for option in (*one.opts, *one.secondary_opts)}
        for word in words:
            option = word.partition("=")[0].rstrip("],;")
            assert not option.startswith("--") or option in known | COMMON, words


def list_commands(path: Path) -> list[list[str]]:
    """The words of each command of ours, in a block or between back quotes."""
    found = re.findall(r"(?:^ *(?:\$ )?|`)bench ([a-z][^`\n#|]+)", path.read_text(), re.MULTILINE)
    return [line.split() for line in found]


def find_command(words: list[str]) -> click.Command:
    """The command that the first words name; an assertion where there is none."""
    command: click.Command = command_group
    for word in words:
        if not isinstance(command, click.Group):
            break
        names = word.strip(",.:;)").split("|")
        assert all(name in command.commands for name in names), words
        command = command.commands[names[0]]
    return command


def test_every_page_is_in_the_navigation_and_every_entry_is_a_page() -> None:
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    listed = set(flatten(nav))
    pages = {path.relative_to(DOCS).as_posix() for path in PAGES if path.parent.name != "decisions"}
    assert listed == pages


def flatten(node: object) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict | list):
        for inner in node.values() if isinstance(node, dict) else node:
            yield from flatten(inner)


@pytest.mark.skipif(find_spec("material") is None, reason="pip install 'boardbench[docs]'")
def test_the_site_is_built_without_a_warning_and_asks_nobody_elses_server(tmp_path: Path) -> None:
    words = [sys.executable, "-W", "ignore", "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    # A proxy that is none: whatever asks the network fails.
    proxy = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")
    env = {**os.environ, **proxy, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > len(PAGES) // 2
    for page in pages:
        assert re.findall(r'<(?:script|link|img)[^>]+="(?:https?:)?//[^"]*"', page.read_text()) == []


def test_the_example_of_the_python_page_runs_on_a_real_ledger(tmp_path: Path) -> None:
    from host.ledger.store import Ledger
    from host.workspace import Workspace
    from tests.made_results import make_rounds, make_run, make_sweep

    (tmp_path / "devices.yaml").write_text("devices: {}\n")
    with Ledger.open(Workspace(tmp_path).ledger_url) as ledger:
        ledger.start_run(make_run())
        for measurement, p50_ms in make_sweep():
            ledger.save(measurement, make_rounds(p50_ms))
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / "python.md").read_text(), re.DOTALL)
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "int8" in done.stdout
    assert "channel-50" in done.stdout


def test_the_schema_is_json_alone(tmp_path: Path) -> None:
    for kind in ("profile", "recipe", "devices"):
        assert (
            json.loads(bench(tmp_path, "profiles", "schema", "--of", kind))["title"] == f"boardbench: {kind}"
        )
    assert bench(tmp_path, "profiles", "schema", "--format", "markdown") == make_reference()
