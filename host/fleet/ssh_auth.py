"""Who we are: keys and agents first, then a password that is asked for and forgotten."""

from __future__ import annotations

import base64
import hashlib
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path

import paramiko
import paramiko.agent

from host.errors import DeviceError, LinkLost
from host.fleet.ssh_answers import Answers
from host.fleet.ssh_intake import show_text
from host.fleet.ssh_route import Route

DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
PASSWORD_TRIES = 3
PERSON_S = 300.0
"""How long a person may take for all that a server asks them; the server itself usually waits for less."""

AGENT_S = 60.0
"""How long an agent may take to sign: its key may wait for somebody to touch it."""

MOST_QUESTIONS = 20
INTERACTIVE = "keyboard-interactive"
_PERSONAL = (INTERACTIVE, "password")
"""What a person must answer; the first may ask for more than a password."""


class _Attempt:
    """One authentication: what was tried so far, for the message if all of it fails."""

    def __init__(self, link: paramiko.Transport, route: Route, answers: Answers | None) -> None:
        self.link = link
        self.route = route
        self.answers = answers
        self.tried: list[str] = []
        self.seen: set[str] = set()
        self.locked: list[Path] = []
        self.methods: tuple[str, ...] = ()
        self.refusals = 0
        self.has_asked = False

    def run(self) -> bool:
        """Whether the server let us in."""
        return self._try_none() or self._try_keys() or self._try_person()

    @property
    def is_too_late(self) -> bool:
        """Whether the server has gone while a person was thinking, and has not refused what they said."""
        return self.has_asked and not self.refusals and not self.link.is_active()

    def ask(self, question: str, refused: str | None = None) -> str | None:
        self.has_asked = True
        return None if self.answers is None else self.answers.ask(question, refused)

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
        for key, source in self._find_keys():
            if self._try_key(key, source):
                return True
            if "publickey" not in self.methods:
                return False  # the key is right, and the server wants something else as well
        return False

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
        if self.route.agent is None:
            return
        try:
            with closing(_Agent(self.route.agent)) as agent:
                for key in agent.get_keys():
                    if self.route.has_other_keys or key.fingerprint in ours:
                        yield key, f"{key.comment or key.get_name()} (ssh-agent)"
        except (paramiko.SSHException, OSError) as error:
            self.tried.append(f"ssh-agent (does not answer: {error or type(error).__name__})")

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
        wrong = None
        for _ in range(PASSWORD_TRIES if self.answers else 0):
            passphrase = self.ask(f"Passphrase of {path}: ", wrong)
            if not passphrase:
                break
            try:
                return paramiko.PKey.from_path(path, passphrase.encode())  # type: ignore[arg-type] # wants bytes
            except (ValueError, TypeError, paramiko.SSHException):
                wrong = passphrase
        said = "wrong passphrase" if wrong else f"locked; `ssh-add {path}` unlocks it"
        self.tried.append(f"{path} ({said})")
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

    def _try_person(self) -> bool:
        """Ask as often as OpenSSH does. A server that takes a password and then a code is asked for both."""
        if self.answers is None:
            return False
        wrong: dict[str, str] = {}
        while self.refusals < PASSWORD_TRIES and self.link.is_active():
            method = next((one for one in _PERSONAL if one in self.methods), None)
            if method is None:
                return False
            before = self.methods
            given = self._try_questions(wrong) if method == INTERACTIVE else self._try_password(wrong)
            if self.link.is_authenticated():
                return True
            if not given and before == self.methods:
                return False
        return False

    def _try_password(self, wrong: dict[str, str]) -> bool:
        """Whether a person gave a password; `wrong` holds the one that was refused."""
        question = self._name("Password:")
        password = self.ask(question, wrong.get(question))
        if not password:
            return False
        self.tried.append("a password")
        wrong[question] = password
        self._note(lambda: self.link.auth_password(self.route.user, password, fallback=False))
        return True

    def _try_questions(self, wrong: dict[str, str]) -> bool:
        """Whether a person answered what the server asked. One that asks nothing is not tried again."""
        given: dict[str, str] = {}

        def answer(_title: str, _instructions: str, prompts: list[tuple[str, bool]]) -> list[str]:
            return [self._answer(prompt, given, wrong) for prompt, _ in prompts]

        self.link.auth_timeout = PERSON_S
        self._note(lambda: self.link.auth_interactive(self.route.user, answer))
        wrong.update(given)
        self.tried += ["answers of a person"] if given else []
        if not given:
            self.methods = tuple(one for one in self.methods if one != INTERACTIVE)
        return any(given.values())

    def _answer(self, prompt: str, given: dict[str, str], wrong: dict[str, str]) -> str:
        """The answer to one of a server's questions; the same words once more are another question."""
        if len(given) >= MOST_QUESTIONS:
            raise paramiko.SSHException("the server asks too many questions")
        words = show_text(prompt.encode("utf-8", "replace")).strip()
        asked = [self._name(f"{words}{' again' * times}") for times in range(len(given) + 1)]
        question = next(one for one in asked if one not in given)
        given[question] = self.ask(question, wrong.get(question)) or ""
        return given[question]

    def _name(self, words: str) -> str:
        """A question with the board that it is about: several may ask one after the other."""
        return f"{self.route.name} ({self.route.user}@{self.route.host}) {words} "

    def _note(self, log_in: Callable[[], list[str]]) -> None:
        """Log in, and remember what the server wants after that."""
        try:
            self.methods = tuple(log_in()) or self.methods
        except paramiko.BadAuthenticationType as error:
            self.refusals += 1
            self.methods = tuple(error.allowed_types)
        except paramiko.AuthenticationException:
            if not self.link.is_active():
                raise
            self.refusals += 1


class _Agent(paramiko.Agent):
    """An ssh-agent that must answer in time: one that is forwarded may have lost its other end."""

    def __init__(self, address: str) -> None:
        paramiko.agent.AgentSSH.__init__(self)
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        link.settimeout(AGENT_S)
        try:
            link.connect(address)
        except OSError:
            link.close()  # nobody is there: then it has no keys
            return
        try:
            self._connect(link)  # type: ignore[attr-defined] # not in the stubs
        except BaseException:
            link.close()
            raise


def read_public_fingerprint(path: Path) -> str | None:
    """The fingerprint of the public half that lies beside a private key, as `ssh-keygen` leaves it there."""
    try:
        _, blob, *_ = path.with_name(f"{path.name}.pub").read_text().split()
        digest = hashlib.sha256(base64.b64decode(blob)).digest()
    except (OSError, ValueError):
        return None
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def authenticate(link: paramiko.Transport, route: Route, answers: Answers | None) -> None:
    """Log in, or raise DeviceError that names every key that was tried.

    Raises TooLate where the server has gone while a person was asked.
    """
    attempt = _Attempt(link, route, answers)
    try:
        if attempt.run():
            return
    except (paramiko.SSHException, EOFError, OSError) as error:
        if attempt.is_too_late:
            raise _too_late(route) from error
        if not attempt.tried:
            raise LinkLost(
                f"{route.name}: {route.address} ended the connection while we logged in: {error}",
                f"`ssh -v -p {route.port} {route.user}@{route.host}` tells more.",
            ) from error
        raise _refused(attempt) from error
    if attempt.is_too_late:
        raise _too_late(route)
    raise _refused(attempt)


class TooLate(LinkLost):
    """The server ended the connection before a person had answered; the answer is known now."""


def _too_late(route: Route) -> TooLate:
    return TooLate(
        f"{route.name}: {route.address} ended the connection before the answer was there",
        "A server waits for two minutes (LoginGraceTime). A key needs no answer: "
        f"`ssh-copy-id -p {route.port} {route.user}@{route.host}`.",
    )


def _refused(attempt: _Attempt) -> DeviceError:
    route = attempt.route
    tried = "; ".join(dict.fromkeys(attempt.tried)) or "none, there is no key to try"
    takes = ", ".join(attempt.methods) or "nothing that it tells"
    by_person = attempt.answers is None and set(_PERSONAL) & set(attempt.methods)
    unasked = "\n  nobody could be asked for a password: there is no terminal" if by_person else ""
    return DeviceError(
        f"{route.name}: {route.user}@{route.address} lets us in by no key"
        f"{' and no password' if attempt.refusals else ''}.\n"
        f"  tried: {tried}\n  the server takes: {takes}{unasked}",
        f"Put your public key there with `ssh-copy-id -p {route.port} {route.user}@{route.host}`, or name "
        "the right one as key_file in devices.yaml.",
    )
