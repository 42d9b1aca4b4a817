"""From the devices that a profile asks for to boards that are ready to measure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from host.errors import UsageError
from host.fleet import emulator, registry
from host.fleet.agent_archive import build_agent
from host.fleet.deploying import Deployment, deploy
from host.fleet.layers import provide_layer
from host.fleet.probing import BoardFacts, bootstrap_agent, probe_board
from host.fleet.remote import Remote
from host.fleet.requirements import check_own
from host.fleet.ssh import open_ssh
from host.progress import Progress
from host.specs.artifact import Blob
from host.specs.device import Device
from host.specs.profile import DeviceChoice, RuntimeSettings
from host.specs.record import Record
from host.workspace import Workspace, unknown_name


class Chosen(Record):
    """A device that a sweep will use; `cpus` is set where it is an emulated one that we start ourselves."""

    name: str
    cpus: int | None = None


@dataclass(frozen=True)
class Board:
    """A device that answered, with the agent and its runtimes in place."""

    device: Device
    facts: BoardFacts
    agent: Blob
    layer: Blob | None
    deployment: Deployment

    @contextmanager
    def connect(self) -> Iterator[Remote]:
        with open_ssh(self.device) as remote:
            yield remote


def choose_devices(
    choices: Sequence[DeviceChoice], names: Sequence[str], registered: Mapping[str, Device]
) -> tuple[Chosen, ...]:
    """The devices named on the command line, or else those that the profile asks for, each once.

    Raises UsageError for a name or a label that no device has.
    """
    wanted: dict[str, Chosen] = {}
    emulated = {choice.emulate: choice.cpus for choice in choices if choice.emulate is not None}
    asked = [DeviceChoice(name=name) for name in names] or choices
    for choice in asked:
        for chosen in _resolve_choice(choice, registered, emulated):
            wanted.setdefault(chosen.name, chosen)
    if not wanted:
        raise UsageError(
            "no device to measure on",
            "Name one with --device, or in the profile; `bench devices list` shows them all.",
        )
    return tuple(wanted.values())


def _resolve_choice(
    choice: DeviceChoice, registered: Mapping[str, Device], emulated: Mapping[str, int]
) -> Iterable[Chosen]:
    if choice.labels:
        found = [device for device in registered.values() if set(choice.labels) <= set(device.labels)]
        if not found:
            raise UsageError(
                f"no device has the labels {', '.join(choice.labels)}",
                "`bench devices add --label` gives one, `bench devices list` shows them; "
                "--device names a device that has none.",
            )
        return [_chosen(device) for device in found]
    name = choice.emulate or choice.name or ""
    if name in emulated:
        return [Chosen(name=name, cpus=emulated[name])]
    if name not in registered:
        raise unknown_name(
            "device",
            name,
            [*registered, *emulated],
            "`bench devices add` registers one, `bench devices emulate NAME up` starts an emulated one.",
        )
    return [_chosen(registered[name])]


def _chosen(device: Device) -> Chosen:
    return Chosen(name=device.name, cpus=device.emulation.cpus if device.emulation else None)


def wake_device(chosen: Chosen, workspace: Workspace) -> Device:
    """The registered device; an emulated one is started if it is not up."""
    if chosen.cpus is not None:
        return emulator.up(workspace, chosen.name, chosen.cpus)
    return registry.find_device(workspace, chosen.name)


def ready_board(
    chosen: Chosen, runtimes: Sequence[RuntimeSettings], workspace: Workspace, progress: Progress
) -> Board:
    """A board that answers, with the agent and the layer that these runtimes need.

    Raises Unsuitable where it lacks what no layer brings.
    """
    device = wake_device(chosen, workspace)
    agent = build_agent(workspace.cache)
    with open_ssh(device) as remote:
        bootstrap_agent(remote, device, agent)
        facts = probe_board(remote, device, agent)
        check_own(device, facts, runtimes)
        layer = provide_layer(device, facts, runtimes, workspace.cache, progress)
        deployment = deploy(remote, device, agent, (), layer, progress)
        equipped = probe_board(remote, device, agent, layer.sha256 if layer else None)
    return Board(device, equipped, agent, layer, deployment)


def introduce_board(device: Device, cache: Path) -> BoardFacts:
    """What a board says of itself; it gets the agent, and nothing else is sent to it."""
    agent = build_agent(cache)
    with open_ssh(device) as remote:
        bootstrap_agent(remote, device, agent)
        return probe_board(remote, device, agent)
