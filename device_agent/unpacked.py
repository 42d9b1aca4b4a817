"""The agent's files as a folder with their bytecode: Python compiles what is in a zip at each start."""

import compileall
import fcntl
import os
import shutil
import sys
import zipfile
import zlib

from device_agent.work_folder import WorkFolder, make_folder

_PART = ".part"


def provide_program(folder: WorkFolder, archive: str) -> str:
    """What a process of this agent is started with: the folder, or the archive where the disk refuses it."""
    if not zipfile.is_zipfile(archive):
        return archive
    name = os.path.splitext(os.path.basename(archive))[0]
    target = os.path.join(folder.root, "agents", name + ".files")
    with zipfile.ZipFile(archive) as packed:
        try:
            if not is_whole(packed, target):
                _unpack_alone(packed, target)
        except OSError as error:
            sys.stderr.write("the agent is started from its archive: {}\n".format(error))
            return archive
    return target


def is_whole(packed: zipfile.ZipFile, target: str) -> bool:
    """Whether every file is there with its content: after a loss of power some may be empty."""
    for member in packed.infolist():
        try:
            with open(os.path.join(target, member.filename), "rb") as file:
                if zlib.crc32(file.read()) & 0xFFFFFFFF != member.CRC:
                    return False
        except OSError:
            return False
    return True


def _unpack_alone(packed: zipfile.ZipFile, target: str) -> None:
    """Two starts at once do not take the folder from under each other: the second waits, and finds it."""
    assert packed.filename is not None  # noqa: S101 (for the type checker: it was opened by its name)
    with open(packed.filename, "r+b") as held:  # where a disk is on NFS, only writers may lock alone
        fcntl.flock(held.fileno(), fcntl.LOCK_EX)
        if not is_whole(packed, target):
            _unpack(packed, target)


def _unpack(packed: zipfile.ZipFile, target: str) -> None:
    part = "{}.{}{}".format(target, os.getpid(), _PART)
    packed.extractall(make_folder(part))
    compileall.compile_dir(part, quiet=2)  # once, and also where the environment keeps Python from doing it
    shutil.rmtree(target, ignore_errors=True)
    try:
        os.rename(part, target)
    except OSError:
        shutil.rmtree(part, ignore_errors=True)
        raise
