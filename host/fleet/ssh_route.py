"""Which way leads to a device: its own record first, then what `~/.ssh/config` says of its host."""

from __future__ import annotations

import glob
import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import paramiko

from host.errors import DeviceError
from host.login import find_login
from host.specs.device import Device

SSH_PORT = 22
MOST_INCLUDES = 16  # as deep as OpenSSH follows files that include files


@dataclass(frozen=True)
class Route:
    """How to reach one SSH server. `proxy` is a command whose input and output are the connection, `agent`
    the socket of the ssh-agent that may know our keys."""

    name: str
    host: str
    port: int
    user: str
    key_files: tuple[Path, ...] = ()
    has_other_keys: bool = True
    proxy: tuple[str, ...] | None = None
    agent: str | None = None

    @property
    def address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def find_route(device: Device) -> Route:
    """The route to a device.

    An emulated device is reached by its own key and nothing else: a `Host *` meant for the world outside
    must not send a connection to this machine through a jump host.
    """
    key_files = () if device.key_file is None else (Path(device.key_file).expanduser(),)
    if device.emulation is not None:
        user = device.user or find_login()
        port = device.port or SSH_PORT
        return Route(device.name, device.host, port, user, key_files, has_other_keys=False)
    return apply_config(device.name, device.host, device.port, device.user, key_files)


def apply_config(
    name: str, host: str, port: int | None, user: str | None = None, key_files: tuple[Path, ...] = ()
) -> Route:
    """The route to `host`, which may be an alias of `~/.ssh/config`; what the device says comes first."""
    options = _read_options(host, port, user)
    real_host = str(options.get("hostname", host))
    real_port = int(options.get("port", SSH_PORT))
    real_user = options.get("user") or find_login()
    configured = tuple(Path(path).expanduser() for path in options.get("identityfile", []))
    return Route(
        name=name,
        host=real_host,
        port=real_port,
        user=real_user,
        key_files=tuple(dict.fromkeys((*key_files, *configured))),
        has_other_keys=str(options.get("identitiesonly", "no")).lower() != "yes",
        proxy=_find_proxy(options, real_host, real_port),
        agent=_find_agent(str(options.get("identityagent", "SSH_AUTH_SOCK"))),
    )


def _find_agent(told: str) -> str | None:
    """The socket that IdentityAgent names: a path, a variable of the environment, or none."""
    if told.lower() == "none":
        return None
    if told == "SSH_AUTH_SOCK" or told.startswith("$"):
        return os.environ.get(told.lstrip("$").strip("{}")) or None
    return str(Path(told.replace("%d", str(Path.home()))).expanduser())


def _read_options(host: str, port: int | None, user: str | None) -> paramiko.SSHConfigDict:
    """What holds for a host. What we know stands before the user's file: the first value of a key wins."""
    path = Path("~/.ssh/config").expanduser()
    known = [f"Port {port}"] if port is not None else []
    known += [f"User {user}"] if user is not None else []
    try:
        text = "\n".join(read_config(path)) if path.is_file() else ""
        options = paramiko.SSHConfig.from_text("\n".join([*known, text])).lookup(host)
        int(options.get("port", SSH_PORT))  # raises for a port that is no number
    except (paramiko.SSHException, OSError, ValueError, ImportError) as error:
        # ImportError: `Match exec` needs a package that paramiko does not bring along.
        raise DeviceError(
            f"{path} cannot be used for {host}: {error}",
            f"`ssh -G {host}` shows what OpenSSH makes of it; the board's own address does without.",
        ) from error
    return options


def read_config(path: Path, depth: int = 0) -> Iterator[str]:
    """The lines of an SSH configuration with those of the files that it includes, which paramiko leaves out.

    After an included file the block goes on that it stands in, as OpenSSH has it.
    """
    block = "Host *" if depth == 0 else None
    for line in path.read_text().splitlines():
        word, _, rest = line.strip().replace("=", " ", 1).partition(" ")
        if word.lower() in ("host", "match"):
            block = line
        if word.lower() != "include" or depth >= MOST_INCLUDES:
            yield line
            continue
        for named in shlex.split(rest):
            pattern = Path("~/.ssh").expanduser() / Path(named).expanduser()
            for included in sorted(glob.glob(str(pattern))):  # noqa: PTH207 - an absolute pattern
                if Path(included).is_file():
                    yield from read_config(Path(included), depth + 1)
        if block is not None:
            yield block


def _find_proxy(options: paramiko.SSHConfigDict, host: str, port: int) -> tuple[str, ...] | None:
    """The command that carries the connection, where one is configured.

    ProxyJump becomes `ssh -W`, which is what OpenSSH does itself: so the jump host's key is checked against
    the user's known hosts, and its own configuration holds.
    """
    jump = options.get("proxyjump")
    if jump and jump.lower() != "none":
        *before, last = jump.split(",")
        through = ("-J", ",".join(before)) if before else ()
        return ("ssh", *through, *_jump_words(last), "-W", f"[{host}]:{port}", _jump_target(last))
    command = options.get("proxycommand")
    return ("/bin/sh", "-c", f"exec {command}") if command else None


def _jump_words(jump: str) -> tuple[str, ...]:
    """`-p PORT` for a jump of the form `[user@]host:port`."""
    host, separator, port = _strip_scheme(jump).rpartition(":")
    return ("-p", port) if separator and port.isdigit() and not host.endswith(":") else ()


def _jump_target(jump: str) -> str:
    """`[user@]host` as ssh takes it: an IPv6 address without brackets."""
    plain = _strip_scheme(jump)
    named = plain.rpartition(":")[0] if _jump_words(jump) else plain
    user, at, host = named.rpartition("@")
    return f"{user}{at}{host.removeprefix('[').removesuffix(']')}"


def _strip_scheme(jump: str) -> str:
    return jump.strip().removeprefix("ssh://").rstrip("/")
