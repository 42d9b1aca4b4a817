"""How fast files get to a board, beside paramiko's own SFTP on the same connection; and a second deploy.

The real layer is sent, on the emulated board and, where this machine has it, behind OpenSSH's sshd. A pair is
one deployment into a fresh work folder and one `SFTPClient.put` of the same file over the same connection;
which comes first alternates, and the median of the pairs' ratios counts. The payload's time is that of the
step that the progress shows as sending: starting the agent, sending, hashing, writing and syncing on the
board, and the receipt; SFTP opens, writes, and asks for the size. The whole deployment, which asks first what
is there, is told beside it. Assembling the layer is left out, and so is unpacking it: SFTP does neither.

Then `bench deploy` is run twice as a process, on a board that is new: the second must have next to nothing
to send, and be done soon.

Behind OpenSSH, 60 MB are also deployed as a new board gets them, from connecting to the last receipt, beside
`scp` of the same file to the same server; once random bytes, once float32 weights as a model has them. Then
to eight boards at once from this one process: all of them are accounts of the same machine here, so that
their decrypting, hashing and writing shares its cores with our sending. And once more to a board that has it
all.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
from bench_command import call_bench
from figures import Figure, at_least, at_most, below, build_parser, fact, tell
from openssh import find_sshd, run_sshd
from paramiko import SFTPClient

from host.fleet import emulator
from host.fleet.agent_archive import build_agent
from host.fleet.deploying import Deployment, deploy
from host.fleet.layers import assemble_layer
from host.fleet.probing import bootstrap_agent, probe_board
from host.fleet.remote import Remote
from host.fleet.ssh_auth import authenticate
from host.fleet.ssh_link import Link, open_pinned_link
from host.fleet.ssh_remote import SshRemote
from host.fleet.ssh_route import find_route
from host.progress import Silent, Tick
from host.specs.artifact import Blob
from host.specs.device import Device
from host.workspace import Workspace, find_root

RATIO = 0.8
SECOND_S = 2.0
SECOND_KIB = 64.0
SCP_RATIO = 1.5
EIGHT_RATIO = 2.5
WARM_S = 1.0
BOARDS = 8
PAYLOAD_BYTES = 60_000_000
NAME = "benchmark"
PACKAGES = ("numpy", "onnxruntime", "psutil")


def main() -> int:
    options = build_parser(__doc__).parse_args()
    pairs = 2 if options.quick else 7
    cache = Workspace(find_root(Path.cwd())).cache
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as name:
        workspace = Workspace(Path(name))
        device = emulator.up(workspace, NAME, 1)
        try:
            figures += compare_link("emulated", device, cache, pairs)
            figures += deploy_twice(workspace, cache)
        finally:
            emulator.down(workspace, NAME)
    program = find_sshd()
    if program is None:
        tell(figures, options.format)
        sys.exit("the other figures need OpenSSH's server: apt-get install openssh-server")
    with tempfile.TemporaryDirectory() as name, run_sshd(program, Path(name)) as device:
        figures += compare_link("OpenSSH", device, cache, pairs)
        figures += compare_scp(device, Path(name), build_agent(cache), pairs)
    return tell(figures, options.format)


class Stopwatch:
    """Progress that nobody sees; it keeps how long the last piece of work took."""

    seconds = 0.0

    @contextmanager
    def track(self, description: str, total: float | None = None) -> Iterator[Tick]:
        with Silent().track(description, total) as tick:
            began = time.perf_counter()
            yield tick
            self.seconds = time.perf_counter() - began

    def say(self, message: str) -> None:
        Silent().say(message)


@contextmanager
def connect(device: Device) -> Iterator[tuple[Link, Remote]]:
    """A link to a device, and the `Remote` over it."""
    route = find_route(device)
    with open_pinned_link(route, device.fingerprint, 15.0) as link:
        authenticate(link, route, None)
        yield link, SshRemote(device.name, link)


def open_sftp(link: Link) -> SFTPClient:
    client = SFTPClient.from_transport(link)
    assert client is not None
    return client


def compare_link(label: str, device: Device, cache: Path, pairs: int) -> list[Figure]:
    """The rates of both ways over one link, in pairs whose order alternates."""
    agent = build_agent(cache)
    rates: dict[str, list[float]] = {"payload": [], "deploy": [], "sftp": [], "send": []}
    watch = Stopwatch()
    with connect(device) as (link, remote), open_sftp(link) as sftp:
        bootstrap_agent(remote, device, agent)
        layer = assemble_layer(probe_board(remote, device, agent), PACKAGES, cache, Silent())
        for pair in range(pairs):
            fresh = device.model_copy(update={"work_folder": f"~/deployed-{pair}"})
            bootstrap_agent(remote, fresh, agent)
            steps: list[tuple[str, Callable[[], object]]] = [
                ("deploy", partial(deploy, remote, fresh, agent, [layer], None, watch)),
                ("sftp", partial(sftp.put, str(layer.path), f"put-{pair}")),
                ("send", partial(send_raw, remote, layer)),
            ]
            for name, step in steps if pair % 2 == 0 else reversed(steps):
                began = time.perf_counter()
                step()
                rates[name].append(layer.size / 1e6 / (time.perf_counter() - began))
            rates["payload"].append(layer.size / 1e6 / watch.seconds)
            remote.run(["rm", "-rf", f"~/deployed-{pair}", f"~/put-{pair}"])
        unpacking = time_unpacking(remote, device, agent, layer)
    middles = {name: statistics.median(values) for name, values in rates.items()}
    ratios = [own / other for own, other in zip(rates["payload"], rates["sftp"], strict=True)]
    return [
        fact(f"{label}: size of the payload", layer.size / 1e6, "MB"),
        fact(f"{label}: payload of a deployment", middles["payload"], "MB/s"),
        fact(f"{label}: the whole deployment", middles["deploy"], "MB/s"),
        fact(f"{label}: SFTP put", middles["sftp"], "MB/s"),
        fact(f"{label}: sending alone, into `cat >/dev/null`", middles["send"], "MB/s"),
        at_least(f"{label}: payload of a deployment / SFTP put", statistics.median(ratios), RATIO),
        fact(f"{label}: the worst pair", min(ratios)),
        fact(f"{label}: unpacking the layer", unpacking, "s"),
    ]


def compare_scp(device: Device, folder: Path, agent: Blob, pairs: int) -> list[Figure]:
    """A new board's 60 MB beside scp, eight new boards at once, and a board that lacks nothing."""
    figures: list[Figure] = []
    names = (f"scp-{number}" for number in count())
    for kind, payload in (("random", make_random(folder)), ("weights", make_weights(folder))):
        ours, theirs = [], []
        for pair in range(pairs):
            steps = [
                (ours, partial(deploy_new, move_to(device, next(names)), agent, payload)),
                (theirs, partial(copy_by_scp, device, payload, folder / "home" / next(names))),
            ]
            for times, step in steps if pair % 2 == 0 else reversed(steps):
                times.append(time_call(step))
            clear_home(folder)
        ratio = statistics.median(own / other for own, other in zip(ours, theirs, strict=True))
        figures += [
            fact(f"60 MB, {kind}: scp", statistics.median(theirs), "s"),
            fact(f"60 MB, {kind}: deployed cold", statistics.median(ours), "s"),
            at_most(f"60 MB, {kind}: deployed cold / scp", ratio, SCP_RATIO),
        ]
    return [*figures, *deploy_to_eight(device, folder, agent, payload, pairs, names)]


def deploy_to_eight(
    device: Device, folder: Path, agent: Blob, payload: Blob, pairs: int, names: Iterator[str]
) -> list[Figure]:
    one, eight, scps, warm, sent = [], [], [], [], 0
    for _ in range(pairs):
        own = move_to(device, next(names))
        one.append(time_call(partial(deploy_new, own, agent, payload)))
        began = time.perf_counter()
        sent = max(sent, deploy_new(own, agent, payload).bytes_sent)
        warm.append(time.perf_counter() - began)
        boards = [move_to(device, next(names)) for _ in range(BOARDS)]
        eight.append(
            time_call(partial(do_at_once, [partial(deploy_new, each, agent, payload) for each in boards]))
        )
        clear_home(folder)
        places = [folder / "home" / next(names) for _ in range(BOARDS)]
        scps.append(
            time_call(partial(do_at_once, [partial(copy_by_scp, device, payload, each) for each in places]))
        )
        clear_home(folder)
    ratio = statistics.median(many / single for many, single in zip(eight, one, strict=True))
    return [
        fact("60 MB to eight boards at once", statistics.median(eight), "s"),
        fact("60 MB to eight boards at once, by eight scp", statistics.median(scps), "s"),
        at_most("60 MB to eight boards at once / to one", ratio, EIGHT_RATIO),
        at_most("60 MB, all of them there: connected and deployed", statistics.median(warm), WARM_S, "s"),
        below("60 MB, all of them there: sent", sent / 1024, SECOND_KIB, "KiB"),
    ]


def do_at_once(steps: Sequence[Callable[[], object]]) -> None:
    with ThreadPoolExecutor(len(steps)) as pool:
        for done in [pool.submit(step) for step in steps]:
            done.result()


def move_to(device: Device, name: str) -> Device:
    """The account as a board of its own: another name, and a work folder that is new."""
    return device.model_copy(update={"name": name, "work_folder": f"~/{name}"})


def deploy_new(device: Device, agent: Blob, payload: Blob) -> Deployment:
    """All that a board gets before it measures, packages apart: from connecting on."""
    with connect(device) as (_, remote):
        bootstrap_agent(remote, device, agent)
        return deploy(remote, device, agent, [payload], None, Silent())


def copy_by_scp(device: Device, payload: Blob, target: Path) -> None:
    options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR")
    words = ["scp", "-q", "-F", "/dev/null", "-i", str(device.key_file), "-P", str(device.port)]
    words += [word for option in options for word in ("-o", option)]
    subprocess.run([*words, str(payload.path), f"{device.user}@{device.host}:{target}"], check=True)


def time_call(step: Callable[[], object]) -> float:
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


def clear_home(folder: Path) -> None:
    for path in (folder / "home").glob("scp-*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def make_random(folder: Path) -> Blob:
    """Bytes that nothing makes smaller, as packages and packed models are."""
    return make_payload(folder / "random", os.urandom(PAYLOAD_BYTES))


def make_weights(folder: Path) -> Blob:
    """Weights as training leaves them, in float32."""
    values = np.random.default_rng(0).normal(0, 0.02, PAYLOAD_BYTES // 4).astype(np.float32)
    return make_payload(folder / "weights", values.tobytes())


def make_payload(path: Path, content: bytes) -> Blob:
    path.write_bytes(content)
    return Blob(path=path, sha256=hashlib.sha256(content).hexdigest(), size=len(content))


def send_raw(remote: Remote, layer: Blob) -> None:
    """The bytes through the same call that deploying uses, to a command that forgets them."""
    with layer.path.open("rb") as file:
        chunks = iter(lambda: file.read(256 * 1024), b"")
        done = remote.send(["sh", "-c", "cat >/dev/null"], chunks)
    assert done.code == 0, done


def time_unpacking(remote: Remote, device: Device, agent: Blob, layer: Blob) -> float:
    """Seconds that the first real deployment spends on the board after everything has arrived."""
    fresh = device.model_copy(update={"work_folder": "~/unpacked"})
    bootstrap_agent(remote, fresh, agent)
    deploy(remote, fresh, agent, [layer], None, Silent())
    unpacked = deploy(remote, fresh, agent, [], layer, Silent())
    remote.run(["rm", "-rf", "~/unpacked"])
    return unpacked.seconds


def deploy_twice(workspace: Workspace, cache: Path) -> list[Figure]:
    """What the command itself says of two deployments in a row to a new board, and how long they take."""
    share_cache(workspace, cache)
    calls = [
        call_bench("deploy", "--device", NAME, "--format", "json", workspace=workspace.root) for _ in range(4)
    ]
    sent = [json.loads(call.stdout)[0]["bytes_sent"] for call in calls]
    later = statistics.median(call.seconds for call in calls[1:])
    return [
        fact("first `bench deploy`", calls[0].seconds, "s"),
        fact("first `bench deploy`: sent", sent[0] / 2**20, "MiB"),
        at_most("second `bench deploy` (median of three)", later, SECOND_S, "s"),
        below("second `bench deploy`: sent", max(sent[1:]) / 1024, SECOND_KIB, "KiB"),
    ]


def share_cache(workspace: Workspace, cache: Path) -> None:
    """Let the temporary workspace use the layers that are assembled already."""
    (workspace.cache).mkdir(parents=True, exist_ok=True)
    (workspace.cache / "layers").symlink_to(cache / "layers", target_is_directory=True)


if __name__ == "__main__":
    sys.exit(main())
