"""Blobs: files named by their SHA-256, written as .part, there whole or not at all."""

import fcntl
import hashlib
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO, Callable, Dict, List, Optional, Union

from device_agent import protocol
from device_agent.faults import AgentFault, describe_os_error
from device_agent.incoming import Frame, Incoming, Stalled, end_earlier, read_header
from device_agent.sending import hold_off_cleaning
from device_agent.work_folder import WorkFolder, check_sha256, make_folder

if TYPE_CHECKING:
    from device_agent.expanding import PackedModel

_CHUNK = 1 << 18
LOCK_WAIT_S = protocol.STALL_S + 15.0  # yet shorter than what the host takes for a lost link
_LOCK_PAUSE_S = 0.2


def take_inventory(folder: WorkFolder, asked: Dict[str, Any]) -> Dict[str, Any]:
    """Which of the asked blobs and layers are here, how much of the unfinished ones, and the free space.

    What is here has been used now: cleaning takes first what nobody has asked for.
    """
    blobs: Dict[str, int] = {}
    parts: Dict[str, int] = {}
    for sha256 in _listed(asked, "blobs"):
        path = folder.blob(sha256)
        if os.path.isfile(path):
            blobs[sha256] = os.path.getsize(path)
        elif os.path.isfile(path + ".part"):
            parts[sha256] = os.path.getsize(path + ".part")
    layers = [sha256 for sha256 in _listed(asked, "layers") if os.path.isdir(folder.layer(sha256))]
    for path in [folder.blob(sha256) for sha256 in blobs] + [folder.layer(sha256) for sha256 in layers]:
        with suppress(OSError):  # a disk that can only be read
            os.utime(path)
    return {"blobs": blobs, "parts": parts, "layers": layers, "free_bytes": folder.free_bytes()}


def _listed(asked: Dict[str, Any], key: str) -> List[str]:
    names = asked.get(key, [])
    if not isinstance(names, list):
        raise AgentFault(protocol.ERROR_OTHER, "{}: expected a list".format(key))
    return [check_sha256(name) for name in names]


def receive_blobs(
    folder: WorkFolder,
    stream: Incoming,
    answer: Callable[[Dict[str, Any]], None],
    sender: Optional[str] = None,
) -> None:
    """Take frames until the stream ends and answer each. One that fails does not stop the next.

    Raises Stalled where the link died; what came stays, and the next transfer goes on from there.
    """
    make_folder(os.path.join(folder.root, "blobs"))
    with hold_off_cleaning(folder):
        while True:
            header = read_header(stream)
            if header is None:
                return
            sha256, size, offset = header
            content = Frame(stream, size - offset)
            try:
                receive_blob(folder.blob(sha256), sha256, size, offset, content, sender)
                told: Dict[str, Any] = {"sha256": sha256, "ok": True}
            except Stalled:
                raise
            except (OSError, AgentFault) as error:
                fault = describe_os_error(error) if isinstance(error, OSError) else error
                told = {
                    "sha256": sha256,
                    "ok": False,
                    "error": {"kind": fault.kind, "message": fault.message},
                }
            for _ in content:
                pass  # what could not be written is still in the stream before the next frame
            answer(told)


def receive_blob(
    path: str,
    sha256: str,
    size: int,
    offset: int,
    content: Union[Frame, "PackedModel"],
    sender: Optional[str] = None,
) -> None:
    """Write one blob from `offset` on. Raises AgentFault where its content is not what it is named for."""
    file = None if _is_whole(path, size) else _open_part(path, size, sender)
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


def _open_part(path: str, size: int, sender: Optional[str]) -> Optional[BinaryIO]:
    """The unfinished blob, ours alone; None where another transfer has finished it while we waited.

    Two hosts that begin at once send the same blobs: the second waits for the first, and longer than it
    takes to notice that the link of the first is dead.
    """
    part, patience = path + ".part", LOCK_WAIT_S
    while True:
        file = os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT, 0o600), "r+b")
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.close()
            if patience == LOCK_WAIT_S and sender is not None:
                end_earlier(sender)
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
    from device_agent.expanding import PackedModel  # and lzma: the other commands start faster without

    with hold_off_cleaning(folder):
        try:
            with open(path, "rb") as file:
                model = PackedModel(file.read())
            receive_blob(folder.blob(model.sha256), model.sha256, model.size, 0, model)
        finally:
            if os.path.exists(path):  # else another host's call has just done the same
                os.unlink(path)
    return {"sha256": model.sha256, "size": model.size}
