"""What the host must know of a board before it can deploy: facts, null where they are missing."""

import json
import os
import platform
import re
import subprocess
import sys
from typing import Any, Dict, Optional

from device_agent import protocol
from device_agent.environment import usable_cores
from device_agent.power import describe_sources
from device_agent.sensors.cpufreq import read_governor
from device_agent.sensors.load import read_memory
from device_agent.sensors.thermal import read_temperature
from device_agent.sensors.tree import list_names, read_text
from device_agent.work_folder import WorkFolder

_PROBE_TIMEOUT_S = 90  # less than the host waits for the whole probe

# Linux, arch/arm64/include/asm/cputype.h: implementer and part, for boards whose cpuinfo names no model.
_ARM_PARTS = {
    ("0x41", "0xd03"): "Cortex-A53",
    ("0x41", "0xd05"): "Cortex-A55",
    ("0x41", "0xd07"): "Cortex-A57",
    ("0x41", "0xd08"): "Cortex-A72",
    ("0x41", "0xd09"): "Cortex-A73",
    ("0x41", "0xd0b"): "Cortex-A76",
    ("0x41", "0xd0c"): "Neoverse-N1",
    ("0x41", "0xd42"): "Cortex-A78AE",
    ("0x4e", "0x003"): "Denver 2",
    ("0x4e", "0x004"): "Carmel",
}


def probe_board(folder: WorkFolder, layer: Optional[str], root: str = "/") -> Dict[str, Any]:
    """All facts. `layer` names the one whose runtimes are looked at."""
    cores = usable_cores()
    cpu_model = parse_cpu_model(read_text(root, "proc/cpuinfo") or "")
    memory_mb = read_memory(root).total
    return {
        "schema": protocol.SCHEMA,
        "agent_version": protocol.AGENT_VERSION,
        "python": platform.python_version(),
        "implementation": {"CPython": "cp", "PyPy": "pp"}.get(platform.python_implementation()),
        "machine": name_machine(platform.machine(), sys.maxsize > 2**32),
        "libc": find_libc(root),
        "board": name_board(root, cpu_model),
        "cpu_model": cpu_model,
        "cores": len(cores),
        "memory_mb": None if memory_mb is None else round(memory_mb),
        "os": parse_os_release(read_text(root, "etc/os-release") or ""),
        "kernel": platform.release(),
        "governor": read_governor(root, cores),
        "temperature_c": read_temperature(root),
        "free_bytes": folder.free_bytes(),
        "power_sources": describe_sources(root),
        "runtimes": _probe_runtimes(folder, layer),
    }


def describe_runtimes(folder: WorkFolder, layer: Optional[str]) -> Dict[str, Any]:
    """What can be imported here, by name. Importing may kill the process: `probe` runs this in a child."""
    if layer is not None:
        sys.path.insert(0, folder.layer(layer))
    from device_agent.runtimes.catalogue import RUNTIMES

    found = {name: entry.describe() for name, entry in RUNTIMES.items()}
    return {name: told for name, told in found.items() if told is not None}


def _probe_runtimes(folder: WorkFolder, layer: Optional[str]) -> Dict[str, Any]:
    """Nothing where the import dies or hangs: wheels may hold instructions that an old processor lacks."""
    command = [sys.executable, os.path.abspath(sys.argv[0]), "--work", folder.root, "runtimes"]
    try:
        child = subprocess.run(
            command + ([] if layer is None else ["--layer", layer]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=_PROBE_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {}
    if child.returncode != 0:
        sys.stderr.write(child.stderr.decode("utf-8", "replace")[-protocol.MAX_TEXT :])
        return {}
    runtimes: Dict[str, Any] = json.loads(child.stdout.decode().splitlines()[-1])
    return runtimes


def name_machine(kernel_says: str, is_64_bit: bool) -> str:
    """The architecture that wheels must have: a 64-bit kernel may carry a 32-bit system (Raspberry Pi OS)."""
    if is_64_bit:
        return kernel_says
    return {"aarch64": "armv7l", "x86_64": "i686"}.get(kernel_says, kernel_says)


def name_board(root: str, cpu_model: Optional[str]) -> str:
    """The device tree's model, else what the firmware says, else the processor."""
    model = read_text(root, "proc/device-tree/model")
    if model:
        return model
    firmware = [read_text(root, "sys/class/dmi/id/" + name) for name in ("sys_vendor", "product_name")]
    told = " ".join(text for text in firmware if text)
    return told or "Linux {} ({})".format(platform.machine(), cpu_model or "unknown processor")


def parse_cpu_model(cpuinfo: str) -> Optional[str]:
    """The processor's name: x86 and some ARM kernels tell it, others only the part numbers."""
    named = re.search(r"^(?:model name|Hardware)\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    implementer = re.search(r"^CPU implementer\s*:\s*(\w+)", cpuinfo, re.MULTILINE)
    part = re.search(r"^CPU part\s*:\s*(\w+)", cpuinfo, re.MULTILINE)
    if implementer and part:
        key = (implementer.group(1), part.group(1))
        if key in _ARM_PARTS:
            return _ARM_PARTS[key]
    return named.group(1).strip() if named else None


def parse_os_release(text: str) -> Optional[str]:
    """PRETTY_NAME of /etc/os-release."""
    match = re.search(r"^PRETTY_NAME=[\"']?(.*?)[\"']?$", text, re.MULTILINE)
    return match.group(1) if match else None


def find_libc(root: str) -> Dict[str, Optional[str]]:
    """Name and version: glibc tells them itself, musl's loader prints them."""
    told = _ask_glibc().split()
    if len(told) == 2:
        return {"name": told[0], "version": told[1]}
    for name in list_names(root, "lib"):
        if name.startswith("ld-musl-"):
            child = subprocess.run([os.path.join(root, "lib", name)], stderr=subprocess.PIPE, check=False)
            match = re.search(rb"Version (\S+)", child.stderr)
            return {"name": "musl", "version": match.group(1).decode() if match else None}
    return {"name": None, "version": None}


def _ask_glibc() -> str:
    """`glibc 2.36`, or nothing where the C library is another one."""
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError):
        return ""
