"""Small disks for the processes of one command: tmpfs in a mount namespace that ends with them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

_MOUNT = """\
while [ "$1" != -- ]; do
    mount -t tmpfs -o "size=$2,mode=700" tmpfs "$1" || exit
    shift 2
done
shift
exec "$@"
"""


def mounting(sizes: Mapping[Path, str]) -> tuple[str, ...] | None:
    """The words before a command that gives it a disk of a size at each folder; None where that cannot be."""
    for folder in sizes:
        folder.mkdir(parents=True, exist_ok=True)
    if shutil.which("unshare") is None:
        return None
    own_users = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    mounts = [word for folder, size in sizes.items() for word in (str(folder), size)]
    words = ("unshare", *own_users, "--mount", "sh", "-c", _MOUNT, "sh", *mounts, "--")
    done = subprocess.run([*words, "true"], capture_output=True, check=False)
    return words if done.returncode == 0 else None
