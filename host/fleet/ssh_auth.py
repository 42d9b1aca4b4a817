"""Who we are: keys and agents first, then a password that is asked for and forgotten."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path

import paramiko

from host.errors import DeviceError, LinkLost
from host.fleet.ssh_route import Route

AskPassword = Callable[[str], str | None]
"""Asks a person for a password or passphrase; None means that they gave none."""

DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
PASSWORD_TRIES = 3


class _Attempt:
    """One authentication: what was tried so far, for the message if all of it fails."""

    def __init__(self, link: paramiko.Transport, route: Route, ask: AskPassword | None) -> None:
        self.link = link
        self.route = route
        self.ask = ask
        self.tried: list[str] = []
        self.seen: set[str] = set()
        self.locked: list[Path] = []
        self.methods: tuple[str, ...] = ()

    def run(self) -> bool:
        """Whether the server let us in."""
        return self._try_none() or self._try_keys() or self._try_password()

    def _try_none(self) -> bool:
        """Servers such as Tailscale's know who we are; all others tell the methods they take."""
        try:
            self.link.auth_none(self.route.user)
        except paramiko.BadAuthenticationType as error:
            self.methods = tuple(error.allowed_types)
        return self.link.is_authenticated()

    def _try_keys(self) -> bool:
        if "publickey" not in self.methods:
            return False
        return any(self._try_key(key, source) for key, source in self._find_keys())

    def _find_keys(self) -> Iterator[tuple[paramiko.PKey, str]]:
        """Every key worth offering, with words for where it comes from. What a person must unlock comes last:
        the agent may hold it."""
        folder = Path("~/.ssh").expanduser()
        for path in self.route.key_files:
            if not path.is_file():
                self.tried.append(f"{path} (does not exist)")
        yield from self._read_keys(self.route.key_files)
        yield from self._ask_agent()
        if self.route.has_other_keys:
            yield from self._read_keys([folder / name for name in DEFAULT_KEYS])
        for path in self.locked:
            key = self._unlock_key(path)
            if key is not None:
                yield key, str(path)

    def _ask_agent(self) -> Iterator[tuple[paramiko.PKey, str]]:
        """The agent's keys; under IdentitiesOnly just those whose public halves lie beside our key files."""
        ours = {read_public_fingerprint(path) for path in self.route.key_files}
        try:
            with closing(paramiko.Agent()) as agent:
                for key in agent.get_keys():
                    if self.route.has_other_keys or key.fingerprint in ours:
                        yield key, f"{key.comment or key.get_name()} (ssh-agent)"
        except paramiko.SSHException as error:
            self.tried.append(f"ssh-agent (does not answer: {error})")

    def _read_keys(self, paths: Iterable[Path]) -> Iterator[tuple[paramiko.PKey, str]]:
        """The keys of files that need no passphrase; the others are remembered."""
        for path in paths:
            if not path.is_file():
                continue
            try:
                key = paramiko.PKey.from_path(path)
            except (TypeError, paramiko.PasswordRequiredException):
                self.locked.append(path)  # TypeError is cryptography's word for a missing passphrase
            except (ValueError, OSError, paramiko.SSHException, paramiko.pkey.UnknownKeyType) as error:
                self.tried.append(f"{path} (cannot be read: {error})")
            else:
                yield key, str(path)

    def _unlock_key(self, path: Path) -> paramiko.PKey | None:
        if read_public_fingerprint(path) in self.seen:
            return None  # the agent holds it, and it was refused
        passphrase = self.ask(f"Passphrase of {path}: ") if self.ask else None
        if not passphrase:
            self.tried.append(f"{path} (locked; `ssh-add {path}` unlocks it)")
            return None
        try:
            return paramiko.PKey.from_path(path, passphrase.encode())  # type: ignore[arg-type] # wants bytes
        except (ValueError, TypeError, paramiko.SSHException):
            self.tried.append(f"{path} (wrong passphrase)")
            return None

    def _try_key(self, key: paramiko.PKey, source: str) -> bool:
        if key.fingerprint in self.seen:
            return False
        self.seen.add(key.fingerprint)
        self.tried.append(source)
        try:
            self.methods = tuple(self.link.auth_publickey(self.route.user, key)) or self.methods
        except paramiko.AuthenticationException:
            return False
        return self.link.is_authenticated()

    def _try_password(self) -> bool:
        if self.ask is None or not {"password", "keyboard-interactive"} & set(self.methods):
            return False
        for _ in range(PASSWORD_TRIES):
            password = self.ask(f"Password of {self.route.user}@{self.route.host}: ")
            if not password:
                return False
            self.tried.append("a password")
            try:
                self.link.auth_password(self.route.user, password)
            except paramiko.AuthenticationException:
                continue
            return self.link.is_authenticated()
        return False


def read_public_fingerprint(path: Path) -> str | None:
    """The fingerprint of the public half that lies beside a private key, as `ssh-keygen` leaves it there."""
    try:
        _, blob, *_ = path.with_name(f"{path.name}.pub").read_text().split()
        digest = hashlib.sha256(base64.b64decode(blob)).digest()
    except (OSError, ValueError):
        return None
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def authenticate(link: paramiko.Transport, route: Route, ask: AskPassword | None) -> None:
    """Log in, or raise DeviceError that names every key that was tried."""
    attempt = _Attempt(link, route, ask)
    try:
        if attempt.run():
            return
    except (paramiko.SSHException, EOFError, OSError) as error:
        if not attempt.tried:
            raise LinkLost(
                f"{route.name}: {route.address} ended the connection while we logged in: {error}",
                f"`ssh -v -p {route.port} {route.user}@{route.host}` tells more.",
            ) from error
        raise _refused(attempt) from error
    raise _refused(attempt)


def _refused(attempt: _Attempt) -> DeviceError:
    route = attempt.route
    tried = "; ".join(dict.fromkeys(attempt.tried)) or "none, there is no key to try"
    takes = ", ".join(attempt.methods) or "nothing that it tells"
    return DeviceError(
        f"{route.name}: {route.user}@{route.address} lets us in by no key.\n"
        f"  tried: {tried}\n  the server takes: {takes}",
        f"Put your public key there with `ssh-copy-id -p {route.port} {route.user}@{route.host}`, or name "
        "the right one as key_file in devices.yaml.",
    )
