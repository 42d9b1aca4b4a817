"""What share of the cores others take, on a board that is made up."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from device_agent.environment import usable_cores
from device_agent.others import watch_others
from device_agent.sensors.process_cpu import cpu_s
from tests.board_trees import plant

TICKS = os.sysconf("SC_CLK_TCK")


class Busy:
    """Cores that were busy for some seconds, all together."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.spend(0.0)

    def spend(self, seconds: float) -> None:
        first, *others = usable_cores()
        lines = [f"cpu{first} {round(seconds * TICKS)} 0 0 0", *(f"cpu{core} 0 0 0 0" for core in others)]
        plant(self._root, {"proc/stat": "\n".join(lines) + "\n"})


@pytest.fixture
def busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Busy:
    monkeypatch.setenv("BOARDBENCH_ROOT", str(tmp_path))
    return Busy(tmp_path)


def test_what_this_process_spent_is_not_of_others(busy: Busy) -> None:
    own = [5.0, 7.0]
    share_others = watch_others(lambda: own.pop(0))
    began = time.monotonic()
    time.sleep(0.05)
    busy.spend(3.0)
    share = share_others()
    assert share is not None
    core_s = (time.monotonic() - began) * len(usable_cores())
    assert share >= (3.0 - 1 / TICKS - 2.0) / core_s


def test_where_all_was_spent_here_others_took_nothing(busy: Busy) -> None:
    own = [5.0, 8.0]
    share_others = watch_others(lambda: own.pop(0))
    busy.spend(3.0)
    assert share_others() == 0.0


def test_a_board_that_does_not_tell_has_no_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOARDBENCH_ROOT", str(tmp_path))
    assert watch_others()() is None


def test_programs_that_were_waited_for_are_our_own() -> None:
    before = cpu_s()
    spin = "import time\nwhile time.process_time() < 0.2: pass"
    subprocess.run([sys.executable, "-c", spin], check=True)
    assert cpu_s() - before >= 0.2
