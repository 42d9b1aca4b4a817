"""Connections to real SSH servers: what they carry, and how they fail."""

from __future__ import annotations

import hashlib
import io
import os
import socket
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import paramiko
import psutil
import pytest

from host.errors import DeviceError, LinkLost
from host.fleet.ssh import fetch_fingerprint, open_ssh
from host.fleet.ssh_intake import Intake, Lines, show_text
from host.specs.device import Device
from tests.conftest import Sshd
from tests.relay import relayed


def read_all(lines: Generator[bytes, None, int]) -> tuple[list[bytes], int]:
    """Every line of a stream, and its exit status."""
    found = []
    while True:
        try:
            found.append(next(lines))
        except StopIteration as end:
            return found, end.value


# What a connection carries.


def test_output_errors_and_status_come_back(device: Device) -> None:
    with open_ssh(device) as remote:
        done = remote.run(["sh", "-c", "echo out; echo err >&2; exit 7"])
    assert done == (b"out\n", b"err\n", 7)


def test_a_command_killed_by_a_signal_has_status_minus_one(device: Device) -> None:
    with open_ssh(device) as remote:
        assert remote.run(["sh", "-c", "kill -9 $$"]).code == -1
        assert remote.run(["echo", "still here"]).stdout == b"still here\n"


def test_words_reach_the_command_unchanged(device: Device) -> None:
    words = ["$HOME", "`id`", "a'b", 'a"b', "a\\b", "", "*", "a\nb", "ü", "-n"]
    with open_ssh(device) as remote:
        done = remote.run(["printf", "[%s]\\0", *words])
    assert done.stdout.decode() == "".join(f"[{word}]\0" for word in words)


def test_every_byte_of_input_arrives(device: Device) -> None:
    data = bytes(range(256)) * 4096
    with open_ssh(device) as remote:
        assert remote.run(["cat"], stdin=data).stdout == data


def test_what_is_sent_arrives_whole(device: Device) -> None:
    chunks = [os.urandom(size) for size in (1, 32703, 32704, 32705, 3_000_000)]
    with open_ssh(device) as remote:
        done = remote.send(["sha256sum"], iter(chunks))
    assert done.stdout.split()[0].decode() == hashlib.sha256(b"".join(chunks)).hexdigest()


def test_a_command_that_ends_before_its_input_still_answers(device: Device) -> None:
    with open_ssh(device) as remote:
        done = remote.send(["sh", "-c", "echo no room; exit 5"], (bytes(100_000) for _ in range(100)))
    assert (done.stdout, done.code) == (b"no room\n", 5)


def test_a_local_file_that_cannot_be_read_is_no_fault_of_the_link(emulated_device: Device) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"some"
        yield Path("/no/such/file").read_bytes()

    with open_ssh(emulated_device) as remote:
        with pytest.raises(FileNotFoundError):
            remote.send(["cat"], chunks())
        assert remote.run(["true"]).code == 0


def test_a_command_that_answers_while_it_reads_is_not_held_up(device: Device) -> None:
    with open_ssh(device) as remote:
        done = remote.send(["sh", "-c", "tee /dev/stderr | wc -c"], (bytes(100_000) for _ in range(100)))
    assert int(done.stdout) == 10_000_000
    assert len(done.stderr) < 100_000  # only its end is kept


def test_lines_come_as_they_are_written(device: Device) -> None:
    with open_ssh(device) as remote:
        lines = remote.stream(["sh", "-c", "echo one; echo; read x; printf two; exit 4"], idle_timeout=20)
        assert next(lines) == b"one"  # the command waits for input that never comes
        assert next(lines) == b""
        lines.close()
        found, code = read_all(remote.stream(["sh", "-c", "echo one; printf two; exit 4"], idle_timeout=20))
    assert (found, code) == ([b"one", b"two"], 4)


def test_closing_a_stream_ends_the_command(device: Device) -> None:
    with open_ssh(device) as remote:
        loop = "echo $$; while echo tick; do sleep 0.05; done"
        lines = remote.stream(["sh", "-c", loop], idle_timeout=20)
        pid = int(next(lines))
        assert psutil.pid_exists(pid)
        lines.close()
        assert remote.run(["echo", "the link is still good"]).code == 0
        _, alive = psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=10)
    assert not alive


def test_a_quiet_command_is_not_a_dead_link(device: Device) -> None:
    with open_ssh(device) as remote:
        found, code = read_all(remote.stream(["sh", "-c", "sleep 2; echo done"], idle_timeout=0.8))
    assert (found, code) == ([b"done"], 0)


@pytest.mark.sshd
def test_a_status_that_does_not_come_is_not_waited_for(sshd_device: Device) -> None:
    with open_ssh(sshd_device) as remote, pytest.raises(LinkLost):
        read_all(remote.stream(["sh", "-c", "echo one; exec >&- 2>&-; sleep 60"], idle_timeout=0.5))


@pytest.mark.sshd
def test_what_a_login_shell_prints_is_no_part_of_the_answer(sshd: Sshd) -> None:
    with open_ssh(sshd.device("noisy")) as remote:
        assert remote.run(["echo", "{}"]).stdout == b"{}\n"
        assert read_all(remote.stream(["echo", "{}"], idle_timeout=20)) == ([b"{}"], 0)


@pytest.mark.sshd
def test_an_account_that_runs_nothing_is_told_with_its_words(sshd: Sshd) -> None:
    with open_ssh(sshd.device("closed")) as remote, pytest.raises(DeviceError, match="not available") as told:
        remote.run(["echo", "{}"])
    assert "shell" in str(told.value)


def test_sending_is_about_as_fast_as_sftp_or_faster(device: Device, tmp_path: Path) -> None:
    data = os.urandom(24 * 1024 * 1024)

    def rate_of_sftp(remote: object) -> float:
        with paramiko.SFTPClient.from_transport(remote._link) as client:  # type: ignore[attr-defined,union-attr]
            began = time.perf_counter()
            client.putfo(io.BytesIO(data), str(tmp_path / "sent"), confirm=False)
            took = time.perf_counter() - began
            client.remove(str(tmp_path / "sent"))
        return 1 / took

    def rate_of_send(remote: object) -> float:
        began = time.perf_counter()
        remote.send(["sh", "-c", "cat > /dev/null"], [data])  # type: ignore[attr-defined]
        return 1 / (time.perf_counter() - began)

    with open_ssh(device) as remote:
        pairs = [(rate_of_send(remote), rate_of_sftp(remote)) for _ in range(3)]
    assert any(send >= 0.8 * sftp for send, sftp in pairs)


# How a connection fails.


def test_a_command_that_does_not_end_is_late_and_the_link_stays_good(device: Device) -> None:
    with open_ssh(device) as remote:
        with pytest.raises(LinkLost, match="did not end within"):
            remote.run(["sleep", "60"], timeout=0.3)
        assert remote.run(["echo", "again"]).stdout == b"again\n"


def test_a_command_that_takes_no_input_is_late(device: Device) -> None:
    with open_ssh(device) as remote, pytest.raises(LinkLost, match="takes no more input"):
        remote.send(["sleep", "60"], (bytes(1_000_000) for _ in range(100)), timeout=0.5)


def test_an_answer_without_end_is_refused(device: Device) -> None:
    with open_ssh(device) as remote, pytest.raises(DeviceError, match="more than"):
        remote.run(["cat", "/dev/zero"])


@pytest.mark.parametrize("trouble", ["cut", "freeze"])
def test_a_link_that_breaks_while_following_is_lost(device: Device, trouble: str) -> None:
    with relayed(device) as (far, relay), open_ssh(far) as remote:
        lines = remote.stream(["sh", "-c", "echo one; sleep 60"], idle_timeout=1)
        assert next(lines) == b"one"
        getattr(relay, trouble)()
        with pytest.raises(LinkLost):
            next(lines)


@pytest.mark.parametrize("trouble", ["cut", "freeze"])
def test_a_link_that_breaks_while_sending_is_lost(emulated_device: Device, trouble: str) -> None:
    with relayed(emulated_device) as (far, relay), open_ssh(far) as remote:

        def chunks() -> Iterator[bytes]:
            yield bytes(1_000_000)
            getattr(relay, trouble)()
            yield from (bytes(1_000_000) for _ in range(100))

        with pytest.raises(LinkLost):
            remote.send(["sh", "-c", "cat > /dev/null"], chunks(), timeout=0.5)


def test_closing_a_channel_of_a_link_that_just_broke_hides_nothing(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = paramiko.Channel.close

    def close_too_late(channel: paramiko.Channel) -> None:
        close(channel)
        raise EOFError

    monkeypatch.setattr(paramiko.Channel, "close", close_too_late)
    with open_ssh(device) as remote:
        assert remote.run(["echo", "done"]).stdout == b"done\n"


def test_a_link_that_breaks_while_a_command_runs_is_lost(device: Device) -> None:
    with relayed(device) as (far, relay), open_ssh(far) as remote:
        cutter = threading.Timer(0.3, relay.cut)
        cutter.start()
        with pytest.raises(LinkLost, match="broke"):
            remote.run(["sleep", "60"])
        cutter.join()


def test_a_closed_port_says_that_no_server_listens(emulated_device: Device) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but it does not listen
        device = emulated_device.model_copy(update={"port": taken.getsockname()[1]})
        with pytest.raises(LinkLost, match="refuses connections") as told, open_ssh(device):
            pass
    assert "start it" in str(told.value)


def test_an_unknown_host_name_is_told(emulated_device: Device) -> None:
    device = emulated_device.model_copy(update={"host": "no-such-board.invalid"})
    with pytest.raises(DeviceError, match=r"no-such-board\.invalid.*cannot be resolved"), open_ssh(device):
        pass


@contextmanager
def answering(text: bytes, device: Device) -> Iterator[Device]:
    """A device whose server says `text` to whoever comes, and then listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            client, _ = listener.accept()
            with client:
                client.sendall(text)
                client.settimeout(10)
                while client.recv(4096):
                    pass

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield device.model_copy(update={"port": listener.getsockname()[1]})
        thread.join()


@pytest.mark.parametrize("greeting", [b"", b"SSH-2.0-Half\r\n"])
def test_a_server_that_says_no_more_times_out(emulated_device: Device, greeting: bytes) -> None:
    with (
        answering(greeting, emulated_device) as device,
        pytest.raises(LinkLost, match=r"says nothing for 0\.5 s"),
        open_ssh(device, timeout=0.5),
    ):
        pass


def test_a_server_of_another_kind_is_told_apart(emulated_device: Device) -> None:
    with (
        answering(b"220 mail\r\n" * 100, emulated_device) as device,
        pytest.raises(DeviceError, match="is no SSH server"),
        open_ssh(device, timeout=2),
    ):
        pass


def test_a_changed_host_key_shows_both_fingerprints(device: Device) -> None:
    pinned = "SHA256:" + "A" * 43
    changed = device.model_copy(update={"fingerprint": pinned})
    with pytest.raises(DeviceError, match="has changed") as told, open_ssh(changed):
        pass
    assert pinned in str(told.value)
    assert device.fingerprint in str(told.value)
    assert f"bench devices remove {device.name}" in str(told.value)


@pytest.mark.sshd
def test_any_host_key_of_the_server_may_be_the_pinned_one(sshd: Sshd) -> None:
    with open_ssh(sshd.device(host_key="ssh_host_ecdsa_key")) as remote:
        assert remote.run(["true"]).code == 0


def test_the_fingerprint_that_is_fetched_is_the_pinned_one(device: Device) -> None:
    assert fetch_fingerprint(device.host, device.port) == device.fingerprint


def test_nothing_is_written_to_stderr_when_a_link_breaks(
    emulated_device: Device, capfd: pytest.CaptureFixture[str]
) -> None:
    with relayed(emulated_device) as (far, relay), open_ssh(far) as remote:
        relay.cut()
        with pytest.raises(LinkLost):
            remote.run(["true"])
    assert capfd.readouterr().err == ""


def test_no_thread_outlives_its_connection(emulated_device: Device) -> None:
    before = set(threading.enumerate())
    with open_ssh(emulated_device) as remote:
        remote.run(["true"])
    with pytest.raises(DeviceError), open_ssh(emulated_device.model_copy(update={"user": "nobody-here"})):
        pass
    assert set(threading.enumerate()) <= before


# The pure parts.


def test_the_mark_is_found_however_the_bytes_are_cut() -> None:
    whole = b"noise MARK\nanswer\nMARK\n"
    for size in range(1, len(whole)):
        intake = Intake("pi4", b"MARK", 100)
        for start in range(0, len(whole), size):
            intake.feed(whole[start : start + size])
        assert intake.take() == b"answer\nMARK\n"


def test_a_line_beyond_the_limit_is_refused() -> None:
    lines = Lines("pi4", 10)
    assert list(lines.feed(b"0123456789\n01234")) == [b"0123456789"]
    with pytest.raises(DeviceError, match="pi4: a line from the board has more than 10 bytes"):
        list(lines.feed(b"567890"))


def test_text_from_a_board_does_nothing_to_the_terminal() -> None:
    assert show_text(b"\x1b[31mred\x07 \xff\n") == " [31mred  \ufffd"


def test_long_text_from_a_board_keeps_its_end() -> None:
    assert show_text(b"x" * 9000 + b"end", limit=10) == "xxxxxxxend"


def test_the_key_file_may_lie_in_the_home_folder(
    emulated_device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert emulated_device.key_file is not None
    (tmp_path / "key").write_bytes(Path(emulated_device.key_file).read_bytes())
    monkeypatch.setenv("HOME", str(tmp_path))
    with open_ssh(emulated_device.model_copy(update={"key_file": "~/key"})) as remote:
        assert remote.run(["true"]).code == 0
