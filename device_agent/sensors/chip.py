"""The system on chip of a board, and the GPU that it computes or draws with."""

import re
from typing import Dict, List, Optional

from device_agent.sensors import device_tree
from device_agent.sensors.tree import list_names, read_text

_DEVICE_TREES = ("proc/device-tree", "sys/firmware/devicetree/base")
_SOC0 = "sys/devices/soc0"
_NVIDIA = "proc/driver/nvidia/gpus"
_NAME = re.compile(r"^[a-z0-9-]{1,40},([a-z0-9][a-z0-9._-]{0,60})$", re.IGNORECASE)
_GENERIC = re.compile(r"platform|virt|generic|dummy|simple", re.IGNORECASE)

_SERIES = {
    "tegra124": "Tegra124 (K1)",
    "tegra210": "Tegra210 (X1)",
    "tegra186": "Tegra186 (TX2)",
    "tegra194": "Tegra194 (Xavier)",
    "tegra234": "Tegra234 (Orin)",
    "tegra264": "Tegra264 (Thor)",
}
# NVIDIA's names of the chips in its drivers (nvgpu); Broadcom's in raspberrypi/documentation.
_GPUS = {
    "tegra124": "Kepler (GK20A)",
    "tegra210": "Maxwell (GM20B)",
    "tegra186": "Pascal (GP10B)",
    "tegra194": "Volta (GV11B)",
    "tegra234": "Ampere (GA10B)",
    "tegra264": "Blackwell (GB10B)",
    "bcm2835": "VideoCore IV",
    "bcm2836": "VideoCore IV",
    "bcm2837": "VideoCore IV",
    "bcm2711": "VideoCore VI",
    "bcm2712": "VideoCore VII",
}


def read_device_tree(root: str, name: str) -> Optional[str]:
    """A text of the device tree's root, such as `model`; None on machines that have none, as most of x86."""
    found = (read_text(root, "{}/{}".format(folder, name)) for folder in _DEVICE_TREES)
    return next((text for text in found if text), None)


def find_chip(root: str) -> Optional[str]:
    """The chip as the device tree names it, such as tegra234 or bcm2712."""
    compatible = read_device_tree(root, "compatible")
    return None if compatible is None else parse_chip(compatible)


def parse_chip(compatible: str) -> Optional[str]:
    """The chip in a list of compatible names, which go from the board to the chip."""
    chip: Optional[str] = device_tree.parse(compatible).get("soc")
    if chip is not None:
        return chip
    names = [_NAME.match(name) for name in re.split(r"[\0\n]", compatible) if name]
    told = [match.group(1) for match in names if match and not _GENERIC.search(match.group(1))]
    return told[-1].lower() if told and None not in names else None


def name_chip(root: str, chip: Optional[str]) -> Optional[str]:
    """The chip's name for people: by the device tree, else by the kernel's soc0."""
    if chip is not None:
        return _SERIES.get(chip, chip.upper())
    family, number = (read_text(root, "{}/{}".format(_SOC0, name)) for name in ("family", "soc_id"))
    if not number or "jep106" in number:
        return None
    return number if not number.isdigit() else family and "{} {}".format(family, number)


def name_gpu(root: str, chip: Optional[str]) -> Optional[str]:
    """The GPUs that NVIDIA's driver lists, else the one of the chip; None for others."""
    counts: Dict[str, int] = {}
    for name in _list_nvidia(root):
        counts[name] = counts.get(name, 0) + 1
    if counts:
        return ", ".join(
            name if count == 1 else "{} × {}".format(count, name) for name, count in counts.items()
        )
    return _GPUS.get(chip or "")


def _list_nvidia(root: str) -> List[str]:
    texts = [read_text(root, "{}/{}/information".format(_NVIDIA, name)) for name in list_names(root, _NVIDIA)]
    matches = [re.search(r"^Model:[ \t]*(\S[^\n]{0,80}?)[ \t]*$", text or "", re.MULTILINE) for text in texts]
    return [match.group(1) for match in matches if match]
