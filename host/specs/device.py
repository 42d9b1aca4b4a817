"""A registered device: where it is, how it is known, and never a secret."""

from __future__ import annotations

import re
import shlex
from ipaddress import IPv6Address
from typing import Annotated, Any
from urllib.parse import unquote_plus, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from host.errors import UsageError
from host.specs.reading import UNTOLD, describe_faults
from host.specs.record import Name, Record, matching


class Emulation(Record):
    """How an emulated device is started: the number of cores that its processes may use."""

    cpus: int = Field(1, ge=1)


def _split_words(told: Any) -> Any:
    """`read-meter --channel 2` as its words; no shell reads them on the board."""
    return shlex.split(told) if isinstance(told, str) else told


def _check_pattern(pattern: str) -> str:
    try:
        groups = re.compile(pattern).groupindex
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from error
    if "watts" not in groups:
        raise ValueError("expected a group (?P<watts>…) in it, and (?P<seconds>…) if the meter has a clock")
    return pattern


def _check_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("expected http:// or https:// and a host")
    if parts.username is not None or parts.password is not None:
        raise PydanticCustomError(UNTOLD, "expected no name or password in it: {why}", {"why": _WHY})
    for name in re.findall(r"(?:^|[&;])([^&;=]*)", parts.query):
        if _is_secret(unquote_plus(name)):
            raise PydanticCustomError(
                UNTOLD, "expected no `{name}` in it: {why}", {"name": name, "why": _WHY}
            )
    return url


_WHY = "devices.yaml never holds a secret; a `command` can read it from a file on the board and ask the page"


_SECRET_NAMES = {"pw", "pwd", "pass", "key", "auth"}
_SECRET_ENDS = ("password", "passwd", "passphrase", "token", "apikey", "authkey", "accesskey", "secret")


def _is_secret(name: str) -> bool:
    """Whether a name in a query stands for a secret: `password`, `api_key`, `accessToken`."""
    letters = re.sub("[^a-z]", "", name.lower())
    return letters in _SECRET_NAMES or letters.endswith(_SECRET_ENDS)


def split_address(told: str) -> tuple[str | None, str, int | None]:
    """User, host and port of `[USER@]HOST[:PORT]`; an IPv6 address has brackets where a port follows it."""
    user, at, place = told.rpartition("@")
    whole = re.fullmatch(r"\[([^\]]*)\](?::(\d{1,5}))?|([^:]*):(\d{1,5})", place)
    if whole is None:
        return (user if at else None), place, None
    host, port = (whole[1], whole[2]) if whole[1] is not None else (whole[3], whole[4])
    return (user if at else None), host, int(port) if port else None


def _check_host(host: str) -> str:
    if split_address(host)[1:] != (host, None):
        raise ValueError("expected the address alone: a port stands in `port`, and brackets are left out")
    if host.count(":") > 1:
        try:
            IPv6Address(host)
        except ValueError as error:
            raise ValueError(f"is no IPv6 address: {error}") from error
    return host


Words = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1, max_length=100)]


class Meter(Record):
    """An external meter that the board can read: what the agent asks it for, on the board and as its user.

    A `command` or a `serial` device gives lines `seconds watts`, or what `pattern` finds in other ones; a
    page at `url` gives watts, alone or at `key` in its JSON, and is asked every `period_s` seconds.
    """

    command: Annotated[Words, BeforeValidator(_split_words)] | None = None
    serial: Annotated[str, matching(r"/\S+", "the path of a device, such as /dev/ttyUSB0")] | None = None
    url: Annotated[str, AfterValidator(_check_url)] | None = None
    baud: int | None = Field(None, ge=50, le=4_000_000)
    pattern: Annotated[str, AfterValidator(_check_pattern)] | None = None
    key: str | None = Field(None, min_length=1)
    period_s: float | None = Field(None, ge=0.01, le=60)

    @model_validator(mode="after")
    def _is_one_kind(self) -> Meter:
        given = set(self.model_dump(exclude_none=True))
        kinds = [kind for kind in _OF_KIND if kind in given]
        if len(kinds) != 1:
            raise ValueError("expected one of command, serial and url")
        for key in sorted(given - {kinds[0], *_OF_KIND[kinds[0]]}):
            raise ValueError(f"{key} means nothing to a meter with {kinds[0]}")
        return self


_OF_KIND = {"command": ("pattern",), "serial": ("baud", "pattern"), "url": ("key", "period_s")}


RemotePath = Annotated[
    str,
    matching(r"[^\x00-\x1f\x7f-][^\x00-\x1f\x7f]*", "a path without control characters that is no option"),
]
"""No shell can be made to take it for anything else: csh has no way to write a newline inside a word."""


class Device(Record):
    """One board. `fingerprint` is OpenSSH's `SHA256:…` of the pinned host key.

    What is None is left to ~/.ssh/config and its defaults. `price` is what one board costs, in whatever
    currency all of them are told in: `bench recommend` orders boards by it.
    """

    name: Name
    host: Annotated[
        str, matching(r"[^\s-]\S{0,254}", "a host's name or address"), AfterValidator(_check_host)
    ]
    port: int | None = Field(None, ge=1, le=65535)
    user: Annotated[str, matching(r"[^\s:@-][^\s:@]*", "a user's name")] | None = None
    fingerprint: Annotated[str, matching(r"SHA256:[A-Za-z0-9+/]{43}", "SHA256: and 43 characters of base64")]
    key_file: str | None = None
    labels: tuple[Name, ...] = ()
    work_folder: RemotePath = "~/.boardbench"
    python: RemotePath = "python3"
    transport: Name = "ssh"
    emulation: Emulation | None = None
    meter: Meter | None = None
    price: float | None = Field(None, ge=0)

    @property
    def is_emulated(self) -> bool:
        return self.emulation is not None or "emulated" in self.labels


def parse_device(document: dict[str, Any]) -> Device:
    """A device from the words of a command line. Raises UsageError naming everything wrong with them."""
    try:
        return Device.model_validate(document)
    except ValidationError as error:
        faults = describe_faults(error, document)
        raise UsageError(
            "that is no device: " + "; ".join(faults), "See: bench devices add --help"
        ) from error
