"""What the operating system says: its name, kernel and C library, and how the firmware calls the machine."""

import os
import platform
import re
import subprocess
from typing import Dict, Optional

from device_agent.sensors.chip import read_device_tree
from device_agent.sensors.tree import list_names, read_text

_DMI = "sys/class/dmi/id/"
_LOADER_TIMEOUT_S = 5
# What makers of mainboards leave in where a name should be.
_PLACEHOLDER = re.compile(
    r"^$|to be filled|default string|system (?:product name|manufacturer|version)|"
    r"not (?:applicable|specified)|^o\.?e\.?m\.?$|^none$|^unknown$|^empty$",
    re.IGNORECASE,
)


def name_machine(kernel_says: str, is_64_bit: bool) -> str:
    """The architecture that wheels must have: a 64-bit kernel may carry a 32-bit system (Raspberry Pi OS)."""
    if is_64_bit:
        return kernel_says
    return {"aarch64": "armv7l", "x86_64": "i686"}.get(kernel_says, kernel_says)


def name_board(root: str, cpu_model: Optional[str]) -> str:
    """The device tree's model, else what the firmware says, else the processor."""
    model = read_device_tree(root, "model")
    told = model or _name_by_firmware(root)
    return told or "Linux {} ({})".format(platform.machine(), cpu_model or "unknown processor")


def _name_by_firmware(root: str) -> Optional[str]:
    """Maker and product of the machine, or of its mainboard where the machine has no name."""
    for maker, product in (("sys_vendor", "product_name"), ("board_vendor", "board_name")):
        texts = [read_text(root, _DMI + name) or "" for name in (maker, product)]
        if not _PLACEHOLDER.search(texts[1]):
            return " ".join(text for text in texts if not _PLACEHOLDER.search(text))
    return None


def parse_os_release(text: str) -> Optional[str]:
    """PRETTY_NAME of /etc/os-release."""
    match = re.search(r"^PRETTY_NAME=[\"']?(.*?)[\"']?$", text, re.MULTILINE)
    return match.group(1) if match else None


def read_kernel(root: str) -> str:
    """The release of the kernel."""
    return read_text(root, "proc/sys/kernel/osrelease") or platform.release()


def find_libc(root: str) -> Dict[str, Optional[str]]:
    """Name and version: glibc tells them itself, musl's loader prints them."""
    told = _ask_glibc().split()
    if len(told) == 2:
        return {"name": told[0], "version": told[1]}
    for name in list_names(root, "lib"):
        if name.startswith("ld-musl-"):
            return {"name": "musl", "version": _ask_musl(os.path.join(root, "lib", name))}
    return {"name": None, "version": None}


def _ask_glibc() -> str:
    """`glibc 2.36`, or nothing where the C library is another one."""
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError):
        return ""


def _ask_musl(loader: str) -> Optional[str]:
    try:
        child = subprocess.run([loader], stderr=subprocess.PIPE, timeout=_LOADER_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(rb"Version (\S+)", child.stderr)
    return match.group(1).decode("ascii", "replace") if match else None
