"""Logging in: which keys are tried, when a person is asked, and what is said when nothing helps."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import asyncssh
import pytest

from host.cli.devices import describe_address
from host.errors import DeviceError
from host.fleet import ssh_answers, ssh_auth
from host.fleet.registry import find_device, save_device
from host.fleet.ssh import fetch_fingerprint, open_ssh
from host.fleet.ssh_answers import Answers, let_person_be_asked
from host.fleet.ssh_remote import SshRemote
from host.fleet.ssh_route import find_route
from host.specs.device import Device
from host.workspace import Workspace
from tests.bench_command import bench
from tests.conftest import Sshd
from tests.pseudo_terminal import Terminal


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


Challenge = tuple[str, str, str, Sequence[tuple[str, bool]]]
"""Name, instructions, language and questions of keyboard-interactive."""


class PasswordServer(asyncssh.SSHServer):
    """Lets in whoever knows the password `right`."""

    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return password == "right"


class PlainServer(PasswordServer):
    """Takes the password as such, and asks nothing itself."""

    def kbdint_auth_supported(self) -> bool:
        return False


class CodeServer(PasswordServer):
    """Asks for a password and a code at once, then for a second code in the same words; in its own words."""

    def password_auth_supported(self) -> bool:
        return False

    def kbdint_auth_supported(self) -> bool:
        return True

    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> Challenge:
        return "", "", "", (("Password:", False), ("\x1b[2JCode:", True))

    def validate_kbdint_response(self, username: str, responses: object) -> bool | Challenge:
        if responses == ["right", "1"]:
            return "", "", "", (("\x1b[2JCode:", True),)
        return responses == ["2"]


class LateServer(PlainServer):
    """Ends the first connection while somebody is typing."""

    links: ClassVar[list[asyncssh.SSHServerConnection]] = []

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self.links.append(conn)


@contextmanager
def password_board(kind: type[PasswordServer] = PasswordServer, name: str = "pi4") -> Iterator[Device]:
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
        options: dict[str, Any] = {
            "server_host_keys": [key],
            "server_factory": kind,
            "process_factory": answer,
        }
        async with asyncssh.listen("127.0.0.1", 0, config=None, **options) as server:
            ports.append(server.get_port())
            ready.set()
            await stop.wait()

    stop = asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    ready.wait(20)
    yield Device(
        name=name, host="127.0.0.1", port=ports[0], user="pi", fingerprint=key.get_fingerprint("sha256")
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
    assert prompts == ["pi4 (pi@127.0.0.1) Password: "] * 2


def test_without_a_terminal_no_password_is_asked_for() -> None:
    with password_board() as device, pytest.raises(DeviceError, match=r"the server takes: .*password"):
        is_let_in(device)


def test_without_a_terminal_it_is_said_that_nobody_could_be_asked() -> None:
    with password_board() as device, pytest.raises(DeviceError, match="there is no terminal") as told:
        is_let_in(device)
    assert "ssh-copy-id -p" in str(told.value.hint)


def test_a_password_that_stays_wrong_is_asked_for_three_times() -> None:
    prompts = []

    def answer(prompt: str) -> str:
        prompts.append(prompt)
        return "wrong"

    with password_board(PlainServer) as device, pytest.raises(DeviceError, match="and no password") as told:
        is_let_in(device, ask_password=answer)
    assert len(prompts) == 3
    assert "wrong" not in str(told.value)


def test_whoever_gives_no_password_is_asked_once() -> None:
    prompts = []
    answers = Answers(lambda prompt: prompts.append(prompt))
    with password_board(PlainServer) as device:
        for _ in range(2):
            with pytest.raises(DeviceError), open_answered(device, answers):
                pass
    assert len(prompts) == 1


def test_a_server_that_asks_several_questions_gets_its_answers() -> None:
    said = {
        "pi4 (pi@127.0.0.1) Password: ": "right",
        "pi4 (pi@127.0.0.1) [2JCode: ": "1",
        "pi4 (pi@127.0.0.1) [2JCode: again ": "2",
    }
    prompts = []

    def answer(prompt: str) -> str:
        prompts.append(prompt)
        return said[prompt]

    with password_board(CodeServer) as device:
        assert is_let_in(device, ask_password=answer)
    assert prompts == list(said)


@contextmanager
def open_answered(device: Device, answers: Answers) -> Iterator[SshRemote]:
    """A link that asks as those of one command do."""
    let_person_be_asked(answers.ask)
    try:
        with open_ssh(device) as remote:
            yield remote
    finally:
        ssh_answers._answers.clear()


@pytest.mark.parametrize("kind", [PlainServer, PasswordServer])
def test_a_link_that_is_opened_again_asks_nobody_again(kind: type[PasswordServer]) -> None:
    prompts = []

    def answer(prompt: str) -> str:
        prompts.append(prompt)
        return "right"

    answers = Answers(answer)
    with password_board(kind) as device:
        for _ in range(3):
            with open_answered(device, answers) as remote:
                assert remote.run(["true"]).code == 0
    assert prompts == ["pi4 (pi@127.0.0.1) Password: "]


def test_boards_that_ask_at_once_are_asked_for_one_after_the_other() -> None:
    asking, most, prompts = threading.Semaphore(), [0], []
    inside = []

    def answer(prompt: str) -> str:
        with asking:
            inside.append(prompt)
            most[0] = max(most[0], len(inside))
            prompts.append(inside.pop())
        return "right"

    answers = Answers(answer)
    with password_board(name="a") as one, password_board(name="b") as other:
        let_person_be_asked(answers.ask)
        threads = [
            threading.Thread(target=is_let_in, args=(device,)) for device in (one, other) for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ssh_answers._answers.clear()
    assert sorted(prompts) == ["a (pi@127.0.0.1) Password: ", "b (pi@127.0.0.1) Password: "]
    assert most == [1]


def test_every_command_asks_at_the_terminal(workspace: Workspace) -> None:
    with password_board() as device:
        save_device(workspace, device)
        terminal = Terminal(["-m", "host.cli", "devices", "probe", "pi4"], workspace.root)
        terminal.wait_for("pi4 (pi@127.0.0.1) Password: ")
        terminal.wait_unseen()
        terminal.type("right\n")
        terminal.end()
    assert "the agent ended with exit code 0" in terminal.seen  # this server runs nothing, but lets us in
    assert "right" not in terminal.seen


def test_a_server_that_went_while_somebody_typed_is_asked_again_with_the_answer() -> None:
    prompts = []
    LateServer.links.clear()

    def answer(prompt: str) -> str:
        prompts.append(prompt)
        link = LateServer.links[0]
        link._loop.call_soon_threadsafe(link.abort)
        while not link.is_closed():
            time.sleep(0.01)
        return "right"

    with password_board(LateServer) as device:
        assert is_let_in(device, ask_password=answer)
    assert len(prompts) == 1
    assert len(LateServer.links) == 2


def test_an_agent_that_does_not_answer_is_not_waited_for(
    device: Device, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh_auth, "AGENT_S", 0.2)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(home / "dead"))
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(home / "dead"))
        dead.listen()
        with pytest.raises(DeviceError, match=r"ssh-agent \(does not answer"):
            is_let_in(without_key(device))
        assert device.key_file is not None
        shutil.copy(device.key_file, home / ".ssh" / "id_ed25519")
        assert is_let_in(without_key(device))


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


def test_a_proxy_command_outlives_ctrl_c(tmp_path: Path) -> None:
    script = """
import os, signal, time
from host.fleet.ssh_route import Route
from host.fleet.ssh_socket import open_socket
signal.signal(signal.SIGINT, lambda *_: None)
program = ("/bin/sh", "-c", "echo up; exec cat")
route = Route("a", "h", 22, "u", (), proxy=program)
with open_socket(route, 5) as link:
    assert link.recv(3) == b"up\\n"
    os.killpg(0, signal.SIGINT)
    time.sleep(0.5)
    link.sendall(b"still here")
    print(link.recv(10).decode())
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, start_new_session=True
    )
    assert done.stdout == "still here\n", done.stderr


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


@pytest.mark.sshd
def test_a_file_that_the_config_includes_counts(sshd: Sshd, home: Path) -> None:
    real = sshd.device()
    (home / ".ssh" / "more").mkdir()
    (home / ".ssh" / "more" / "boards").write_text(
        f"Host bench-board\n HostName 127.0.0.1\n Port {real.port}\n IdentityFile {real.key_file}\n"
    )
    write_config(home, "Include more/*\nHost *\n Port 1\n")
    assert is_let_in(Device(name="alias", host="bench-board", fingerprint=real.fingerprint))


def test_an_included_file_leaves_the_block_as_it_was(home: Path) -> None:
    (home / ".ssh" / "more").write_text("Host other\n Port 3333\n")
    write_config(home, "Host board\n Include more\n Port 2222\nInclude nothing-there\n")
    fingerprint = "SHA256:" + "A" * 43
    assert find_route(Device(name="a", host="board", fingerprint=fingerprint)).port == 2222


def test_files_that_include_each_other_come_to_an_end(home: Path) -> None:
    write_config(home, "Include config\nHost board\n Port 2222\n")
    assert find_route(Device(name="a", host="board", fingerprint="SHA256:" + "A" * 43)).port == 2222


@pytest.mark.parametrize(
    ("told", "agent"),
    [
        ("none", None),
        ("SSH_AUTH_SOCK", "/run/agent"),
        ("$OTHER", "/run/other"),
        ("~/own", "HOME/own"),
        ("%d/own", "HOME/own"),
    ],
)
def test_the_agent_of_the_config_is_asked(
    home: Path, monkeypatch: pytest.MonkeyPatch, told: str, agent: str | None
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/agent")
    monkeypatch.setenv("OTHER", "/run/other")
    write_config(home, f"Host *\n IdentityAgent {told}\n")
    found = find_route(Device(name="a", host="board", fingerprint="SHA256:" + "A" * 43)).agent
    assert found == (None if agent is None else agent.replace("HOME", str(home)))


# IPv6.


@pytest.fixture
def sshd_on_ipv6(sshd: Sshd) -> Iterator[Device]:
    """The same sshd once more, on ::1 and a port of its own."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6) as probe:
            port = probe.getsockname()[1]
    except OSError:
        pytest.skip("this machine has no IPv6")
    program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    options = ["-o", "ListenAddress=::1", "-p", str(port), "-f", str(sshd.folder / "sshd_config")]
    with (sshd.folder / "sshd6.log").open("wb") as log:
        process = subprocess.Popen([str(program), "-D", "-e", *options], stderr=log)
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("::1", port), 1):
                break
            time.sleep(0.05)
        yield sshd.device().model_copy(update={"host": "::1", "port": port})
    finally:
        process.terminate()
        process.wait(timeout=10)


@pytest.mark.sshd
def test_an_ipv6_address_is_reached(sshd_on_ipv6: Device) -> None:
    assert is_let_in(sshd_on_ipv6)
    assert fetch_fingerprint("::1", sshd_on_ipv6.port) == sshd_on_ipv6.fingerprint
    closed = sshd_on_ipv6.model_copy(update={"port": 1})
    with pytest.raises(DeviceError, match=r"\[::1\]:1 refuses connections"):
        is_let_in(closed)


@pytest.mark.sshd
def test_a_board_with_an_ipv6_address_is_registered_and_probed(sshd_on_ipv6: Device, tmp_path: Path) -> None:
    device = sshd_on_ipv6
    words = ("--fingerprint", device.fingerprint, "--key", str(device.key_file))
    address = f"{device.user}@[::1]:{device.port}"
    added = bench(tmp_path, "devices", "add", "six", address, *words, "--format", "json")
    assert json.loads(added)["cores"] >= 1
    known = find_device(Workspace(tmp_path), "six")
    assert (known.host, known.port) == ("::1", device.port)
    assert describe_address(known) == address


@pytest.mark.sshd
def test_labels_and_a_price_are_registered_with_a_board(sshd: Sshd, tmp_path: Path) -> None:
    device = sshd.device()
    words = ("--fingerprint", device.fingerprint, "--key", str(device.key_file), "--port", str(sshd.port))
    told = ("--label", "lab", "--label", "arm", "--price", "35.5")
    bench(tmp_path, "devices", "add", "own", f"{device.user}@127.0.0.1", *words, *told)
    known = find_device(Workspace(tmp_path), "own")
    assert (known.labels, known.price) == (("lab", "arm"), 35.5)


@pytest.mark.sshd
def test_any_host_key_of_a_board_may_be_the_one_that_is_given(sshd: Sshd) -> None:
    other = sshd.device(host_key="ssh_host_ecdsa_key").fingerprint
    first = fetch_fingerprint("127.0.0.1", sshd.port)
    assert first == sshd.device().fingerprint
    assert fetch_fingerprint("127.0.0.1", sshd.port, expected=other) == other
    assert fetch_fingerprint("127.0.0.1", sshd.port, expected="SHA256:" + "A" * 43) == first


@pytest.mark.parametrize(("jump", "target"), [("[::1]:2200", "::1"), ("me@[fe80::1]:22", "me@fe80::1")])
def test_a_jump_host_may_have_an_ipv6_address(home: Path, jump: str, target: str) -> None:
    write_config(home, f"Host *\n ProxyJump {jump}\n")
    route = find_route(Device(name="a", host="::2", fingerprint="SHA256:" + "A" * 43))
    assert route.proxy is not None
    assert (route.proxy[-1], route.proxy[-2]) == (target, "[::2]:22")
