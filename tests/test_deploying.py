"""Files reach a board whole, once, and only when they are missing: with the real agent at the other end."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from device_agent import protocol
from host.compress.weight_packing import pack_model
from host.errors import BuildError, DeviceError, LinkLost
from host.fleet.agent_archive import build_agent
from host.fleet.deploying import NOTHING_PACKED, SPARE_BYTES, Deployment, deploy
from host.fleet.probing import bootstrap_agent
from host.fleet.remote import Completed, Remote
from host.fleet.ssh import open_ssh
from host.progress import Silent
from host.specs.artifact import Blob
from host.specs.device import Device
from tests.local_remote import BrittleRemote, LocalRemote
from tests.made_blobs import make_blob, make_layer
from tests.tiny_plans import Watched

MEGABYTE = 1 << 20
DEVICE = Device(name="pi4", host="h", fingerprint="SHA256:" + "A" * 43)


class Bench:
    """A host's cache, a board without a network between them, and the agent on it."""

    def __init__(self, root: Path) -> None:
        self.cache = root / "cache"
        self.home = root / "board"
        self.home.mkdir()
        self.work = self.home / ".boardbench"
        self.remote = LocalRemote("pi4", self.home)
        self.agent = build_agent(self.cache)
        bootstrap_agent(self.remote, DEVICE, self.agent)

    def deploy(
        self,
        blobs: Sequence[Blob] = (),
        layer: Blob | None = None,
        remote: Remote | None = None,
        packed: Mapping[str, Blob] = NOTHING_PACKED,
    ) -> Deployment:
        return deploy(remote or self.remote, DEVICE, self.agent, blobs, layer, Silent(), packed)

    def blob(self, content: bytes) -> Blob:
        return make_blob(self.cache / "blobs", content)

    def arrived(self, blob: Blob) -> bytes:
        return (self.work / "blobs" / blob.sha256).read_bytes()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture(scope="module")
def shared_bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """One for the tests that leave nothing on the board."""
    return Bench(tmp_path_factory.mktemp("shared"))


def test_files_arrive_whole_and_nothing_else_is_left(bench: Bench) -> None:
    contents = [os.urandom(3 * MEGABYTE + 7), b"", b"{}\n{}\n", os.urandom(100)]
    blobs = [bench.blob(content) for content in contents]
    deployment = bench.deploy(blobs)
    assert [bench.arrived(blob) for blob in blobs] == contents
    assert len(list((bench.work / "blobs").iterdir())) == 4
    assert deployment.blobs_sent == 4
    assert 0 <= deployment.bytes_sent - sum(map(len, contents)) < 2000


def test_a_second_deployment_sends_no_payload(bench: Bench) -> None:
    blobs = [bench.blob(os.urandom(MEGABYTE)), bench.blob(b"small")]
    layer = make_layer(bench.cache)
    bench.deploy(blobs, layer)
    again = bench.deploy(blobs, layer)
    assert again.blobs_sent == 0
    assert again.bytes_sent < 1000


def test_a_file_that_is_wanted_twice_is_sent_once(bench: Bench) -> None:
    blob = bench.blob(os.urandom(1000))
    assert bench.deploy([blob, blob]).blobs_sent == 1


def test_a_file_of_the_wrong_size_on_the_board_is_not_taken_for_the_right_one(bench: Bench) -> None:
    blob = bench.blob(os.urandom(1000))
    bench.deploy([blob])
    (bench.work / "blobs" / blob.sha256).write_bytes(b"cut")
    assert bench.deploy([blob]).blobs_sent == 1
    assert bench.arrived(blob) == blob.path.read_bytes()


def test_a_layer_is_unpacked_and_its_archive_gone(bench: Bench) -> None:
    layer = make_layer(bench.cache)
    bench.deploy(layer=layer)
    assert (bench.work / "layers" / layer.sha256 / "package/__init__.py").read_bytes() == b"x" * 12
    assert not (bench.work / "blobs" / layer.sha256).exists()


def test_a_layer_that_arrived_before_the_link_broke_is_only_unpacked(bench: Bench) -> None:
    layer = make_layer(bench.cache)
    bench.deploy([layer])
    deployment = bench.deploy(layer=layer)
    assert deployment.blobs_sent == 0
    assert (bench.work / "layers" / layer.sha256).is_dir()


def test_a_layer_that_points_outside_is_refused_and_writes_nothing(bench: Bench) -> None:
    layer = make_layer(bench.cache, name="../../escaped")
    with pytest.raises(DeviceError, match="escaped"):
        bench.deploy(layer=layer)
    assert not list(bench.home.rglob("escaped"))


@pytest.mark.parametrize("cut_at", [1, 40, 1500, MEGABYTE + 5000, 3 * MEGABYTE])
def test_a_transfer_that_was_cut_goes_on_where_it_stopped(bench: Bench, cut_at: int) -> None:
    first, second = bench.blob(os.urandom(1000)), bench.blob(os.urandom(4 * MEGABYTE))
    with pytest.raises(LinkLost):
        bench.deploy([first, second], remote=BrittleRemote(bench.remote, bytes_left=cut_at))
    deployment = bench.deploy([first, second])
    assert [bench.arrived(blob) for blob in (first, second)] == [
        first.path.read_bytes(),
        second.path.read_bytes(),
    ]
    assert deployment.bytes_sent < first.size + second.size - cut_at + 2000


def test_a_bit_that_flips_on_the_way_is_sent_again(bench: Bench) -> None:
    blobs = [bench.blob(os.urandom(MEGABYTE)) for _ in range(3)]
    deployment = bench.deploy(blobs, remote=BrittleRemote(bench.remote, flip_at=MEGABYTE + 5000))
    assert [bench.arrived(blob) for blob in blobs] == [blob.path.read_bytes() for blob in blobs]
    assert 4 * MEGABYTE < deployment.bytes_sent < 4 * MEGABYTE + 2000


class Corrupting(BrittleRemote):
    """A way that damages every transfer."""

    def send(self, argv: Sequence[str], chunks: object, *, timeout: float = 60.0) -> Completed:
        self.flip_at = 500
        return super().send(argv, chunks, timeout=timeout)  # type: ignore[arg-type]


def test_a_way_that_damages_everything_is_an_error_after_two_tries(bench: Bench) -> None:
    blob = bench.blob(os.urandom(10_000))
    with pytest.raises(DeviceError, match="arrived damaged twice"):
        bench.deploy([blob], remote=Corrupting(bench.remote))
    assert not list((bench.work / "blobs").iterdir())


def test_a_beginning_that_was_damaged_is_sent_again_from_its_start(bench: Bench) -> None:
    blob = bench.blob(os.urandom(10_000))
    with pytest.raises(LinkLost):
        bench.deploy([blob], remote=BrittleRemote(bench.remote, bytes_left=6000, flip_at=3000))
    bench.deploy([blob])
    assert bench.arrived(blob) == blob.path.read_bytes()


@pytest.mark.parametrize("content", [b"changed", b"x" * 10_000, b""], ids=["shorter", "other", "empty"])
def test_a_cached_file_that_changed_on_the_host_is_named(bench: Bench, content: bytes) -> None:
    blob = bench.blob(os.urandom(10_000))
    blob.path.write_bytes(content)
    with pytest.raises(BuildError, match="not the file that was built"):
        bench.deploy([blob])


def test_a_cached_file_that_is_gone_is_named(bench: Bench) -> None:
    blob = bench.blob(b"soon gone")
    blob.path.unlink()
    with pytest.raises(BuildError, match="cannot be read"):
        bench.deploy([blob])


class Answering(LocalRemote):
    """A board whose answer to one command is forged."""

    def __init__(self, home: Path, word: str, answer: bytes, errors: bytes = b"", code: int = 0) -> None:
        super().__init__("pi4", home)
        self.word, self.answer, self.errors, self.code = word, answer, errors, code

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 30.0) -> Completed:
        if self.word in argv:
            return Completed(self.answer, self.errors, self.code)
        return super().run(argv, stdin=stdin, timeout=timeout)

    def send(self, argv: Sequence[str], chunks: object, *, timeout: float = 60.0) -> Completed:
        if self.word in argv:
            for _ in chunks:  # type: ignore[attr-defined]
                pass
            return Completed(self.answer, self.errors, self.code)
        return super().send(argv, chunks, timeout=timeout)  # type: ignore[arg-type]


def inventory(free_bytes: object, **told: object) -> bytes:
    return json.dumps({"blobs": {}, "parts": {}, "layers": [], **told, "free_bytes": free_bytes}).encode()


def test_a_full_disk_is_named_with_its_numbers_before_anything_is_sent(bench: Bench) -> None:
    blob, layer = bench.blob(os.urandom(3 * MEGABYTE)), make_layer(bench.cache, size=2 * MEGABYTE)
    remote = Answering(bench.home, "inventory", inventory(SPARE_BYTES + 4 * MEGABYTE))
    with pytest.raises(DeviceError) as caught:
        bench.deploy([blob], layer, remote=remote)
    assert "disk full" in caught.value.message
    assert "5.2 MB" in caught.value.message
    assert "37.7 MB are free" in caught.value.message
    assert not (bench.work / "blobs").exists()


def test_a_full_disk_does_not_matter_where_nothing_is_missing(bench: Bench) -> None:
    blob = bench.blob(b"there")
    remote = Answering(bench.home, "inventory", inventory(0, blobs={blob.sha256: blob.size}))
    assert bench.deploy([blob], remote=remote).blobs_sent == 0


def test_a_disk_that_fills_while_receiving_is_named(bench: Bench) -> None:
    blob = bench.blob(b"content")
    error = {"kind": "no-space", "message": "[Errno 28] No space left on device"}
    receipt = json.dumps({"sha256": blob.sha256, "ok": False, "error": error}).encode()
    with pytest.raises(DeviceError, match="is full"):
        bench.deploy([blob], remote=Answering(bench.home, "receive", receipt))


def test_a_full_disk_offers_to_clean_what_no_run_needs(bench: Bench) -> None:
    old = bench.blob(os.urandom(2 * MEGABYTE))
    bench.deploy([old])
    remote = Answering(bench.home, "inventory", inventory(0))
    with pytest.raises(DeviceError) as caught:
        bench.deploy([bench.blob(b"new")], remote=remote)
    assert "`bench clean --device pi4 --keep 0` would free 2.1 MB." in (caught.value.hint or "")
    assert bench.arrived(old)


def test_a_board_that_heard_nothing_for_too_long_is_a_lost_link(bench: Bench) -> None:
    error = {"kind": protocol.ERROR_STALLED, "message": "nothing arrived for 45 s"}
    remote = Answering(bench.home, "receive", json.dumps({"error": error}).encode(), code=protocol.EXIT_FAULT)
    with pytest.raises(LinkLost, match="pi4: nothing arrived for 45 s: the board gave up"):
        bench.deploy([bench.blob(b"content")], remote=remote)


class Held(Answering):
    """A board on which another host sends the same file, and is done after some answers."""

    def __init__(self, home: Path, blob: Blob, sizes: Sequence[int]) -> None:
        error = {"kind": protocol.ERROR_LOCKED, "message": "another transfer writes the same blob"}
        receipt = json.dumps({"sha256": blob.sha256, "ok": False, "error": error}).encode()
        super().__init__(home, "receive", receipt)
        self.blob, self.sizes = blob, [*sizes]

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 30.0) -> Completed:
        if "inventory" in argv:
            size = self.sizes.pop(0)
            there = "blobs" if size == self.blob.size else "parts"
            return Completed(inventory(10**9, **{there: {self.blob.sha256: size}}), b"", 0)
        return super().run(argv, stdin=stdin, timeout=timeout)


def test_another_host_that_sends_the_same_file_is_waited_for_while_it_grows(bench: Bench) -> None:
    blob, progress = bench.blob(b"x" * 100), Watched()
    remote = Held(bench.home, blob, [10, 20, 100])
    deployment = deploy(remote, DEVICE, bench.agent, [blob], None, progress)
    assert deployment.blobs_sent == 0
    assert progress.said == ["pi4: another host sends the same files; waiting for them"] * 2


def test_a_file_that_is_held_and_does_not_grow_is_an_error_that_says_what_to_wait_for(bench: Bench) -> None:
    blob = bench.blob(b"x" * 100)
    with pytest.raises(DeviceError, match="another transfer writes the same blob") as caught:
        bench.deploy([blob], remote=Held(bench.home, blob, [10, 20, 20]))
    assert f"ends by itself after {protocol.STALL_S:g} s" in (caught.value.hint or "")


def test_two_hosts_at_once_leave_every_file_whole_once(bench: Bench) -> None:
    same = [bench.blob(os.urandom(3 * MEGABYTE)) for _ in range(2)]
    layer = make_layer(bench.cache, size=300_000)
    hosts = [DEVICE.model_copy(update={"name": name}) for name in ("ann", "bob", "carl")]
    own = {host.name: bench.blob(os.urandom(MEGABYTE)) for host in hosts}

    def send(host: Device) -> Deployment:
        remote, blobs = LocalRemote(host.name, bench.home), [*same, own[host.name]]
        return deploy(remote, host, bench.agent, blobs, layer, Silent())

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(send, hosts))
    files = [*same, *own.values()]
    assert sorted(path.name for path in (bench.work / "blobs").iterdir()) == sorted(
        blob.sha256 for blob in files
    )
    assert all(bench.arrived(blob) == blob.path.read_bytes() for blob in files)
    assert [path.name for path in (bench.work / "layers").iterdir()] == [layer.sha256]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_work_folder_that_cannot_be_written_is_named(bench: Bench) -> None:
    (bench.work / "blobs").mkdir(mode=0o500)
    with pytest.raises(DeviceError, match="cannot be written"):
        bench.deploy([bench.blob(b"content")])


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"[]",
        b"[" * 100_000,
        inventory("many"),
        inventory(-1),
        inventory(None),
        inventory(1e9, blobs=[]),
        inventory(10**9, parts={"../../../etc/passwd": 3}),
        inventory(10**9, layers=["/"]),
        inventory(10**9, blobs={"a" * 64: "12"}),
    ],
    ids=lambda answer: repr(answer)[:40],
)
def test_a_forged_inventory_is_refused(shared_bench: Bench, answer: bytes) -> None:
    with pytest.raises(DeviceError) as caught:
        shared_bench.deploy(
            [shared_bench.blob(b"content")], remote=Answering(shared_bench.home, "inventory", answer)
        )
    assert len(str(caught.value)) < protocol.MAX_TEXT + 500


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"garbage",
        b"\xff" * 1000,
        b"{}",
        b'{"sha256": "../x", "ok": true}',
        json.dumps({"sha256": "a" * 64, "ok": True}).encode(),
        json.dumps({"sha256": "a" * 64, "ok": "yes"}).encode(),
    ],
    ids=lambda answer: repr(answer)[:40],
)
def test_a_forged_receipt_is_refused(shared_bench: Bench, answer: bytes) -> None:
    with pytest.raises(DeviceError):
        shared_bench.deploy(
            [shared_bench.blob(b"content")], remote=Answering(shared_bench.home, "receive", answer)
        )


@pytest.mark.parametrize("word", ["inventory", "receive"])
def test_words_of_a_board_do_nothing_to_the_terminal(shared_bench: Bench, word: str) -> None:
    told = inventory(10**9, parts={"\x1b]0;title\x07": 3}) if word == "inventory" else b""
    remote = Answering(shared_bench.home, word, told, errors=b"\x1b]0;title\x07")
    with pytest.raises(DeviceError, match="title") as caught:
        shared_bench.deploy([shared_bench.blob(b"content")], remote=remote)
    assert str(caught.value).replace("\n", " ").isprintable()


@pytest.fixture
def packable(bench: Bench) -> tuple[Blob, Blob]:
    """A file that packs to a small part of itself, and its packed form."""
    content = os.urandom(20_000) + bytes(MEGABYTE)
    return bench.blob(content), bench.blob(pack_model(content).data)


def test_a_packed_model_is_sent_and_the_board_restores_the_file(
    bench: Bench, packable: tuple[Blob, Blob]
) -> None:
    model, packed = packable
    other = bench.blob(b"an evaluation set")
    deployment = bench.deploy([model, other], packed={model.sha256: packed})
    assert bench.arrived(model) == model.path.read_bytes()
    assert sorted(path.name for path in (bench.work / "blobs").iterdir()) == sorted(
        [model.sha256, other.sha256]
    )
    assert deployment.blobs_sent == 2
    assert packed.size < deployment.bytes_sent < packed.size + 2000
    again = bench.deploy([model, other], packed={model.sha256: packed})
    assert (again.blobs_sent, again.bytes_sent < 1000) == (0, True)


def test_a_packed_model_that_is_hardly_smaller_is_not_sent(bench: Bench) -> None:
    content = os.urandom(100_000)
    model, packed = bench.blob(content), bench.blob(pack_model(content).data)
    assert bench.deploy([model], packed={model.sha256: packed}).bytes_sent > model.size
    assert [path.name for path in (bench.work / "blobs").iterdir()] == [model.sha256]


class Unable(LocalRemote):
    """A board whose Python has no lzma."""

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 30.0) -> Completed:
        if "expand" in argv:
            argv = ["/usr/bin/env", f"PYTHONPATH={self.home / 'poor'}", *argv]
        return super().run(argv, stdin=stdin, timeout=timeout)


def test_a_board_that_cannot_expand_gets_the_file_as_it_is(bench: Bench, packable: tuple[Blob, Blob]) -> None:
    model, packed = packable
    (bench.home / "poor").mkdir()
    (bench.home / "poor" / "lzma.py").write_text("raise ImportError")
    deployment = bench.deploy([model], remote=Unable("pi4", bench.home), packed={model.sha256: packed})
    assert bench.arrived(model) == model.path.read_bytes()
    assert [path.name for path in (bench.work / "blobs").iterdir()] == [model.sha256]
    assert deployment.blobs_sent == 2
    assert 0 <= deployment.bytes_sent - model.size - packed.size < 2000


@pytest.mark.parametrize("answer", [b"{}", b"garbage", json.dumps({"sha256": "a" * 64}).encode()])
def test_a_board_that_expands_something_else_gets_the_file_as_it_is(
    bench: Bench, packable: tuple[Blob, Blob], answer: bytes
) -> None:
    model, packed = packable
    remote = Answering(bench.home, "expand", answer)
    bench.deploy([model], remote=remote, packed={model.sha256: packed})
    assert bench.arrived(model) == model.path.read_bytes()


def test_a_cut_transfer_of_a_packed_model_goes_on(bench: Bench, packable: tuple[Blob, Blob]) -> None:
    model, packed = packable
    with pytest.raises(LinkLost):
        bench.deploy(
            [model],
            remote=BrittleRemote(bench.remote, bytes_left=15_000),
            packed={model.sha256: packed},
        )
    deployment = bench.deploy([model], packed={model.sha256: packed})
    assert bench.arrived(model) == model.path.read_bytes()
    assert deployment.bytes_sent < packed.size - 13_000


class LosingAfterwards(LocalRemote):
    """A link that breaks just before the packed model is expanded."""

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 30.0) -> Completed:
        if "expand" in argv:
            raise LinkLost("pi4: the link broke")
        return super().run(argv, stdin=stdin, timeout=timeout)


def test_a_packed_model_that_arrived_before_the_link_broke_is_only_expanded(
    bench: Bench, packable: tuple[Blob, Blob]
) -> None:
    model, packed = packable
    with pytest.raises(LinkLost):
        bench.deploy([model], remote=LosingAfterwards("pi4", bench.home), packed={model.sha256: packed})
    deployment = bench.deploy([model], packed={model.sha256: packed})
    assert bench.arrived(model) == model.path.read_bytes()
    assert (deployment.blobs_sent, deployment.bytes_sent < 1000) == (0, True)


def test_over_ssh_a_board_gets_files_and_layer_once(device: Device, tmp_path: Path) -> None:
    agent = build_agent(tmp_path)
    blobs = [make_blob(tmp_path / "blobs", os.urandom(size)) for size in (5 * MEGABYTE + 1, 0, 10)]
    layer = make_layer(tmp_path, size=100_000 + int.from_bytes(os.urandom(2)))
    with open_ssh(device) as remote:
        bootstrap_agent(remote, device, agent)
        first = deploy(remote, device, agent, blobs, layer, Silent())
        second = deploy(remote, device, agent, blobs, layer, Silent())
    assert first.blobs_sent == 4
    assert second.blobs_sent == 0
    assert second.bytes_sent < 64 * 1024


def test_over_ssh_a_cut_transfer_goes_on(device: Device, tmp_path: Path) -> None:
    # Both sides buffer a few megabytes: only what is beyond them is surely on the board when the link breaks.
    agent, blob = build_agent(tmp_path), make_blob(tmp_path, os.urandom(12 * MEGABYTE))
    with open_ssh(device) as remote:
        bootstrap_agent(remote, device, agent)
        with pytest.raises(LinkLost):
            deploy(BrittleRemote(remote, bytes_left=10 * MEGABYTE), device, agent, [blob], None, Silent())
    with open_ssh(device) as remote:
        again = deploy(remote, device, agent, [blob], None, Silent())
        whole = deploy(remote, device, agent, [blob], None, Silent())
    assert again.blobs_sent == 1
    assert again.bytes_sent < blob.size
    assert whole.blobs_sent == 0
