"""The rules of the house that matter are tests."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HOST = sorted((ROOT / "host").rglob("*.py"))
AGENT = sorted((ROOT / "device_agent").rglob("*.py"))

# One room per technology: a top-level module and the only folder that may import it.
ROOMS = {
    "torch": "host/compress",
    "torch_pruning": "host/compress",
    "torchvision": "host/compress/vision_ops.py",
    "sklearn": "host/compress",
    "onnx": "host/compress",
    "onnxruntime": "host/compress",
    "ncnn": "host/compress",
    "pnnx": "host/compress",
    "paramiko": "host/fleet",
    "asyncssh": "host/fleet",
    "sqlalchemy": "host/ledger",
    "alembic": "host/ledger",
    "pandas": "host/ledger",
    "rich": "host/report",
    "jinja2": "host/report",
    "joblib": "host/compress/workers.py",
    "distributed": "host/compress/workers.py",
    "ray": "host/compress/workers.py",
    "safetensors": "host/compress",
    "mlflow": "host/tracking",
    "wandb": "host/tracking",
}
ON_THE_BOARD_ONLY_INSIDE_FUNCTIONS = {"ncnn", "numpy", "onnxruntime", "openvino", "psutil", "tensorrt"}
FORBIDDEN_NAMES = {"utils", "util", "helpers", "common", "base", "manager", "misc"}


def imports_of(path: Path) -> Iterator[tuple[str, ast.AST]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module, node


def imports_at_the_top(path: Path) -> set[str]:
    """What importing the module imports: nodes inside functions and `if TYPE_CHECKING` do not count."""
    nodes = ast.parse(path.read_text()).body
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return names | {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}


def say(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", HOST, ids=say)
def test_each_technology_stays_in_its_room(path: Path) -> None:
    for module, _ in imports_of(path):
        room = ROOMS.get(module.split(".")[0])
        assert room is None or say(path).startswith(room), f"{module} belongs to {room}"


@pytest.mark.parametrize("path", HOST, ids=say)
def test_the_host_knows_only_the_protocol_of_the_agent(path: Path) -> None:
    agent = {module for module, _ in imports_of(path) if module.split(".")[0] == "device_agent"}
    assert agent <= {"device_agent.protocol", "device_agent"}
    if "device_agent" in agent:
        assert "import protocol" in path.read_text() or say(path) == "host/fleet/agent_archive.py"


@pytest.mark.parametrize("path", AGENT, ids=say)
def test_the_agent_needs_only_the_standard_library(path: Path) -> None:
    at_the_top = {name.split(".")[0] for name in imports_at_the_top(path)}
    inside = {module.split(".")[0] for module, _ in imports_of(path)}
    assert at_the_top <= sys.stdlib_module_names | {"device_agent"}
    assert inside <= sys.stdlib_module_names | {"device_agent"} | ON_THE_BOARD_ONLY_INSIDE_FUNCTIONS


@pytest.mark.parametrize("path", [*HOST, *AGENT], ids=say)
def test_a_module_is_named_for_its_subject(path: Path) -> None:
    assert path.stem not in FORBIDDEN_NAMES


@pytest.mark.parametrize("path", [path for path in [*HOST, *AGENT] if path.name == "__init__.py"], ids=say)
def test_packages_are_empty(path: Path) -> None:
    assert path.read_text() == ""


@pytest.mark.parametrize("path", HOST, ids=say)
def test_the_command_line_is_imported_by_nobody(path: Path) -> None:
    if not say(path).startswith("host/cli"):
        assert not any(module.startswith("host.cli") for module, _ in imports_of(path))


def test_the_agent_runs_on_python_3_6() -> None:
    found = subprocess.run(
        [
            str(Path(sys.executable).parent / "vermin"),
            "-t=3.6-",
            "--no-tips",
            "--violations",
            *map(str, AGENT),
        ],
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stdout


def test_no_two_rooms_import_each_other() -> None:
    rooms: dict[str, set[str]] = {}
    for path in HOST:
        room = say(path).removesuffix(".py").split("/")[1]
        used = {module.split(".")[1] for module, _ in imports_of(path) if module.startswith("host.")}
        rooms.setdefault(room, set()).update(used - {room})
    assert [(a, b) for a in rooms for b in rooms[a] if a < b and a in rooms.get(b, ())] == []


def test_help_imports_nothing_heavy() -> None:
    heavy = {
        "torch",
        "numpy",
        "pandas",
        "sqlalchemy",
        "paramiko",
        "rich",
        "jinja2",
        "PIL",
        "onnx",
        "onnxruntime",
        "pydantic",
        "yaml",
    }
    probe = (
        "import sys; from host.cli.main import run_bench; run_bench(['--help']); "
        f"print(sorted({heavy!r} & sys.modules.keys()), file=sys.stderr)"
    )
    found = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, cwd=ROOT)
    assert found.stderr.strip() == "[]"
    assert "sweep" in found.stdout


def test_models_and_profiles_are_folders_of_yaml_not_packages() -> None:
    for folder in ("models", "profiles"):
        assert {path.suffix for path in (ROOT / folder).iterdir()} <= {".yaml"}
