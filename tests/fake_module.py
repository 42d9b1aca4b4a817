"""A Jetson's INA3221 in a tree of /sys, whose one rail draws what a test says."""

from __future__ import annotations

from pathlib import Path


class Module:
    """One rail at 5 V; every value is written whole and at one go, so that no reader meets half of one."""

    def __init__(self, root: Path, label: str = "VDD_IN", watts: float = 5.0) -> None:
        self.root = str(root)
        self._folder = root / "sys/class/hwmon/hwmon3"
        self._folder.mkdir(parents=True)
        for name, text in {"name": "ina3221", "in1_label": label, "in1_input": "5000"}.items():
            (self._folder / name).write_text(f"{text}\n")
        self.draw(watts)

    def draw(self, watts: float) -> None:
        part = self._folder / "curr1_input.part"
        part.write_text(f"{watts * 200:.0f}\n")  # mA at 5 V
        part.replace(self._folder / "curr1_input")

    def tell_interval(self, milliseconds: int) -> None:
        (self._folder / "update_interval").write_text(f"{milliseconds}\n")

    def fall_silent(self) -> None:
        (self._folder / "curr1_input").unlink()
