"""Logging in: which keys are tried, when a person is asked, and what is said when nothing helps."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncssh
import pytest

from host.errors import DeviceError
from host.fleet.ssh import open_ssh
from host.fleet.ssh_route import find_route
from host.specs.device import Device
from tests.conftest import Sshd


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder without keys, and no ssh-agent."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    (tmp_path / ".ssh").mkdir()
    return tmp_path


def write_key(path: Path, passphrase: str | None = None) -> Path:
    key = asyncssh.generate_private_key("ssh-ed25519")
    path.write_bytes(key.export_private_key("openssh", passphrase, rounds=16, ignore_few_rounds=True))
    return path


def is_let_in(device: Device, **options: object) -> bool:
    with open_ssh(device, **options) as remote:  # type: ignore[arg-type]
        return remote.run(["true"]).code == 0


def never_ask(prompt: str) -> str:
    raise AssertionError(f"nobody should have been asked: {prompt}")


def without_key(device: Device) -> Device:
    return device.model_copy(update={"key_file": None, "emulation": None})


def test_the_key_of_the_device_is_enough(device: Device) -> None:
    assert is_let_in(device, ask_password=never_ask)


def test_a_refused_key_is_named_with_what_to_do(device: Device, home: Path) -> None:
    key = write_key(home / "other")
    with pytest.raises(DeviceError, match="lets us in by no key") as told:
        is_let_in(device.model_copy(update={"key_file": str(key)}))
    assert str(key) in str(told.value)
    assert "ssh-copy-id -p" in str(told.value)


def test_a_missing_key_file_is_named(device: Device, home: Path) -> None:
    with pytest.raises(DeviceError, match=r"gone \(does not exist\)"):
        is_let_in(device.model_copy(update={"key_file": str(home / "gone")}))


def test_another_user_is_refused(emulated_device: Device) -> None:
    with pytest.raises(DeviceError, match=r"nobody-here@127\.0\.0\.1"):
        is_let_in(emulated_device.model_copy(update={"user": "nobody-here"}))


@pytest.mark.parametrize("name", ["id_ed25519", "id_rsa"])
def test_a_default_key_is_found(device: Device, home: Path, name: str) -> None:
    assert device.key_file is not None
    shutil.copy(device.key_file, home / ".ssh" / name)
    assert is_let_in(without_key(device))


def test_a_second_key_is_tried_after_a_refused_one(device: Device, home: Path) -> None:
    assert device.key_file is not None
    shutil.copy(device.key_file, home / ".ssh" / "id_rsa")
    write_key(home / ".ssh" / "id_ed25519")
    assert is_let_in(without_key(device))


@pytest.fixture
def agent(device: Device, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An ssh-agent that holds the device's key."""
    if shutil.which("ssh-agent") is None:
        pytest.skip("ssh-agent is not installed: apt-get install openssh-client")
    address = home / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(address)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline()
    monkeypatch.setenv("SSH_AUTH_SOCK", str(address))
    subprocess.run(["ssh-add", str(device.key_file)], check=True, capture_output=True)
    yield
    process.terminate()
    process.communicate()


@pytest.mark.usefixtures("agent")
def test_a_key_in_the_agent_is_enough(device: Device) -> None:
    assert is_let_in(without_key(device))


def test_a_locked_key_asks_for_its_passphrase(device: Device, home: Path) -> None:
    assert device.key_file is not None
    key = asyncssh.read_private_key(device.key_file)
    locked = home / "locked"
    locked.write_bytes(key.export_private_key("openssh", "open sesame", rounds=16, ignore_few_rounds=True))
    prompts = []

    def answer(prompt: str) -> str:
        prompts.append(prompt)
        return "open sesame"

    assert is_let_in(device.model_copy(update={"key_file": str(locked)}), ask_password=answer)
    assert prompts == [f"Passphrase of {locked}: "]


def test_a_locked_key_that_the_agent_holds_asks_nobody(device: Device, agent: None, home: Path) -> None:
    assert device.key_file is not None
    key = asyncssh.read_private_key(device.key_file)
    locked = home / "locked"
    locked.write_bytes(key.export_private_key("openssh", "open sesame", rounds=16, ignore_few_rounds=True))
    key.write_public_key(home / "locked.pub")
    write_config(home, "Host *\n IdentitiesOnly yes\n")
    known = without_key(device).model_copy(update={"key_file": str(locked)})
    assert is_let_in(known, ask_password=never_ask)


@pytest.mark.usefixtures("agent")
def test_identities_only_leaves_the_other_keys_of_the_agent_alone(device: Device, home: Path) -> None:
    write_config(home, "Host *\n IdentitiesOnly yes\n")
    with pytest.raises(DeviceError, match="there is no key to try"):
        is_let_in(without_key(device))


def test_a_locked_key_without_a_terminal_says_what_unlocks_it(device: Device, home: Path) -> None:
    locked = write_key(home / "locked", "open sesame")
    with pytest.raises(DeviceError, match="ssh-add"):
        is_let_in(device.model_copy(update={"key_file": str(locked)}))


class PasswordServer(asyncssh.SSHServer):
    """Lets in whoever knows the password `right`."""

    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return password == "right"


@contextmanager
def password_board() -> Iterator[Device]:
    """A board that takes a password only."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    ports: list[int] = []
    ready = threading.Event()
    loop = asyncio.new_event_loop()

    async def answer(process: asyncssh.SSHServerProcess[str]) -> None:
        words = str(process.command).split()
        process.stdout.write(f"{words[1].rstrip(';')}\n")
        process.exit(0)

    async def serve() -> None:
        options = {"server_host_keys": [key], "server_factory": PasswordServer, "process_factory": answer}
        async with asyncssh.listen("127.0.0.1", 0, config=None, **options) as server:  # type: ignore[arg-type]
            ports.append(server.get_port())
            ready.set()
            await stop.wait()

    stop = asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    ready.wait(20)
    yield Device(
        name="pi4", host="127.0.0.1", port=ports[0], user="pi", fingerprint=key.get_fingerprint("sha256")
    )
    loop.call_soon_threadsafe(stop.set)
    thread.join(20)
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


def test_a_password_is_asked_for_and_may_be_wrong_once() -> None:
    answers = iter(["wrong", "right"])
    prompts = []

    def answer(prompt: str) -> str:
        prompts.append(prompt)
        return next(answers)

    with password_board() as device:
        assert is_let_in(device, ask_password=answer)
    assert prompts == ["Password of pi@127.0.0.1: "] * 2


def test_without_a_terminal_no_password_is_asked_for() -> None:
    with password_board() as device, pytest.raises(DeviceError, match=r"the server takes: .*password"):
        is_let_in(device)


# What ~/.ssh/config says.


def write_config(home: Path, text: str) -> None:
    (home / ".ssh" / "config").write_text(text)


@pytest.mark.sshd
def test_an_alias_of_the_ssh_config_is_followed(sshd: Sshd, home: Path) -> None:
    real = sshd.device()
    write_config(
        home, f"Host bench-board\n HostName 127.0.0.1\n Port {real.port}\n IdentityFile {real.key_file}\n"
    )
    device = Device(name="alias", host="bench-board", fingerprint=real.fingerprint)
    assert is_let_in(device)


@pytest.mark.sshd
def test_a_proxy_command_carries_the_connection(sshd: Sshd, home: Path) -> None:
    program = home / "proxy.py"
    program.write_text(
        "import os, socket, sys, threading\n"
        "link = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n"
        "def pump(read, write):\n"
        "    while data := read(65536):\n"
        "        write(data)\n"
        "    os._exit(0)\n"
        "answer = lambda data: os.write(1, data)\n"
        "threading.Thread(target=pump, args=(link.recv, answer), daemon=True).start()\n"
        "pump(lambda size: os.read(0, size), link.sendall)\n"
    )
    write_config(home, f"Host *\n ProxyCommand {sys.executable} {program} %h %p\n")
    assert is_let_in(sshd.device())


def test_a_proxy_that_does_not_start_is_told(emulated_device: Device, home: Path) -> None:
    write_config(home, "Host *\n ProxyCommand /no/such/program %h %p\n")
    with pytest.raises(DeviceError, match=r"proxy of ~/\.ssh/config ended"):
        is_let_in(emulated_device.model_copy(update={"emulation": None}))


def test_an_emulated_board_is_reached_directly_whatever_the_config_says(
    emulated_device: Device, home: Path
) -> None:
    write_config(home, "Host *\n ProxyCommand /no/such/program\n User somebody\n")
    assert is_let_in(emulated_device)


def test_what_the_device_says_comes_before_the_config(home: Path) -> None:
    write_config(home, "Host *\n Port 2222\n User configured\n IdentityFile ~/configured\n")
    fingerprint = "SHA256:" + "A" * 43
    bare = Device(name="pi4", host="10.0.0.7", fingerprint=fingerprint)
    said = bare.model_copy(update={"port": 22, "user": "pi", "key_file": "~/own"})
    assert (find_route(bare).port, find_route(bare).user) == (2222, "configured")
    assert (find_route(said).port, find_route(said).user) == (22, "pi")
    assert find_route(said).key_files == (home / "own", home / "configured")


@pytest.mark.parametrize(
    ("jump", "command"),
    [
        ("gate", ["ssh", "-W", "[10.0.0.7]:22", "gate"]),
        ("me@gate:2200", ["ssh", "-p", "2200", "-W", "[10.0.0.7]:22", "me@gate"]),
        ("a,b", ["ssh", "-J", "a", "-W", "[10.0.0.7]:22", "b"]),
        ("ssh://gate:2200", ["ssh", "-p", "2200", "-W", "[10.0.0.7]:22", "gate"]),
    ],
)
def test_a_jump_host_is_reached_with_openssh(home: Path, jump: str, command: list[str]) -> None:
    write_config(home, f"Host 10.0.0.7\n ProxyJump {jump}\n")
    device = Device(name="pi4", host="10.0.0.7", fingerprint="SHA256:" + "A" * 43)
    assert list(find_route(device).proxy or ()) == command


def test_a_config_that_cannot_be_read_is_named(home: Path) -> None:
    write_config(home, "Host *\n =\n")
    with pytest.raises(DeviceError, match=r"\.ssh/config cannot be used"):
        find_route(Device(name="pi4", host="10.0.0.7", fingerprint="SHA256:" + "A" * 43))


def test_no_terminal_means_no_environment_needed(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SSH_")]:
        monkeypatch.delenv(name)
    assert is_let_in(device)
