"""Blobs and layers: named by their SHA-256, written as .part, there whole or not at all."""

import fcntl
import hashlib
import json
import os
import shutil
import tarfile
import time
from typing import Any, BinaryIO, Callable, Dict, List, Optional, Union

from device_agent import protocol
from device_agent.expanding import PackedModel
from device_agent.faults import AgentFault, describe_os_error
from device_agent.work_folder import WorkFolder, check_sha256, make_folder

_CHUNK = 1 << 18
_MAX_HEADER = 4096
LOCK_WAIT_S = 30.0  # shorter than what the host takes for a link that makes no progress
_LOCK_PAUSE_S = 0.2
MAX_BLOB_BYTES = 64 << 30
MAX_LAYER_BYTES = 16 << 30


def take_inventory(folder: WorkFolder, asked: Dict[str, Any]) -> Dict[str, Any]:
    """Which of the asked blobs and layers are here, how much of the unfinished ones, and the free space."""
    blobs: Dict[str, int] = {}
    parts: Dict[str, int] = {}
    for sha256 in _listed(asked, "blobs"):
        path = folder.blob(sha256)
        if os.path.isfile(path):
            blobs[sha256] = os.path.getsize(path)
        elif os.path.isfile(path + ".part"):
            parts[sha256] = os.path.getsize(path + ".part")
    layers = [sha256 for sha256 in _listed(asked, "layers") if os.path.isdir(folder.layer(sha256))]
    return {"blobs": blobs, "parts": parts, "layers": layers, "free_bytes": folder.free_bytes()}


def _listed(asked: Dict[str, Any], key: str) -> List[str]:
    names = asked.get(key, [])
    if not isinstance(names, list):
        raise AgentFault(protocol.ERROR_OTHER, "{}: expected a list".format(key))
    return [check_sha256(name) for name in names]


def receive_blobs(folder: WorkFolder, stream: BinaryIO, answer: Callable[[Dict[str, Any]], None]) -> None:
    """Take frames until the stream ends and answer each. One that fails does not stop the next."""
    make_folder(os.path.join(folder.root, "blobs"))
    while True:
        header = stream.readline(_MAX_HEADER)
        if not header:
            return
        sha256, size, offset = parse_header(header)
        content = Frame(stream, size - offset)
        try:
            receive_blob(folder.blob(sha256), sha256, size, offset, content)
            told: Dict[str, Any] = {"sha256": sha256, "ok": True}
        except (OSError, AgentFault) as error:
            fault = describe_os_error(error) if isinstance(error, OSError) else error
            told = {"sha256": sha256, "ok": False, "error": {"kind": fault.kind, "message": fault.message}}
        for _ in content:
            pass  # what could not be written is still in the stream before the next frame
        answer(told)


def parse_header(header: bytes) -> Any:
    """SHA-256, size and offset of a frame. After a broken header nothing can be read: raises AgentFault."""
    try:
        told = json.loads(header.decode())
        sha256, size, offset = told["sha256"], told["size"], told["offset"]
    except (ValueError, KeyError, TypeError) as error:
        raise AgentFault(protocol.ERROR_CORRUPT, "not the header of a frame: {!r}".format(error)) from error
    check_sha256(sha256)
    if type(size) is not int or type(offset) is not int or not 0 <= offset <= size <= MAX_BLOB_BYTES:
        raise AgentFault(protocol.ERROR_CORRUPT, "a frame from {!r} to {!r}".format(offset, size))
    return sha256, size, offset


class Frame:
    """The chunks of one frame's content; `missing` counts what has not come yet."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream = stream
        self.missing = size

    def __iter__(self) -> "Frame":
        return self

    def __next__(self) -> bytes:
        chunk = self._stream.read(min(_CHUNK, self.missing)) if self.missing else b""
        if not chunk:
            raise StopIteration
        self.missing -= len(chunk)
        return chunk


def receive_blob(path: str, sha256: str, size: int, offset: int, content: Union[Frame, PackedModel]) -> None:
    """Write one blob from `offset` on. Raises AgentFault where its content is not what it is named for."""
    file = None if _is_whole(path, size) else _open_part(path, size)
    if file is None:
        return
    with file:
        digest = _hash_start(file, offset)
        for chunk in content:
            file.write(chunk)
            digest.update(chunk)
        file.flush()
        if content.missing:
            raise AgentFault(protocol.ERROR_OTHER, "the stream ended {} bytes early".format(content.missing))
        os.fsync(file.fileno())
        if digest.hexdigest() != sha256:
            os.unlink(path + ".part")
            raise AgentFault(protocol.ERROR_CORRUPT, "what arrived has another SHA-256 than its name")
        os.rename(path + ".part", path)


def _is_whole(path: str, size: int) -> bool:
    return os.path.isfile(path) and os.path.getsize(path) == size


def _open_part(path: str, size: int) -> Optional[BinaryIO]:
    """The unfinished blob, ours alone; None where another transfer has finished it while we waited.

    Two hosts that begin at once send the same blobs: the second waits for the first.
    """
    part, patience = path + ".part", LOCK_WAIT_S
    while True:
        file = os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT, 0o600), "r+b")
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.close()
            if patience <= 0:
                raise AgentFault(protocol.ERROR_LOCKED, "another transfer writes the same blob") from error
            patience -= _LOCK_PAUSE_S
            time.sleep(_LOCK_PAUSE_S)
            continue
        is_named = _is_still_there(file, part)  # else it was renamed or removed before we had the lock
        if is_named and not _is_whole(path, size):
            return file
        file.close()
        if is_named:
            os.unlink(part)  # ours, and empty: the other transfer has renamed its own
            return None


def _is_still_there(file: BinaryIO, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def _hash_start(file: BinaryIO, offset: int) -> Any:
    """The digest of what an earlier transfer left, cut to `offset`, where the file then stands."""
    if os.fstat(file.fileno()).st_size < offset:
        raise AgentFault(
            protocol.ERROR_CORRUPT, "the unfinished blob is shorter than {} bytes".format(offset)
        )
    file.truncate(offset)
    digest = hashlib.sha256()
    while file.tell() < offset:
        digest.update(file.read(min(_CHUNK, offset - file.tell())))
    return digest


def expand_blob(folder: WorkFolder, sha256: str) -> Dict[str, Any]:
    """Restore the model that a received blob packs, as a blob of its own; the packed one goes either way."""
    path = folder.blob(sha256)
    if not os.path.isfile(path):
        raise AgentFault(protocol.ERROR_MISSING, "the packed model is not on the board")
    try:
        with open(path, "rb") as file:
            model = PackedModel(file.read())
        receive_blob(folder.blob(model.sha256), model.sha256, model.size, 0, model)
    finally:
        if os.path.exists(path):  # else another host's call has just done the same
            os.unlink(path)
    return {"sha256": model.sha256, "size": model.size}


def unpack_layer(folder: WorkFolder, sha256: str) -> Dict[str, Any]:
    """Turn a received layer into its folder; the archive is removed. A layer that is there is kept."""
    blob, layer = folder.blob(sha256), folder.layer(sha256)
    if os.path.isdir(layer):
        return {"layer": sha256}
    if not os.path.isfile(blob):
        raise AgentFault(protocol.ERROR_MISSING, "the layer's archive is not on the board")
    with open(blob, "rb") as file:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX)  # a second unpacking waits and then finds the folder
        if not os.path.isdir(layer):
            _unpack(file, layer)
        if os.path.exists(blob):
            os.unlink(blob)
    return {"layer": sha256}


def _unpack(file: BinaryIO, layer: str) -> None:
    part = layer + ".part"
    if os.path.exists(part):
        shutil.rmtree(part)
    make_folder(part)
    try:
        with tarfile.open(fileobj=file, mode="r|gz") as archive:
            extract_members(archive, part)
    except (tarfile.TarError, EOFError, ValueError) as error:
        shutil.rmtree(part)
        raise AgentFault(protocol.ERROR_CORRUPT, "the layer cannot be unpacked: {}".format(error)) from error
    except (OSError, AgentFault):
        shutil.rmtree(part)
        raise
    os.sync()  # once for thousands of files: a layer is complete on the disk before it has its name
    os.rename(part, layer)


def extract_members(archive: tarfile.TarFile, folder: str) -> None:
    """Write regular files and folders below `folder`. Anything else, or a path out of it, is refused."""
    left = MAX_LAYER_BYTES
    for member in archive:
        steps = member.name.split("/")
        if member.name.startswith("/") or ".." in steps or not (member.isreg() or member.isdir()):
            raise AgentFault(protocol.ERROR_CORRUPT, "the layer holds {!r}".format(member.name))
        target = os.path.join(folder, *[step for step in steps if step not in ("", ".")])
        if member.isdir():
            make_folder(target)
            continue
        left -= member.size
        if left < 0:
            raise AgentFault(
                protocol.ERROR_CORRUPT, "the layer is larger than {} bytes".format(MAX_LAYER_BYTES)
            )
        make_folder(os.path.dirname(target))
        source = archive.extractfile(member)
        assert source is not None  # noqa: S101 (for the type checker: it is a regular file)
        with open(
            os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o700 if member.mode & 0o100 else 0o600),
            "wb",
        ) as file:
            shutil.copyfileobj(source, file, _CHUNK)
