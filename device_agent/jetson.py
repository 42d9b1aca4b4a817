"""What is particular to a Jetson: its releases, its power mode and whether its clocks are held."""

import re
from typing import Any, Dict, Iterable, List, Optional

from device_agent.asking import ask_command
from device_agent.sensors import jetson_clocks, nv_tegra_release, nvpmodel
from device_agent.sensors.cpufreq import read_clock
from device_agent.sensors.devfreq import read_gpu_clock
from device_agent.sensors.tree import read_lines, read_text

_NVPMODEL_TIMEOUT_S = 5.0
_CLOCKS_TIMEOUT_S = 15.0  # a shell script that takes a second on a Nano
_ABSURD_HZ = 20000000000

# NVIDIA's archive of JetPack. Releases that are not in it (36.4.7 came by apt) are known by their packages.
_JETPACKS = {
    "32.1": "4.2",
    "32.2": "4.2.1",
    "32.2.1": "4.2.2",
    "32.2.3": "4.2.3",
    "32.3.1": "4.3",
    "32.4.3": "4.4",
    "32.4.4": "4.4.1",
    "32.5": "4.5",
    "32.5.1": "4.5.1",
    "32.6.1": "4.6",
    "32.7.1": "4.6.1",
    "32.7.2": "4.6.2",
    "32.7.3": "4.6.3",
    "32.7.4": "4.6.4",
    "32.7.5": "4.6.5",
    "32.7.6": "4.6.6",
    "35.1": "5.0.2",
    "35.2.1": "5.1",
    "35.3.1": "5.1.1",
    "35.4.1": "5.1.2",
    "35.5": "5.1.3",
    "35.6": "5.1.4",
    "35.6.1": "5.1.5",
    "36.3": "6.0",
    "36.4": "6.1",
    "36.4.3": "6.2",
    "36.4.4": "6.2.1",
    "36.5": "6.2.2",
    "38.2": "7.0",
    "38.2.1": "7.0",
    "38.4": "7.1",
    "39.2": "7.2",
}
_DPKG_STATUS = "var/lib/dpkg/status"
_JETPACK_VERSION = re.compile(r"^(\d{1,2}(?:\.\d{1,2}){1,2})[-+]b\d+$")  # 5.1.2-b104, 6.2.1+b38
_L4T_VERSION = re.compile(r"^(\d{2}(?:\.\d{1,2}){1,2})-\d{8,}$")  # 36.4.4-20250616085344
_STATUS_MODE = re.compile(r"\bpmode:(\d{1,4})\b")


def is_jetson(root: str, chip: Optional[str]) -> bool:
    return (chip or "").startswith("tegra") or read_text(root, "etc/nv_tegra_release") is not None


def find_releases(root: str) -> Dict[str, Optional[str]]:
    """`l4t` and `jetpack`: what is installed, else what NVIDIA shipped with this L4T; None if not known."""
    packages = read_package_versions(root)
    l4t = nv_tegra_release.parse(read_text(root, "etc/nv_tegra_release") or "")["l4t"]
    installed = _match(_JETPACK_VERSION, packages.get("nvidia-jetpack"))
    l4t = l4t or _match(_L4T_VERSION, packages.get("nvidia-l4t-core"))
    return {"l4t": l4t, "jetpack": installed or find_jetpack(l4t)}


def find_jetpack(l4t: Optional[str]) -> Optional[str]:
    """The JetPack that came with just this release of L4T; 36.4.0 and 36.4 are the same."""
    return _JETPACKS.get(re.sub(r"\.0$", "", l4t)) if l4t else None


def _match(pattern: Any, text: Optional[str]) -> Optional[str]:
    match = pattern.match(text or "")
    return match.group(1) if match else None


def read_package_versions(root: str) -> Dict[str, str]:
    """The versions of NVIDIA's packages that are installed, by name."""
    return parse_package_versions(read_lines(root, _DPKG_STATUS))


def parse_package_versions(lines: Iterable[str]) -> Dict[str, str]:
    """The versions in dpkg's status of the packages of `nvidia-…` that are installed, by name."""
    found: Dict[str, str] = {}
    package, is_installed = "", False
    for line in lines:
        key, _, value = line.partition(": ")
        if key == "Package":
            package, is_installed = value.strip(), False
        elif key == "Status":
            is_installed = value.split()[-1:] == ["installed"]
        elif key == "Version" and is_installed and package.startswith("nvidia-"):
            found[package] = value.strip()
    return found


def describe_mode(root: str) -> Optional[Dict[str, Any]]:
    """`mode` and `mode_id` of nvpmodel: asked, else from the files that it keeps (R32 and later).

    Nobody needs to be root for it: on old releases (R32) it complains, after the answer.
    """
    answer = nvpmodel.parse(ask_command("nvpmodel", ["-q"], _NVPMODEL_TIMEOUT_S))
    mode, mode_id = answer["mode"], answer["mode_id"]
    if mode is None and mode_id is None:
        mode_id = parse_status(read_text(root, "var/lib/nvpmodel/status") or "")
        mode = find_mode_name(read_text(root, "etc/nvpmodel.conf") or "", mode_id)
    return None if mode is None and mode_id is None else {"mode": mode, "mode_id": mode_id}


def parse_status(text: str) -> Optional[int]:
    """The mode in /var/lib/nvpmodel/status: `pmode:0002 fmode:quiet`."""
    match = _STATUS_MODE.search(text)
    return int(match.group(1)) if match else None


def find_mode_name(configuration: str, mode_id: Optional[int]) -> Optional[str]:
    """The name in a line `< POWER_MODEL ID=2 NAME=MODE_15W_6CORE >` of /etc/nvpmodel.conf."""
    if mode_id is None:
        return None
    line = r"^[ \t]*<[ \t]*POWER_MODEL[ \t]+ID=0*{}[ \t]+NAME=([\w.+-]+)[ \t]*>".format(mode_id)
    match = re.search(line, configuration, re.MULTILINE)
    return match.group(1) if match else None


def describe_clocks(root: str, cores: List[int], is_root: bool) -> Dict[str, Any]:
    """`pinned`: whether jetson_clocks holds all clocks; with those of GPU and memory (EMC) in MHz.

    Only root may ask it. Without, clocks that may move show that it does not hold them; that it does cannot
    be known, since the memory's clock is hidden.
    """
    text = ask_command("jetson_clocks", ["--show"], _CLOCKS_TIMEOUT_S) if is_root else ""
    shown = jetson_clocks.parse(text)
    gpu = read_gpu_clock(root)
    seen = False if _may_move(root, cores) else None
    return {
        "pinned": shown["pinned"] if shown["pinned"] is not None else seen,
        "gpu_mhz": gpu.current_mhz if gpu else None,
        "gpu_max_mhz": gpu.allowed_max_mhz if gpu else None,
        "emc_mhz": _find_memory_mhz(shown["emc"]),
    }


def _find_memory_mhz(emc: Optional[Dict[str, Any]]) -> Optional[float]:
    hertz = None if emc is None else emc["cur_hz"]
    return None if hertz is None or not 0 < hertz < _ABSURD_HZ else float(hertz / 1e6)


def _may_move(root: str, cores: List[int]) -> bool:
    """Whether the limits of a core or of the GPU leave a choice."""
    clocks = [read_clock(root, core) for core in cores]
    limits = [(clock.allowed_min_mhz, clock.allowed_max_mhz) for clock in clocks]
    gpu = read_gpu_clock(root)
    limits += [(gpu.allowed_min_mhz, gpu.allowed_max_mhz)] if gpu else []
    return any(low is not None and high is not None and low < high for low, high in limits)
