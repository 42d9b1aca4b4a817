"""What the host must know of a board before it can deploy: facts, null where they are missing."""

import json
import os
import platform
import subprocess
import sys
from typing import Any, Dict, List, Optional

from device_agent import protocol
from device_agent.environment import usable_cores
from device_agent.jetson import describe_clocks, describe_mode, find_releases, is_jetson
from device_agent.power import describe_sources
from device_agent.privileges import is_root, list_root_only
from device_agent.runtimes.catalogue import NAMES, describe_runtime
from device_agent.sensors.chip import find_chip, name_chip, name_gpu
from device_agent.sensors.cpufreq import read_governor
from device_agent.sensors.load import read_memory, read_swap_mb
from device_agent.sensors.processor import describe_clusters, find_offline_cores, parse_cpu_model
from device_agent.sensors.system import find_libc, name_board, name_machine, parse_os_release, read_kernel
from device_agent.sensors.thermal import read_temperature
from device_agent.sensors.thermal_zones import read_zones
from device_agent.sensors.tree import read_text
from device_agent.work_folder import WorkFolder

_RUNTIME_TIMEOUT_S = 60  # the host waits for 120 s for the whole probe


def probe_board(folder: WorkFolder, layer: Optional[str], root: str = "/") -> Dict[str, Any]:
    """All facts. `layer` names the one whose runtimes are looked at."""
    facts = describe_hardware(root)
    facts.update(describe_privileges(root, facts["clusters"]))
    facts.update(
        schema=protocol.SCHEMA,
        agent_version=protocol.AGENT_VERSION,
        python=platform.python_version(),
        implementation={"CPython": "cp", "PyPy": "pp"}.get(platform.python_implementation()),
        machine=name_machine(platform.machine(), sys.maxsize > 2**32),
        libc=find_libc(root),
        os=parse_os_release(read_text(root, "etc/os-release") or ""),
        kernel=read_kernel(root),
        free_bytes=folder.free_bytes(),
        loads_code=folder.loads_code(),
        power_sources=describe_sources(root),
        runtimes=_probe_runtimes(folder, layer),
    )
    return facts


def describe_hardware(root: str) -> Dict[str, Any]:
    """The board, its chips and memory, and how they are now. `cores` counts those that we may use."""
    cores, memory_mb, chip = usable_cores(), read_memory(root).total, find_chip(root)
    cpu_model = parse_cpu_model(read_text(root, "proc/cpuinfo") or "")
    return {
        "board": name_board(root, cpu_model),
        "soc": name_chip(root, chip) or (cpu_model if _is_x86() else None),
        "cpu_model": cpu_model,
        "cores": len(cores),
        "clusters": describe_clusters(root),
        "offline_cores": find_offline_cores(root),
        "gpu": name_gpu(root, chip),
        "memory_mb": None if memory_mb is None else round(memory_mb),
        "swap_mb": read_swap_mb(root),
        "governor": read_governor(root, cores),
        "temperature_c": read_temperature(root),
        "thermal_zones": _describe_zones(root),
    }


def _is_x86() -> bool:
    return platform.machine() in ("x86_64", "i686", "i386", "AMD64")


def _describe_zones(root: str) -> List[Dict[str, Any]]:
    return [
        {
            "name": zone.name,
            "temperature_c": zone.temperature_c,
            "trips": [{"kind": trip.kind, "temperature_c": trip.temperature_c} for trip in zone.trips],
        }
        for zone in read_zones(root)
    ]


def describe_privileges(root: str, clusters: List[Dict[str, Any]]) -> Dict[str, Any]:
    """What only a Jetson has, None on other boards, and what root would see of this one."""
    found: Dict[str, Any] = dict.fromkeys(("l4t", "jetpack", "nvpmodel", "jetson_clocks"))
    is_one = is_jetson(root, find_chip(root))
    if is_one:
        cores = [core for cluster in clusters for core in cluster["cores"]]
        clocks = describe_clocks(root, cores, is_root())
        found.update(find_releases(root), nvpmodel=describe_mode(root), jetson_clocks=clocks)
    root_would_add = list_root_only(root, found if is_one else None)
    return dict(found, is_root=is_root(), root_would_add=root_would_add)


def describe_one(folder: WorkFolder, layer: Optional[str], name: str) -> Dict[str, Any]:
    """A runtime by its name, nothing where it is not there. Importing may kill the process: `probe` runs
    this in a child."""
    _use_layer(folder, layer)
    told = describe_runtime(name)
    return {} if told is None else {name: told}


def _use_layer(folder: WorkFolder, layer: Optional[str]) -> None:
    if layer is not None:
        sys.path.insert(0, folder.layer(layer))


def _probe_runtimes(folder: WorkFolder, layer: Optional[str]) -> Dict[str, Any]:
    """Each in a process of its own, so that one that dies does not take the others along."""
    found: Dict[str, Any] = {}
    for name in NAMES:
        found.update(_probe_runtime(folder, layer, name))
    return found


def _probe_runtime(folder: WorkFolder, layer: Optional[str], name: str) -> Dict[str, Any]:
    """Nothing where the import dies or hangs: wheels may hold instructions that an old processor lacks."""
    command = [sys.executable, os.path.abspath(sys.argv[0]), "--work", folder.root, "runtime", name]
    try:
        child = subprocess.run(
            command + ([] if layer is None else ["--layer", layer]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=_RUNTIME_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {}
    if child.returncode != 0:
        sys.stderr.write(child.stderr.decode("utf-8", "replace")[-protocol.MAX_TEXT :])
        return {}
    told: Dict[str, Any] = json.loads(child.stdout.decode().splitlines()[-1])
    return told
