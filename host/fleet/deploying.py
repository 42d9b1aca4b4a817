"""Files on their way to a board: only what is missing is sent, and the board checks every hash."""

from __future__ import annotations

import functools
import json
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, BinaryIO

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from host.errors import BuildError, DeviceError, LinkLost
from host.fleet.journal import Sha256
from host.fleet.probing import agent_argv, call_agent, describe_misfit
from host.fleet.receipts import BlobHeld, describe_stale, explain_damage, explain_refusal, read_receipts
from host.fleet.remote import Remote
from host.progress import Progress, Tick
from host.specs.artifact import Blob
from host.specs.device import Device

CHUNK_BYTES = 8 * (32 * 1024 - 64)  # eight full packets of SSH
SPARE_BYTES = 32 * 1024 * 1024
"""What stays free on a board beside what is sent: journals, logs, and the system's own needs."""

WORTH_EXPANDING = 0.6
"""A packed model is sent where it is less than this share of the file: a slow board expands for seconds."""

NOTHING_PACKED: Mapping[str, Blob] = MappingProxyType({})

UNPACK_SECONDS = 600.0  # a hundred megabytes in thousands of files onto a worn SD card
SEND_SECONDS = 120.0  # without any progress; longer than a board waits for another host's transfer

Size = Annotated[int, Field(ge=0, lt=2**53)]


@dataclass(frozen=True)
class Deployment:
    """What one deployment cost: bytes that we sent (requests included), files among them, seconds."""

    bytes_sent: int
    blobs_sent: int
    seconds: float


class Inventory(BaseModel):
    """What a board has of what we asked for: sizes of whole files and of cut-off ones, and layers."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    blobs: dict[Sha256, Size]
    parts: dict[Sha256, Size]
    layers: tuple[Sha256, ...]
    free_bytes: Size


@dataclass
class _Post:
    """One deployment under way: the connection, the agent at its other end, and what was sent so far."""

    remote: Remote
    device: Device
    agent: Blob
    bytes_sent: int = 0
    blobs_sent: set[str] = field(default_factory=set)
    began: float = field(default_factory=time.monotonic)

    def ask(self, *words: str, stdin: bytes = b"", timeout: float = 30.0) -> dict[str, object]:
        self.bytes_sent += len(stdin)
        return call_agent(self.remote, self.device, self.agent, words, stdin=stdin, timeout=timeout)

    def counted(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self.bytes_sent += len(chunk)
            yield chunk


def deploy(
    remote: Remote,
    device: Device,
    agent: Blob,
    blobs: Sequence[Blob],
    layer: Blob | None,
    progress: Progress,
    packed: Mapping[str, Blob] = NOTHING_PACKED,
) -> Deployment:
    """Send what the board does not have yet, and unpack the layer there.

    `packed` holds packed forms by the SHA-256 of their file. One that is much smaller is sent in its place,
    and the board restores the file; where it cannot, the file itself is sent after all.

    Where another host sends the same files, it is waited for as long as they grow. After a LinkLost the
    same call over a new connection goes on where the file was cut, and ends what is left of the old
    transfer on the board. Raises DeviceError where the disk is too full or read-only, or a file arrives
    damaged twice.
    """
    post, arrived = _Post(remote, device, agent), -1
    while True:
        inventory = _ask_inventory(post, (*blobs, *packed.values()), layer)
        try:
            _send_missing(post, inventory, blobs, layer, packed, progress)
            return Deployment(post.bytes_sent, len(post.blobs_sent), time.monotonic() - post.began)
        except BlobHeld:
            now_there = sum(inventory.parts.values()) + sum(inventory.blobs.values())
            if now_there <= arrived:
                raise
            arrived = now_there
            progress.say(f"{device.name}: another host sends the same files; waiting for them")


def _send_missing(
    post: _Post,
    inventory: Inventory,
    blobs: Sequence[Blob],
    layer: Blob | None,
    packed: Mapping[str, Blob],
    progress: Progress,
) -> None:
    needs_layer = layer is not None and layer.sha256 not in inventory.layers
    wanted = {blob.sha256: blob for blob in (*blobs, *((layer,) if layer and needs_layer else ()))}
    missing = [blob for sha, blob in wanted.items() if inventory.blobs.get(sha) != blob.size]
    sent_packed = _choose_packed(missing, packed)
    if missing or needs_layer:
        _check_space(post, inventory, [*missing, *sent_packed.values()], layer if needs_layer else None)
    sent = [sent_packed.get(blob.sha256, blob) for blob in missing]
    _send_verified(
        post,
        [blob for blob in sent if inventory.blobs.get(blob.sha256) != blob.size],
        _cut_offsets(sent, inventory),
        progress,
    )
    refused = _expand(post, sent_packed, progress)
    _send_verified(post, [blob for blob in missing if blob.sha256 in refused], {}, progress)
    if layer is not None and needs_layer:
        with progress.track(f"{post.device.name}: unpacking the packages"):
            post.ask("unpack", layer.sha256, timeout=UNPACK_SECONDS)


def _ask_inventory(post: _Post, blobs: Sequence[Blob], layer: Blob | None) -> Inventory:
    layers = [] if layer is None else [layer.sha256]
    question = {"blobs": sorted({blob.sha256 for blob in blobs} | set(layers)), "layers": layers}
    answer = post.ask("inventory", stdin=json.dumps(question).encode())
    try:
        # Through JSON: that is what it came as, and only there a list may stand for a tuple.
        return Inventory.model_validate_json(json.dumps(answer))
    except ValidationError as error:
        raise describe_misfit(post.device, "inventory", error) from error


def _check_space(post: _Post, inventory: Inventory, missing: Sequence[Blob], layer: Blob | None) -> None:
    """Raise DeviceError where the board's disk cannot hold what it would be sent."""
    device = post.device
    offsets = _cut_offsets(missing, inventory)
    needed = sum(blob.size - offsets.get(blob.sha256, 0) for blob in missing)
    needed += _unpacked_size(layer) if layer else 0
    if inventory.free_bytes < needed + SPARE_BYTES:
        raise DeviceError(
            f"{device.name}: disk full: {device.work_folder} needs {_megabytes(needed)} "
            f"and {_megabytes(SPARE_BYTES)} to spare, but {_megabytes(inventory.free_bytes)} are free",
            f"{_offer_cleaning(post)}Free some there, or give {device.name} a `work_folder:` on another disk "
            "in devices.yaml.",
        )


def _offer_cleaning(post: _Post) -> str:
    """What cleaning would free at least: what no run needs. Nothing where that is little, or not known."""
    question = {"keep_bytes": 0, "dry_run": True}
    try:
        freed = post.ask("clean", stdin=json.dumps(question).encode()).get("freed_bytes")
    except LinkLost:
        raise
    except DeviceError:
        return ""
    if not isinstance(freed, int) or freed < 1e6:
        return ""
    return f"`bench clean --device {post.device.name} --keep 0` would free {_megabytes(freed)}. "


def _unpacked_size(layer: Blob) -> int:
    """Bytes of the archive inside a .tar.gz: gzip's last four bytes tell it (RFC 1952), up to 4 GiB."""
    with layer.path.open("rb") as file:
        file.seek(-4, 2)
        return int.from_bytes(file.read(4), "little")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def _cut_offsets(missing: Sequence[Blob], inventory: Inventory) -> dict[str, int]:
    """Where to go on with files whose beginning is there; the hash of the whole tells if it was right."""
    return {
        blob.sha256: inventory.parts[blob.sha256]
        for blob in missing
        if inventory.parts.get(blob.sha256, blob.size + 1) <= blob.size
    }


def _choose_packed(missing: Sequence[Blob], packed: Mapping[str, Blob]) -> dict[str, Blob]:
    """What is sent in place of the files with these hashes."""
    return {
        blob.sha256: packed[blob.sha256]
        for blob in missing
        if blob.sha256 in packed and packed[blob.sha256].size < WORTH_EXPANDING * blob.size
    }


def _expand(post: _Post, sent: Mapping[str, Blob], progress: Progress) -> set[str]:
    """Have the board restore files from their packed forms; the hashes of those that it could not restore."""
    refused = set()
    for sha256, blob in sent.items():
        try:
            with progress.track(f"{post.device.name}: expanding a model"):
                answer = post.ask("expand", blob.sha256, timeout=UNPACK_SECONDS)
        except LinkLost:
            raise
        except DeviceError as error:
            progress.say(f"{error.message}; the model is sent as it is")
            refused.add(sha256)
        else:
            refused |= {sha256} - {answer.get("sha256")}
    return refused


def _send_verified(
    post: _Post, missing: Sequence[Blob], offsets: Mapping[str, int], progress: Progress
) -> None:
    """Send files until the board has confirmed every hash; a damaged one is sent anew, once."""
    damaged = _send(post, missing, offsets, progress) if missing else []
    if damaged:
        progress.say(
            f"{post.device.name}: {len(damaged)} of {len(missing)} files arrived damaged; sending again"
        )
        damaged = _send(post, damaged, {}, progress)
    for blob in damaged:
        raise explain_damage(post.device, blob)


def _send(post: _Post, blobs: Sequence[Blob], offsets: Mapping[str, int], progress: Progress) -> list[Blob]:
    """Send files in one stream; returns those that arrived damaged. Any other refusal is raised."""
    total = sum(blob.size - offsets.get(blob.sha256, 0) for blob in blobs)
    argv = agent_argv(post.device, post.agent, "receive", "--sender", name_sender(post.device.name))
    files = "1 file" if len(blobs) == 1 else f"{len(blobs)} files"
    with progress.track(f"{post.device.name}: sending {files}", total) as tick:
        frames = (chunk for blob in blobs for chunk in _frame(blob, offsets.get(blob.sha256, 0), tick))
        completed = post.remote.send(argv, post.counted(frames), timeout=SEND_SECONDS)
    receipts = read_receipts(post.device, blobs, completed)
    post.blobs_sent |= {receipt.sha256 for receipt in receipts if receipt.ok}
    for receipt in receipts:
        if receipt.error is not None and not receipt.is_corrupt:
            raise explain_refusal(post.device, receipt.error)
    return [blob for blob, receipt in zip(blobs, receipts, strict=True) if not receipt.ok]


@functools.cache
def name_sender(_device: str) -> str:
    """A name that only this process has, for a device to which it sends one thing at a time."""
    return secrets.token_hex(16)


def _frame(blob: Blob, offset: int, tick: Tick) -> Iterator[bytes]:
    """The header of a file and its bytes from `offset` on."""
    header = {"sha256": blob.sha256, "size": blob.size, "offset": offset}
    yield json.dumps(header).encode() + b"\n"
    left = blob.size - offset
    with _open_blob(blob) as file:
        file.seek(offset)
        while left:
            chunk = file.read(min(CHUNK_BYTES, left))
            if not chunk:
                raise describe_stale(blob)
            yield chunk
            left -= len(chunk)
            tick(len(chunk))


def _open_blob(blob: Blob) -> BinaryIO:
    try:
        return blob.path.open("rb")
    except OSError as error:
        raise BuildError(f"{blob.path} cannot be read: {error.strerror}", "Build it again.") from error
