"""Layers: archives of packages that become folders, there whole or not at all."""

import fcntl
import os
import shutil
import tarfile
from typing import Any, BinaryIO, Dict

from device_agent import protocol
from device_agent.faults import AgentFault
from device_agent.intact import check_blob
from device_agent.sending import hold_off_cleaning
from device_agent.work_folder import WorkFolder, make_folder

_CHUNK = 1 << 18
MAX_LAYER_BYTES = 16 << 30


def unpack_layer(folder: WorkFolder, sha256: str) -> Dict[str, Any]:
    """Turn a received layer into its folder; the archive is removed. A layer that is there is kept."""
    blob, layer = folder.blob(sha256), folder.layer(sha256)
    with hold_off_cleaning(folder):
        try:
            held = open(blob, "rb")  # noqa: SIM115 (closed below: only opening it may find nothing)
        except FileNotFoundError as error:
            if os.path.isdir(layer):  # maybe since a moment ago: another unpacking, whose link was cut
                return {"layer": sha256}
            raise AgentFault(protocol.ERROR_MISSING, "the layer's archive is not on the board") from error
        with held:
            fcntl.flock(held.fileno(), fcntl.LOCK_EX)  # a second unpacking waits and then finds the folder
            if not os.path.isdir(layer):
                with open(_check_archive(folder, sha256), "rb") as file:
                    _unpack(file, layer)
            if os.path.exists(blob):
                os.unlink(blob)
    return {"layer": sha256}


def _check_archive(folder: WorkFolder, sha256: str) -> str:
    """The path of the archive. Raises AgentFault for a damaged one: tarfile does not look at gzip's sum."""
    try:
        return check_blob(folder, sha256)
    except AgentFault as fault:
        raise AgentFault(fault.kind, "the layer's archive {}".format(fault.message)) from fault


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
