"""The registered devices, as they are written and read."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from pydantic import ValidationError

from host.errors import SpecError, UsageError
from host.fleet.registry import check_telling, find_device, load_devices, remove_device, save_device
from host.specs.device import Device, Emulation, split_address
from host.workspace import Workspace

FINGERPRINT = "SHA256:" + "A" * 43


def make_device(name: str = "pi4", **fields: object) -> Device:
    return Device.model_validate({"name": name, "host": "10.0.0.7", "fingerprint": FINGERPRINT, **fields})


def test_an_empty_workspace_has_no_devices(workspace: Workspace) -> None:
    assert load_devices(workspace) == {}


def test_what_is_saved_is_loaded(workspace: Workspace) -> None:
    plain = make_device()
    full = make_device(
        "orin",
        port=2222,
        user="nv",
        key_file="~/.ssh/id_board",
        labels=("jetson", "lab"),
        work_folder="/data/bench",
        python="/opt/venv/bin/python",
        emulation=Emulation(cpus=2),
    )
    save_device(workspace, plain)
    save_device(workspace, full)
    assert load_devices(workspace) == {"pi4": plain, "orin": full}


def test_saving_again_replaces_and_keeps_the_order(workspace: Workspace) -> None:
    for name in ("b", "a", "c"):
        save_device(workspace, make_device(name))
    save_device(workspace, make_device("b", host="10.0.0.9"))
    assert [(device.name, device.host) for device in load_devices(workspace).values()] == [
        ("b", "10.0.0.9"),
        ("a", "10.0.0.7"),
        ("c", "10.0.0.7"),
    ]


def test_a_removed_device_is_gone(workspace: Workspace) -> None:
    save_device(workspace, make_device())
    remove_device(workspace, "pi4")
    assert load_devices(workspace) == {}


@pytest.mark.parametrize("ask", [find_device, remove_device])
def test_an_unknown_device_offers_the_nearest_names(workspace: Workspace, ask: object) -> None:
    for name in ("pi4", "pi5", "orin"):
        save_device(workspace, make_device(name))
    with pytest.raises(UsageError, match="there is no device 'pi44'") as told:
        ask(workspace, "pi44")  # type: ignore[operator]
    assert "pi4" in (told.value.hint or "")
    assert "orin" not in (told.value.hint or "")


def test_every_fault_of_the_file_is_named(workspace: Workspace) -> None:
    workspace.devices_file.write_text(
        "devices:\n"
        f"  pi4: {{host: 10.0.0.7, fingerprint: '{FINGERPRINT}', prot: 22}}\n"
        "  orin: {host: -oProxyCommand=x, fingerprint: md5:00}\n"
        "  ../up: {host: a}\n"
        "  tx2: on\n"
        f"  nano: {{name: other, host: a, fingerprint: '{FINGERPRINT}'}}\n"
        "version: 1\n"
    )
    with pytest.raises(SpecError) as told:
        load_devices(workspace)
    for place in (
        "devices.pi4.prot: unknown key",
        "devices.orin.host",
        "devices.orin.fingerprint",
        "devices.../up.name",
        "devices.../up.fingerprint: is required",
        "devices.tx2: expected a mapping",
        "devices.nano.name",
        "version: unknown key",
    ):
        assert any(fault.startswith(place) for fault in told.value.faults), place


@pytest.mark.parametrize("text", ["devices: {}\n", "devices:\n"])
def test_a_file_without_devices_is_fine(workspace: Workspace, text: str) -> None:
    workspace.devices_file.write_text(text)
    assert load_devices(workspace) == {}


@pytest.mark.parametrize("text", ["devices: [pi4]\n", "- pi4\n", "devices: {pi4: {}, pi4: {}}\n", "\x00", ""])
def test_a_file_of_another_shape_is_refused(workspace: Workspace, text: str) -> None:
    workspace.devices_file.write_text(text)
    with pytest.raises(SpecError):
        load_devices(workspace)


def test_a_faulty_file_is_never_overwritten(workspace: Workspace) -> None:
    workspace.devices_file.write_text("devices: {pi4: {}}\n")
    with pytest.raises(SpecError):
        save_device(workspace, make_device("orin"))
    assert workspace.devices_file.read_text() == "devices: {pi4: {}}\n"


def test_devices_saved_at_once_are_all_there(workspace: Workspace) -> None:
    names = [f"pi{number}" for number in range(12)]
    threads = [threading.Thread(target=save_device, args=(workspace, make_device(name))) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(load_devices(workspace)) == sorted(names)


def test_a_key_inside_the_workspace_moves_with_it(tmp_path: Path) -> None:
    before = Workspace(tmp_path / "before")
    before.root.mkdir()
    save_device(before, make_device(key_file=str(before.root / "keys" / "id")))
    after = Workspace(before.root.rename(tmp_path / "after"))
    assert load_devices(after)["pi4"].key_file == str(tmp_path / "after" / "keys" / "id")


def make_labelled(name: str, *labels: str) -> Device:
    return make_device(name, labels=labels)


OTHERS = {device.name: device for device in (make_labelled("pi4", "lab"), make_labelled("orin", "jetson"))}


@pytest.mark.parametrize(
    ("device", "said"),
    [
        (make_labelled("jetson"), "'jetson' is a label"),
        (make_labelled("Lab"), "'lab' is a label"),
        (make_labelled("Pi4"), "there is a device 'pi4' already"),
        (make_labelled("pi5", "orin"), "'orin' is a device"),
        (make_labelled("pi5", "Jetson"), "there is a label"),
        (make_labelled("pi5", "pi5"), "'pi5' is a label"),
    ],
)
def test_names_and_labels_that_could_be_confused_are_refused(device: Device, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        check_telling(device, OTHERS)


def test_other_names_and_known_labels_are_fine() -> None:
    check_telling(make_labelled("pi5", "lab", "new"), OTHERS)


@pytest.mark.parametrize(
    ("told", "parts"),
    [
        ("10.0.0.7", (None, "10.0.0.7", None)),
        ("pi@board.local", ("pi", "board.local", None)),
        ("pi@board.local:2222", ("pi", "board.local", 2222)),
        ("::1", (None, "::1", None)),
        ("pi@fe80::1%eth0", ("pi", "fe80::1%eth0", None)),
        ("pi@[::1]", ("pi", "::1", None)),
        ("[fe80::1%eth0]:2222", (None, "fe80::1%eth0", 2222)),
        ("me@there@board", ("me@there", "board", None)),
        ("board:", (None, "board:", None)),
        ("[::1]x", (None, "[::1]x", None)),
    ],
)
def test_an_address_has_its_parts(told: str, parts: tuple[str | None, str, int | None]) -> None:
    assert split_address(told) == parts


@pytest.mark.parametrize(
    "host", ["[::1]", "10.0.0.7:22", "::1::2", "fe80:::1", "-oProxyCommand=x", "a b", ""]
)
def test_what_is_no_address_alone_is_no_host(host: str) -> None:
    with pytest.raises(ValidationError):
        make_device(host=host)


@pytest.mark.parametrize("host", ["::1", "fe80::1%eth0", "2001:db8::7", "board", "board.local", "10.0.0.7"])
def test_names_and_addresses_of_both_kinds_are_hosts(host: str) -> None:
    assert make_device(host=host).host == host
