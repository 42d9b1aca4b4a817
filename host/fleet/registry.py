"""The registered devices: `devices.yaml` of the workspace, read whole and written whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from host.errors import SpecError, UsageError
from host.one_at_a_time import hold_alone
from host.specs.device import Device
from host.specs.reading import describe_faults, read_document
from host.workspace import Workspace, unknown_name

HEADER = (
    "# The devices of this workspace, written by `bench devices`. Values may be edited; comments are lost.\n"
)


def load_devices(workspace: Workspace) -> dict[str, Device]:
    """Every registered device by name, in the order of the file. Raises SpecError naming every fault."""
    if not workspace.devices_file.exists():
        return {}
    return parse_devices(read_document(workspace.devices_file), workspace)


def find_device(workspace: Workspace, name: str) -> Device:
    """The device of a name. Raises UsageError that offers the nearest names."""
    devices = load_devices(workspace)
    if name not in devices:
        raise _unknown_device(name, devices)
    return devices[name]


def save_device(workspace: Workspace, device: Device) -> None:
    """Register a device, or replace what was registered under its name."""
    _change_devices(workspace, lambda devices: {**devices, device.name: device})


def check_telling(device: Device, others: Mapping[str, Device]) -> None:
    """Raise UsageError where the names or labels of a new device could be taken for what others have."""
    hint = "Names and labels stand beside each other on a command line: take words that cannot be confused."
    labels = {label.casefold(): label for other in (device, *others.values()) for label in other.labels}
    names = {name.casefold(): name for name in others}
    if device.name.casefold() in names and device.name not in others:
        raise UsageError(f"there is a device {names[device.name.casefold()]!r} already", hint)
    if device.name.casefold() in labels:
        raise UsageError(
            f"{labels[device.name.casefold()]!r} is a label, so no device can be called so", hint
        )
    for label in device.labels:
        if label.casefold() in names:
            raise UsageError(f"{names[label.casefold()]!r} is a device, so no label can be called so", hint)
        if labels[label.casefold()] != label:
            raise UsageError(f"there is a label {labels[label.casefold()]!r} already", hint)


def remove_device(workspace: Workspace, name: str) -> None:
    """Forget a device. Raises UsageError if there is none of that name."""

    def without(devices: dict[str, Device]) -> dict[str, Device]:
        if name not in devices:
            raise _unknown_device(name, devices)
        return {known: device for known, device in devices.items() if known != name}

    _change_devices(workspace, without)


def _unknown_device(name: str, known: Mapping[str, Device]) -> UsageError:
    return unknown_name("device", name, known, "`bench devices list` shows them all.")


def parse_devices(document: Mapping[str, Any], workspace: Workspace) -> dict[str, Device]:
    """The devices in the mapping that `devices.yaml` holds; every fault of the file is raised at once."""
    faults = [f"{key}: unknown key" for key in document if key != "devices"]
    entries = document.get("devices")
    if entries is None:
        entries = {}
    if not isinstance(entries, dict):
        faults.append(f"devices: expected a mapping of names to devices, found {entries!r}")
        entries = {}
    devices: dict[str, Device] = {}
    for name, entry in entries.items():
        device = _parse_device(name, entry, faults)
        if device is not None:
            devices[device.name] = _with_key_path(device, lambda path: workspace.root / path)
    if faults:
        raise SpecError(str(workspace.devices_file), faults)
    return devices


def _parse_device(name: Any, entry: Any, faults: list[str]) -> Device | None:
    if not isinstance(entry, dict):
        faults.append(f"devices.{name}: expected a mapping of keys to values, found {entry!r}")
        return None
    if "name" in entry:
        faults.append(f"devices.{name}.name: unknown key; the key of the entry is the name")
        return None
    document = {**entry, "name": name}
    try:
        return Device.model_validate(document)
    except ValidationError as error:
        faults += describe_faults(error, document, ("devices", name))
        return None


def _with_key_path(device: Device, place: Callable[[Path], Path]) -> Device:
    """The device with its key file where `place` puts it; a path from the home folder stays as it is."""
    if device.key_file is None or device.key_file.startswith("~"):
        return device
    return device.model_copy(update={"key_file": str(place(Path(device.key_file)))})


def _change_devices(workspace: Workspace, change: Callable[[dict[str, Device]], dict[str, Device]]) -> None:
    with _locked(workspace):
        _write_devices(workspace, change(load_devices(workspace)))


def _locked(workspace: Workspace) -> AbstractContextManager[None]:
    """Holds the workspace's lock on its devices: two commands that register at once both succeed."""
    return hold_alone(workspace.root / ".boardbench" / "devices.lock")


def _write_devices(workspace: Workspace, devices: Mapping[str, Device]) -> None:
    root = workspace.root.absolute()

    def below_root(path: Path) -> Path:
        """A workspace that is moved takes its own keys along."""
        whole = path.absolute()
        return whole.relative_to(root) if whole.is_relative_to(root) else whole

    entries = {
        name: _with_key_path(device, below_root).model_dump(
            mode="json", exclude={"name"}, exclude_defaults=True
        )
        for name, device in devices.items()
    }
    text = HEADER + yaml.safe_dump({"devices": entries}, sort_keys=False, allow_unicode=True)
    part = workspace.devices_file.with_name(workspace.devices_file.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(workspace.devices_file)
