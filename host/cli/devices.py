"""`bench devices`: register boards, look at them, and run an emulated one."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import click

from host.cli.options import check_names, current_workspace, format_option, print_json, tell

if TYPE_CHECKING:
    from host.fleet.emulator import EmulatorStatus
    from host.fleet.standing import Standing
    from host.specs.device import Device

DEFAULT_PORT = 22
UNSEEN = "SHA256:" + "A" * 43
"""Stands for a fingerprint until the board has shown its own."""


@click.group()
def devices() -> None:
    """The boards of this workspace."""


@devices.command("add")
@click.argument("name", callback=check_names)
@click.argument("address", metavar="[USER@]HOST[:PORT]")
@click.option("--port", type=click.IntRange(1, 65535), help="Default: what ~/.ssh/config says, else 22.")
@click.option("--fingerprint", metavar="SHA256:…", help="The host key's fingerprint; answers the question.")
@click.option("--key", "key_file", metavar="FILE", help="A private key. Default: the agent and ~/.ssh.")
@click.option("--label", "labels", metavar="L", multiple=True, help="A word to select boards by; repeat.")
@click.option("--price", type=click.FloatRange(0), help="What one costs, for `bench recommend`.")
@click.option("--work-folder", metavar="DIR", default="~/.boardbench", show_default=True)
@click.option("--python", metavar="PATH", default="python3", show_default=True, help="Its interpreter.")
@click.option("--replace", is_flag=True, help="Replace a device that has this name.")
@format_option()
def add_device(
    name: str,
    address: str,
    port: int | None,
    fingerprint: str | None,
    key_file: str | None,
    labels: tuple[str, ...],
    price: float | None,
    work_folder: str,
    python: str,
    replace: bool,
    output: str,
) -> None:
    """Register a board: pin its host key and look at what it is."""
    from host.errors import UsageError
    from host.fleet.boards import introduce_board
    from host.fleet.registry import check_telling, load_devices, save_device
    from host.fleet.ssh import fetch_fingerprint
    from host.specs.device import parse_device, split_address

    workspace = current_workspace()
    registered = load_devices(workspace)
    if name in registered and not replace:
        raise UsageError(f"there is a device {name!r} already", "Take another name, or say --replace.")
    user, host, told_port = split_address(address)
    if None not in (port, told_port) and port != told_port:
        raise UsageError(f"{address} and --port {port} name two ports", "Leave one of them out.")
    asked = parse_device(
        {
            "name": name,
            "host": host,
            "port": told_port if port is None else port,
            "user": user,
            "fingerprint": fingerprint or UNSEEN,
            "key_file": key_file,
            "labels": labels,
            "price": price,
            "work_folder": work_folder,
            "python": python,
        }
    )
    check_telling(asked, {other: device for other, device in registered.items() if other != name})
    seen = fetch_fingerprint(asked.host, asked.port, asked.user, expected=fingerprint)
    confirm_fingerprint(name, seen, fingerprint)
    device = asked.model_copy(update={"fingerprint": seen})
    facts = introduce_board(device, workspace.cache)
    save_device(workspace, device)
    tell(f"{name} is registered.")
    show_facts(facts.model_dump(mode="json"), name, output)


def confirm_fingerprint(name: str, seen: str, expected: str | None) -> None:
    """Ask a person whether the board's key is the right one, unless they said so beforehand."""
    import sys

    from host.errors import DeviceError, UsageError

    if expected is not None:
        if expected != seen:
            raise DeviceError(
                f"{name}: the host key is {seen}, not {expected} as --fingerprint says",
                "The board itself prints the right one: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub",
            )
        return
    if not sys.stdin.isatty():
        raise UsageError(
            f"{name}: its host key is {seen}, and nobody is here to confirm it",
            f"If that is right, add: --fingerprint {seen}",
        )
    tell(f"The host key of {name} is {seen}.")
    if not click.confirm("Is that the board's own key?", err=True):
        raise UsageError("the host key was not confirmed", "Nothing was registered.")


@devices.command("list")
@click.option("--watch", is_flag=True, help="Ask the boards what they are doing, again and again.")
@click.option(
    "--interval",
    "interval_s",
    metavar="S",
    type=click.FloatRange(1),
    default=10.0,
    show_default=True,
    help="Seconds between two looks at a board.",
)
@click.option("--times", metavar="N", type=click.IntRange(1), help="Look N times and end. Default: for ever.")
@format_option()
def list_devices(watch: bool, interval_s: float, times: int | None, output: str) -> None:
    """List the registered boards.

    With --watch also what each is doing: idle, deploying, measuring (task, round, time left), cooling, lost,
    done; --format json then prints a line for each look.
    """
    from host.fleet.registry import load_devices
    from host.report.listing import print_rows

    found = load_devices(current_workspace())
    if watch:
        watch_devices([*found], interval_s, times, output)
        return
    if output == "json":
        print_json([device.model_dump(mode="json") for device in found.values()])
        return
    print_rows(
        "Devices",
        ("name", "address", "labels", "emulated"),
        [
            (
                device.name,
                describe_address(device),
                ", ".join(device.labels),
                "yes" if device.is_emulated else "",
            )
            for device in found.values()
        ],
    )


def watch_devices(names: list[str], interval_s: float, times: int | None, output: str) -> None:
    """Show where the boards stand until interrupted, or `times` times."""
    with suppress(KeyboardInterrupt):  # the only way to end it, and so no failure, however early it comes
        show_standings(names, interval_s, times, output)


def show_standings(names: list[str], interval_s: float, times: int | None, output: str) -> None:
    """Each look at a board as it comes, in a table that is drawn anew or as lines of JSON."""
    from host.report.standings import WatchTable
    from host.watching import watch_boards

    standings: dict[str, Standing] = {}
    with WatchTable() as table:
        for standing in watch_boards(names, current_workspace(), interval_s, times):
            standings[standing.device] = standing
            if output == "json":
                click.echo(standing.model_dump_json())
            else:
                table.show({name: standings[name] for name in names if name in standings})


def describe_address(device: Device) -> str:
    user = f"{device.user}@" if device.user else ""
    if device.port in (None, DEFAULT_PORT):
        return f"{user}{device.host}"
    host = f"[{device.host}]" if ":" in device.host else device.host
    return f"{user}{host}:{device.port}"


@devices.command("show")
@click.argument("name")
@format_option()
def show_device(name: str, output: str) -> None:
    """Show what is registered of one board, without asking it."""
    from host.fleet.registry import find_device
    from host.specs.writing import to_yaml

    device = find_device(current_workspace(), name)
    if output == "json":
        print_json(device.model_dump(mode="json"))
    else:
        click.echo(to_yaml(device), nl=False)


@devices.command("probe")
@click.argument("name")
@format_option()
def probe_device(name: str, output: str) -> None:
    """Ask a board what it is: processor, memory, system, sensors."""
    from host.fleet.boards import introduce_board
    from host.fleet.registry import find_device

    workspace = current_workspace()
    facts = introduce_board(find_device(workspace, name), workspace.cache)
    show_facts(facts.model_dump(mode="json"), name, output)


def show_facts(facts: dict[str, object], name: str, output: str) -> None:
    from host.report.board_facts import summarize_board
    from host.report.listing import print_facts

    if output == "json":
        print_json(facts)
    else:
        print_facts(name, summarize_board(facts))


@devices.command("remove")
@click.argument("name")
def remove_device(name: str) -> None:
    """Forget a board.

    What was measured on it stays; its work folder is left as it is.
    """
    from host.fleet.emulator import down
    from host.fleet.registry import find_device
    from host.fleet.registry import remove_device as forget

    workspace = current_workspace()
    if find_device(workspace, name).emulation is not None:
        down(workspace, name)
    forget(workspace, name)
    tell(f"{name} is forgotten.")


@devices.command("emulate")
@click.argument("name", callback=check_names)
@click.argument("action", type=click.Choice(["up", "down", "status"]))
@click.option("--cpus", type=click.IntRange(1), default=1, show_default=True, help="Cores it may use.")
@format_option()
def emulate_device(name: str, action: str, cpus: int, output: str) -> None:
    """Start, stop or look at an emulated board on this machine.

    It is a real SSH server with a home, keys and cores of its own.
    """
    from host.fleet import emulator

    workspace = current_workspace()
    if action == "up":
        emulator.up(workspace, name, cpus)
    elif action == "down":
        emulator.down(workspace, name)
    status = emulator.status(workspace, name)
    if output == "json":
        print_json(status.model_dump(mode="json"))
    else:
        click.echo(describe_status(status))


def describe_status(status: EmulatorStatus) -> str:
    if status.state != "up":
        return f"{status.name} is {status.state}"
    cores = "1 core" if status.cpus == 1 else f"{status.cpus} cores"
    return f"{status.name} is up on 127.0.0.1:{status.port} with {cores}"
