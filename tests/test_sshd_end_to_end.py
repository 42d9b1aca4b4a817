"""The main job over OpenSSH's own server."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from host.fleet.registry import save_device
from host.specs.device import Device
from host.workspace import Workspace
from tests.bench_command import share_cache
from tests.main_job import Swept, main_job, sweep_device
from tests.tiny_workspace import make_tiny_workspace

pytestmark = [pytest.mark.slow, pytest.mark.sshd]


@pytest.fixture(scope="module")
def over_sshd(sshd_device: Device, swept: Swept, tmp_path_factory: pytest.TempPathFactory) -> Swept:
    """A sweep on the account behind sshd; what the emulated board ran need not be built again."""
    root = make_tiny_workspace(tmp_path_factory.mktemp("over-sshd"))
    save_device(Workspace(root), sshd_device)
    share_cache(swept.root, root, "agents", "builds", "layers")
    return sweep_device(root, sshd_device.name, is_emulated=False)


@main_job
def test_a_device_behind_openssh_does_the_main_job(over_sshd: Swept, step: Callable[[Swept], None]) -> None:
    step(over_sshd)
