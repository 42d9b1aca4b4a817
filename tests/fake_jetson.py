"""A board that looks like a Jetson Orin NX: files and commands of one, around an emulated board."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import onnxruntime

from host.fleet import emulator
from host.fleet.emulator_server import find_interpreter
from host.fleet.registry import save_device
from host.specs.device import Device
from host.workspace import Workspace
from tests.board_trees import plant
from tests.stand_ins.installing import build_cuda, list_python_environment

RECORDINGS = Path(__file__).parent / "recordings"
MODEL = "NVIDIA Jetson Orin NX Engineering Reference Developer Kit"

FILES = {
    "proc/device-tree/model": f"{MODEL}\0",
    "proc/device-tree/compatible": "nvidia,p3768-0000+p3767-0000\0nvidia,p3767-0000\0nvidia,tegra234\0",
    "proc/meminfo": "MemTotal:       16031744 kB\nMemFree:        13000000 kB\nMemAvailable:   14000000 kB\n",
    "etc/nv_tegra_release": (
        "# R36 (release), REVISION: 4.4, GCID: 41062509, BOARD: generic, EABI: aarch64, "
        "DATE: Mon Jun 16 16:07:13 UTC 2025\n"
    ),
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "45843\n",
    "sys/class/thermal/thermal_zone1/type": "gpu-thermal\n",
    "sys/class/thermal/thermal_zone1/temp": "43406\n",
}
INA = {
    "name": "ina3221\n",
    "in1_label": "VDD_IN\n",
    "in1_input": "5016\n",
    "curr1_input": "1216\n",
    "in2_label": "VDD_CPU_GPU_CV\n",
    "in2_input": "5016\n",
    "curr2_input": "144\n",
    "in3_label": "VDD_SOC\n",
    "in3_input": "5008\n",
    "curr3_input": "320\n",
}
COMPUTING = ("onnxruntime", "onnx", "google", "ml_dtypes", "typing_extensions.py")
"""What the stand-in of TensorRT needs: onnxruntime, and onnx with what that imports."""

POWER_W = 5.016 * 1.216


def plant_jetson(root: Path, *, has_ina: bool = True) -> Path:
    """The files by which a Jetson Orin NX (L4T 36.4.4) tells what it is, and how it is."""
    plant(root, FILES)
    if has_ina:
        plant(root, {f"sys/class/hwmon/hwmon1/{name}": text for name, text in INA.items()})
    return root


def start_jetson(
    workspace: Workspace,
    name: str,
    *,
    has_ina: bool = True,
    tensorrt: str | None = None,
) -> Device:
    """An emulated board with one core, registered under the label `jetson`, that looks like one.

    `tensorrt` is the release whose bindings its python3 has, None where nobody has installed any.
    """
    device = emulator.up(workspace, name, 1)
    folder = workspace.emulators / name
    root = plant_jetson(folder / "root", has_ina=has_ina)
    seen = {"BOARDBENCH_ROOT": str(root)}
    if tensorrt is not None:
        seen |= _install_tensorrt(folder, tensorrt)
    disguise_python(folder / "home" / "bin" / "python3", seen)
    _plant_commands(folder / "home" / "bin", folder / "recordings")
    labelled = device.model_copy(update={"labels": ("jetson", *device.labels)})
    save_device(workspace, labelled)
    return labelled


def _install_tensorrt(folder: Path, version: str) -> dict[str, str]:
    """The environment with bindings of that release, and what they compute with beside the layer's numpy."""
    installed = list_python_environment(version, build_cuda(folder))
    computing, site_packages = folder / "computing", Path(onnxruntime.__file__).parents[1]
    computing.mkdir()
    for name in COMPUTING:
        (computing / name).symlink_to(site_packages / name)
    return installed | {"PYTHONPATH": f"{installed['PYTHONPATH']}:{computing}"}


def disguise_python(path: Path, environment: dict[str, str]) -> None:
    """In place of the link to an interpreter a script that starts it in this environment."""
    told = " ".join(f"{name}={shlex.quote(value)}" for name, value in environment.items())
    path.unlink()
    _write_command(path, f'{told} exec {shlex.quote(str(find_interpreter()))} "$@"')


def _plant_commands(folder: Path, recordings: Path) -> None:
    """NVIDIA's own programs, that print what those of real boards printed."""
    recordings.mkdir(exist_ok=True)
    lines = [one["line"] for one in _read("tegrastats") if one["id"] in ("tg-orinnx-03", "tg-orinnx-04")]
    (recordings / "tegrastats").write_text("".join(f"{line}\n" for line in lines))
    for name, recording in (("nvpmodel", "ot-nvp-03"), ("jetson_clocks", "ot-jc-03")):
        (output,) = (one["output"] for one in _read("board_texts") if one["id"] == recording)
        (recordings / name).write_text(output)
        _write_command(folder / name, f"cat {shlex.quote(str(recordings / name))}")
    replay = f'while read -r line; do echo "$line"; sleep 0.1; done < {recordings / "tegrastats"}'
    _write_command(folder / "tegrastats", f"while :; do {replay}; done")


def _read(recording: str) -> list[dict[str, str]]:
    text = (RECORDINGS / f"{recording}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def _write_command(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)
