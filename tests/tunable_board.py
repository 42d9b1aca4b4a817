"""A Jetson whose governor, power mode and clocks can be changed: files, and the commands that act on them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.board_trees import plant

CORES = range(4)
HIGHEST_KHZ, LOWEST_KHZ = 1510400, 729600
MODES = """< PM_CONFIG DEFAULT=1 >
< POWER_MODEL ID=0 NAME=MAXN >
TPC_POWER_GATING TPC_PG_MASK 0
GPU MAX_FREQ -1
< POWER_MODEL ID=1 NAME=MODE_10W >
TPC_POWER_GATING TPC_PG_MASK 0
GPU MAX_FREQ 612000000
< POWER_MODEL ID=2 NAME=MODE_7W >
TPC_POWER_GATING TPC_PG_MASK 252
GPU MAX_FREQ 408000000
"""
CPU = "sys/devices/system/cpu"
GPU = "sys/class/devfreq/17000000.gpu"
EMC = "sys/kernel/debug/bpmp/debug/clk/emc"


def list_files() -> dict[str, str]:
    """The tree of the board; all its cores are clocked together."""
    files = {
        f"{CPU}/online": "0-3\n",
        f"{CPU}/present": "0-3\n",
        "etc/nvpmodel.conf": MODES,
        "etc/nv_tegra_release": "# R36 (release), REVISION: 4.4, GCID: 1, BOARD: generic, DATE: Mon Jun 16\n",
        "proc/sys/kernel/random/boot_id": "first\n",
        "proc/meminfo": "MemTotal: 4000000 kB\nMemAvailable: 3000000 kB\nSwapTotal: 0 kB\n",
        f"{GPU}/min_freq": "306000000\n",
        f"{GPU}/max_freq": "624750000\n",
        f"{GPU}/cur_freq": "306000000\n",
        f"{EMC}/state": "0\n",
        "mode": "1\n",
    }
    for core in CORES:
        folder = f"{CPU}/cpu{core}/cpufreq"
        files |= {
            f"{folder}/scaling_governor": "schedutil\n",
            f"{folder}/scaling_available_governors": "ondemand performance schedutil\n",
            f"{folder}/scaling_min_freq": f"{LOWEST_KHZ}\n",
            f"{folder}/scaling_max_freq": f"{HIGHEST_KHZ}\n",
            f"{folder}/scaling_cur_freq": f"{LOWEST_KHZ}\n",
            f"{folder}/cpuinfo_min_freq": f"{LOWEST_KHZ}\n",
            f"{folder}/cpuinfo_max_freq": f"{HIGHEST_KHZ}\n",
            f"{folder}/related_cpus": "0\n" if core == 0 else f"{core}\n",
        }
    return files


SUDO = """
[ "$1" = -n ] || exit 9
shift
echo "$@" >> "$ROOT/sudo.log"
[ -e "$ROOT/sudo-asks" ] && { echo 'sudo: a password is required' >&2; exit 1; }
exec "$@"
"""

NVPMODEL = """
case "$1" in
-q) ;;
-m)
  if [ -e "$ROOT/asks-for-restart" ]; then
    echo "NVPM WARN: Reboot required for changing to this power mode: $2"
    echo "NVPM WARN: DO YOU WANT TO REBOOT NOW? enter YES/yes to confirm:"
    read answer
    case "$answer" in y*|Y*) touch "$ROOT/was-restarted" ;; esac
    echo "NVPM ERROR: optMask is 1, no request for power mode"
    exit 255
  fi
  echo "$2" > "$ROOT/mode" ;;
esac
mode=$(cat "$ROOT/mode")
echo "NV Power Mode: $(sed -n "s/.*ID=$mode NAME=\\([A-Z0-9_]*\\) .*/\\1/p" "$ROOT/etc/nvpmodel.conf")"
echo "$mode"
"""

JETSON_CLOCKS = """
cpus="$ROOT/sys/devices/system/cpu"
gpu="$ROOT/sys/class/devfreq/17000000.gpu"
emc="$ROOT/sys/kernel/debug/bpmp/debug/clk/emc/state"
case "$1" in
--show)
  echo "SOC family:tegra234  Machine:a board"
  echo "Online CPUs: 0-3"
  for core in 0 1 2 3; do
    at="$cpus/cpu$core/cpufreq"
    echo "cpu$core: Online=1 Governor=$(cat $at/scaling_governor) MinFreq=$(cat $at/scaling_min_freq)" \\
      "MaxFreq=$(cat $at/scaling_max_freq) CurrentFreq=$(cat $at/scaling_cur_freq)"
  done
  echo "GPU MinFreq=$(cat $gpu/min_freq) MaxFreq=$(cat $gpu/max_freq) CurrentFreq=$(cat $gpu/cur_freq)"
  echo "EMC MinFreq=204000000 MaxFreq=2133000000 CurrentFreq=2133000000 FreqOverride=$(cat $emc)"
  echo "NV Power Mode: MODE_10W"
  ;;
--store)
  [ -e "$2" ] && { echo "File $2 already exists. Can I overwrite it? Y/N:"; exit 1; }
  for file in "$cpus"/cpu?/cpufreq/scaling_min_freq "$gpu/min_freq" "$emc"; do
    echo "$file:$(cat "$file")" >> "$2"
  done
  ;;
--restore)
  while IFS=: read -r file value; do echo "$value" > "$file"; done < "$2"
  ;;
*)
  [ -e "$ROOT/hangs" ] && { touch "$ROOT/is-hanging"; exec sleep 60; }
  [ -e "$ROOT/is-slow" ] && { touch "$ROOT/is-hanging"; sleep 1; }
  for core in 0 1 2 3; do
    cat "$cpus/cpu$core/cpufreq/scaling_max_freq" > "$cpus/cpu$core/cpufreq/scaling_min_freq"
  done
  cat "$gpu/max_freq" > "$gpu/min_freq"
  echo 1 > "$emc"
  ;;
esac
"""


@dataclass(frozen=True)
class TunableBoard:
    """The files of the board below `root`; its commands are in `commands`."""

    root: Path

    @property
    def commands(self) -> Path:
        return self.root / "commands"

    def read(self, path: str) -> str:
        return (self.root / path).read_text().strip()

    def write(self, path: str, text: str = "") -> None:
        plant(self.root, {path: text})

    def state(self) -> dict[str, Any]:
        """All that can be changed."""
        return {
            "mode": self.read("mode"),
            "governors": [self.read(f"{CPU}/cpu{core}/cpufreq/scaling_governor") for core in CORES],
            "least_khz": [int(self.read(f"{CPU}/cpu{core}/cpufreq/scaling_min_freq")) for core in CORES],
            "gpu": self.read(f"{GPU}/min_freq"),
            "memory": self.read(f"{EMC}/state"),
        }

    def asked_of_sudo(self) -> list[str]:
        log = self.root / "sudo.log"
        return log.read_text().splitlines() if log.exists() else []


FIXED = {
    "mode": "0",
    "governors": ["performance"] * 4,
    "least_khz": [HIGHEST_KHZ] * 4,
    "gpu": "624750000",
    "memory": "1",
}


def make_tunable(root: Path, *, is_jetson: bool = True) -> TunableBoard:
    """The board; without `is_jetson` it has governors alone, as a Raspberry Pi."""
    root.mkdir(parents=True, exist_ok=True)
    plant(root, list_files())
    board = TunableBoard(root)
    board.commands.mkdir()
    commands = {"sudo": SUDO}
    if is_jetson:
        commands |= {"nvpmodel": NVPMODEL, "jetson_clocks": JETSON_CLOCKS}
    else:
        (root / "etc/nvpmodel.conf").unlink()
        (root / "etc/nv_tegra_release").unlink()
    for name, script in commands.items():
        path = board.commands / name
        path.write_text(f"#!/bin/sh\nROOT={json.dumps(str(root))}\n{script}")
        path.chmod(0o755)
    return board
