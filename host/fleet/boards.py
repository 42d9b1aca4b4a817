"""From the devices that a profile asks for to boards that are ready to measure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from host.errors import UsageError
from host.fleet import emulator, registry
from host.fleet.agent_archive import build_agent
from host.fleet.deploying import Deployment, deploy
from host.fleet.layers import provide_layer
from host.fleet.patience import Advancing, Outage, Patience, over_links
from host.fleet.probing import BoardFacts, bootstrap_agent, probe_board
from host.fleet.reaching import open_remote
from host.fleet.remote import Remote
from host.fleet.requirements import check_own
from host.progress import Progress
from host.specs.artifact import Blob
from host.specs.device import Device
from host.specs.profile import DeviceChoice, RuntimeSettings
from host.specs.record import Record
from host.workspace import Workspace, unknown_name

LABEL = "label:"
"""What stands before a label where a device could stand."""


class Chosen(Record):
    """A device that a sweep will use; `cpus` is set where it is an emulated one that we start ourselves."""

    name: str
    cpus: int | None = None


@dataclass(frozen=True)
class Board:
    """A device that answered, with the agent and its runtimes in place.

    `cores` are those of this machine that an emulated one runs on: boards that share one take turns.
    """

    device: Device
    facts: BoardFacts
    agent: Blob
    layer: Blob | None
    deployment: Deployment
    cores: frozenset[int] = frozenset()

    @contextmanager
    def connect(self) -> Iterator[Remote]:
        with open_remote(self.device) as remote:
            yield remote


def choose_devices(
    choices: Sequence[DeviceChoice], names: Sequence[str], registered: Mapping[str, Device]
) -> tuple[Chosen, ...]:
    """The devices named on the command line, or else those that the profile asks for, each once.

    `label:jetson` on the command line names all that have this label. Raises UsageError for a name or a label
    that no device has.
    """
    wanted: dict[str, Chosen] = {}
    emulated = {choice.emulate: choice.cpus for choice in choices if choice.emulate is not None}
    asked = [_read_choice(name) for name in names] or choices
    for choice in asked:
        for chosen in _resolve_choice(choice, registered, emulated):
            wanted.setdefault(chosen.name, chosen)
    if not wanted:
        raise UsageError(
            "no device to measure on",
            "Name one with --device, or in the profile; `bench devices list` shows them all.",
        )
    return tuple(wanted.values())


def name_devices(words: Sequence[str], workspace: Workspace) -> tuple[str, ...]:
    """The same with the names of its devices in the place of each label, each once."""
    registered = registry.load_devices(workspace)
    named = (
        [one.name for one in choose_devices((), [word], registered)] if word.startswith(LABEL) else [word]
        for word in words
    )
    return tuple(dict.fromkeys(name for names in named for name in names))


def _read_choice(word: str) -> DeviceChoice:
    label = word.removeprefix(LABEL)
    return DeviceChoice(name=word) if label == word else DeviceChoice(labels=(label,))


def _resolve_choice(
    choice: DeviceChoice, registered: Mapping[str, Device], emulated: Mapping[str, int]
) -> Iterable[Chosen]:
    if choice.labels:
        found = [device for device in registered.values() if set(choice.labels) <= set(device.labels)]
        if not found:
            raise _unknown_label(choice.labels, registered)
        return [_chosen(device) for device in found]
    name = choice.emulate or choice.name or ""
    if name in emulated:
        return [Chosen(name=name, cpus=emulated[name])]
    if name not in registered:
        raise _unknown_device(name, registered, emulated)
    return [_chosen(registered[name])]


def _unknown_device(name: str, registered: Mapping[str, Device], emulated: Mapping[str, int]) -> UsageError:
    otherwise = "`bench devices add` registers one, `bench devices emulate NAME up` starts an emulated one."
    if name in list_labels(registered):
        otherwise = f"It is a label: {LABEL}{name} names all devices that have it. {otherwise}"
    return unknown_name("device", name, [*registered, *emulated], otherwise)


def list_labels(registered: Mapping[str, Device]) -> list[str]:
    """Every label that a device has, once."""
    return sorted({label for device in registered.values() for label in device.labels})


def _unknown_label(labels: Sequence[str], registered: Mapping[str, Device]) -> UsageError:
    """No device has all of these labels."""
    known = list_labels(registered)
    nearest = [near for one in labels for near in difflib.get_close_matches(one, known, n=2, cutoff=0.5)]
    offers = [near for near in dict.fromkeys(nearest) if near not in labels]
    offer = f"Did you mean {' or '.join(offers)}? " if offers else ""
    exist = f"Labels there are: {', '.join(known)}." if known else "No device has a label yet."
    named = [f"{one} is a device: name it alone." for one in labels if one in registered]
    return UsageError(
        f"no device has the labels {', '.join(labels)}",
        f"{offer}{' '.join([*named, exist])} `bench devices add --label` gives one.",
    )


def _chosen(device: Device) -> Chosen:
    return Chosen(name=device.name, cpus=device.emulation.cpus if device.emulation else None)


def wake_device(chosen: Chosen, workspace: Workspace) -> Device:
    """The registered device; an emulated one is started if it is not up."""
    if chosen.cpus is not None:
        return emulator.up(workspace, chosen.name, chosen.cpus)
    return registry.find_device(workspace, chosen.name)


def ready_board(
    chosen: Chosen,
    runtimes: Sequence[RuntimeSettings],
    workspace: Workspace,
    progress: Progress,
    patience: Patience | None = None,
) -> Board:
    """A board that answers, with the agent and the layer that these runtimes need.

    A link that breaks meanwhile is opened again, and what the board has already is not sent again. Raises
    Unsuitable where it lacks what no layer brings.
    """
    device = wake_device(chosen, workspace)
    agent = build_agent(workspace.cache)
    outage = Outage(device.name, patience or Patience(), progress)

    def ready(remote: Remote) -> Board:
        bootstrap_agent(remote, device, agent)
        outage.note_reached(1)
        facts = probe_board(remote, device, agent)
        outage.note_reached(2)
        check_own(device, facts, runtimes)
        layer = provide_layer(device, facts, runtimes, workspace.cache, progress)
        deployment = deploy(remote, device, agent, (), layer, Advancing(progress, outage))
        outage.note_reached(3)
        equipped = probe_board(remote, device, agent, layer.sha256 if layer else None)
        cores = emulator.find_cores(workspace, device.name) if chosen.cpus is not None else frozenset()
        return Board(device, equipped, agent, layer, deployment, cores)

    return over_links(partial(open_remote, device), ready, outage)


def introduce_board(device: Device, cache: Path) -> BoardFacts:
    """What a board says of itself; it gets the agent, and nothing else is sent to it."""
    agent = build_agent(cache)
    with open_remote(device) as remote:
        bootstrap_agent(remote, device, agent)
        return probe_board(remote, device, agent)
