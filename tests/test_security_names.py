"""No name, path or label that a person writes can be an option, a path elsewhere, or more than one word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from host.fleet.agent_archive import build_agent
from host.fleet.probing import agent_argv, bootstrap_agent, call_agent
from host.fleet.remote import quote_command
from host.specs.artifact import Blob
from host.specs.device import Device
from host.specs.profile import parse_profile
from host.specs.reading import Faults
from tests.local_remote import LocalRemote

AGENT = Blob(path=Path("agent.pyz"), sha256="0" * 64, size=1)
FINGERPRINT = "SHA256:" + "A" * 43
BAD_NAMES = [
    "../x",
    "a/b",
    "-x",
    "--help",
    "a b",
    "a;b",
    "$(id)",
    "`id`",
    "a\nb",
    "",
    "ü",
    "a'b",
    ".x",
    "x" * 65,
]


def describe(**fields: Any) -> dict[str, Any]:
    return {"name": "pi4", "host": "10.0.0.7", "fingerprint": FINGERPRINT, **fields}


@pytest.mark.parametrize("name", BAD_NAMES)
def test_devices_labels_and_profiles_have_plain_names(name: str) -> None:
    for fields in ({"name": name}, {"labels": [name]}):
        with pytest.raises(ValidationError):
            Device.model_validate(describe(**fields))
    with pytest.raises(Faults):
        parse_profile({"name": name, "model": "m"})


@pytest.mark.parametrize("key", ["work_folder", "python"])
@pytest.mark.parametrize("path", ["", "-rf", "a\nb", "a\x00b", "\x1b[31m"])
def test_paths_on_a_board_are_one_line_and_no_option(key: str, path: str) -> None:
    with pytest.raises(ValidationError):
        Device.model_validate(describe(**{key: path}))


@pytest.mark.parametrize(
    "field", [{"host": "-oProxyCommand=x"}, {"host": "a b"}, {"user": "-l"}, {"user": "a b"}]
)
def test_an_address_is_never_an_option_of_ssh(field: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        Device.model_validate(describe(**field))


printable = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=60)


@given(printable.filter(lambda text: not text.startswith("-")))
def test_any_other_path_is_one_word_of_the_command_line(path: str) -> None:
    device = Device.model_validate(describe(work_folder=path, python=path))
    words = agent_argv(device, AGENT, "status")
    assert words.count(path) == 2
    assert quote_command(words).count("\n") == 0


def test_a_path_full_of_commands_runs_none_of_them(tmp_path: Path) -> None:
    nasty = (
        "$(touch pwned) `touch pwned`; touch pwned | touch pwned & 'touch pwned' \"$(touch pwned)\" !touch"
    )
    device = Device.model_validate(describe(work_folder=f"~/{nasty}"))
    agent = build_agent(tmp_path / "cache")
    home = tmp_path / "home"
    home.mkdir()
    remote = LocalRemote("pi4", home)
    assert bootstrap_agent(remote, device, agent) is True
    assert call_agent(remote, device, agent, ["status"]) == {"holder": None}
    assert (home / nasty / "agents").is_dir()
    assert not list(tmp_path.rglob("pwned"))
