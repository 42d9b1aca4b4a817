"""What a machine needs to build, deploy and measure, checked one by one."""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec

from host.converting import CONVERTERS, HOW_TO_INSTALL
from host.crew import Crew, Ended, Say
from host.errors import BenchError
from host.fleet import emulator
from host.fleet.boards import introduce_board
from host.fleet.registry import load_devices
from host.specs.device import Device
from host.specs.library import list_profiles, list_recipes
from host.specs.record import Record
from host.workspace import Workspace

PACKAGES = ("torch", "torchvision", "torch-pruning", "onnx", "onnxruntime", "paramiko", "asyncssh")
FREE_BYTES = 2 * 1024**3


class Finding(Record):
    """One check; `advice` says what to do where it is not fine."""

    check: str
    is_fine: bool
    found: str
    advice: str | None = None


def check_host(workspace: Workspace) -> list[Finding]:
    """Every finding about this machine, its workspace, and the boards registered there."""
    checks: list[Callable[[], Finding]] = [
        _check_python,
        *(partial(_check_package, name) for name in PACKAGES),
        _check_converters,
        _check_torch,
        _check_pip,
        partial(_check_disk, workspace),
        partial(_check_writable, workspace),
        partial(_check_specs, workspace),
    ]
    return [check() for check in checks] + _check_devices(workspace)


def _check_python() -> Finding:
    return Finding(check="python", is_fine=True, found=f"{sys.version.split()[0]} at {sys.executable}")


def _check_package(name: str) -> Finding:
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(
            check=name, is_fine=False, found="not installed", advice=f"{sys.executable} -m pip install {name}"
        )
    return Finding(check=name, is_fine=True, found=version)


def _check_converters() -> Finding:
    """Nobody needs them who does not measure with ncnn, so that nothing is wrong without them."""
    missing = [name for name in CONVERTERS if find_spec(name) is None]
    found = f"{' and '.join(missing)} not installed; {HOW_TO_INSTALL}" if missing else "both are installed"
    return Finding(check="ncnn's converter", is_fine=True, found=found)


def _check_torch() -> Finding:
    """Importing happens in a process of its own: torch takes seconds and may die in native code."""
    words = [sys.executable, "-c", "import host.compress.vision_ops as v; v.load_torchvision()"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    last = (done.stderr.strip().splitlines() or ["it works"])[-1]
    advice = None if done.returncode == 0 else "Install torch and torchvision versions that belong together."
    found = "both import" if done.returncode == 0 else last
    return Finding(check="torch imports", is_fine=done.returncode == 0, found=found, advice=advice)


def _check_pip() -> Finding:
    words = [sys.executable, "-m", "pip", "--version"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        return Finding(check="pip", is_fine=False, found="missing", advice="It assembles the boards' layers.")
    return Finding(check="pip", is_fine=True, found=done.stdout.split(" from ")[0])


def _check_disk(workspace: Workspace) -> Finding:
    free = shutil.disk_usage(workspace.root).free
    return Finding(
        check="disk",
        is_fine=free >= FREE_BYTES,
        found=f"{free / 1024**3:.1f} GiB free",
        advice=None if free >= FREE_BYTES else "Builds and layers need about 2 GiB.",
    )


def _check_writable(workspace: Workspace) -> Finding:
    try:
        with tempfile.TemporaryFile(dir=workspace.root):
            pass
    except OSError as error:
        return Finding(
            check="workspace", is_fine=False, found=str(error), advice="Work in a folder of your own."
        )
    return Finding(check="workspace", is_fine=True, found=str(workspace.root))


def _check_specs(workspace: Workspace) -> Finding:
    try:
        count = len(list_recipes(workspace)) + len(list_profiles(workspace))
    except BenchError as error:
        return Finding(check="recipes and profiles", is_fine=False, found=error.message, advice=error.hint)
    return Finding(check="recipes and profiles", is_fine=True, found=f"{count}, without a fault")


def _check_devices(workspace: Workspace) -> list[Finding]:
    """All boards are reached at once; one that is down does not hold up the others."""
    try:
        devices = load_devices(workspace)
    except BenchError as error:
        return [Finding(check="devices", is_fine=False, found=error.message, advice=error.hint)]
    work = {name: partial(_reach, device, workspace) for name, device in devices.items()}
    ended = [message for message in Crew().start(work).listen() if isinstance(message, Ended)]
    return [_describe_reach(message) for message in sorted(ended, key=lambda message: message.name)]


def _reach(device: Device, workspace: Workspace, _say: Say) -> str:
    if device.emulation is not None and emulator.status(workspace, device.name).state != "up":
        return "emulated and down; a sweep starts it"
    return introduce_board(device, workspace.cache).board


def _describe_reach(message: Ended) -> Finding:
    check = f"device {message.name}"
    if isinstance(message.error, BenchError):
        return Finding(check=check, is_fine=False, found=message.error.message, advice=message.error.hint)
    if message.error is not None:
        raise message.error
    return Finding(check=check, is_fine=True, found=str(message.value))
