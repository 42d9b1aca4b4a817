"""The main job on a board of yours: `make test-device DEVICE=pi4`.

The device is looked up in the workspace around the current folder: for `make`, in the clone itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from host.errors import UsageError
from host.fleet.registry import find_device, save_device
from host.specs.device import Device
from host.workspace import Workspace, find_root
from tests.bench_command import bench, share_cache
from tests.main_job import Swept, main_job, sweep_device
from tests.tiny_workspace import make_tiny_workspace

pytestmark = [pytest.mark.slow, pytest.mark.device, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def home() -> Workspace:
    """The workspace that knows the device."""
    return Workspace(find_root(Path.cwd()))


@pytest.fixture(scope="module")
def registered(home: Workspace) -> Device:
    """The device that DEVICE names."""
    name = os.environ.get("DEVICE", "")
    if not name:
        pytest.skip("no device is named: make test-device DEVICE=pi4")
    try:
        return find_device(home, name)
    except UsageError as error:
        unknown = str(error)
    pytest.fail(f"{home.devices_file}: {unknown}\n`bench devices add` registers one.", pytrace=False)


@pytest.fixture(scope="module")
def on_device(
    home: Workspace, registered: Device, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Swept]:
    """A sweep on the device from a workspace of its own, so that the owner's results stay as they are."""
    root = make_tiny_workspace(tmp_path_factory.mktemp("on-device"))
    save_device(Workspace(root), registered)
    share_cache(home.root, root, "agents", "layers")
    yield sweep_device(root, registered.name, registered.is_emulated)
    if registered.emulation is not None:
        bench(root, "devices", "emulate", registered.name, "down")


@main_job
def test_the_device_does_the_main_job(on_device: Swept, step: Callable[[Swept], None]) -> None:
    step(on_device)
