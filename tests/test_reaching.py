"""A transport is one file: it is found by its name, and a run goes over it like over SSH."""

from __future__ import annotations

from pathlib import Path

import pytest

from host.errors import UsageError
from host.fleet import transports
from host.fleet.reaching import list_transports, open_remote
from tests.test_following import Bench, make_device

FOLDER = '''\
"""A board that is a folder of this machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from host.fleet.remote import Remote
from host.specs.device import Device
from tests.local_remote import LocalRemote


@contextmanager
def open_remote(device: Device) -> Iterator[Remote]:
    yield LocalRemote(device.name, Path(device.host))
'''


def test_boards_are_reached_over_ssh_unless_they_say_otherwise(tmp_path: Path) -> None:
    assert make_device(tmp_path).transport == "ssh"
    assert "ssh" in list_transports()


def test_a_transport_that_there_is_not_is_named_with_those_that_there_are(tmp_path: Path) -> None:
    device = make_device(tmp_path).model_copy(update={"transport": "pigeon"})
    with pytest.raises(UsageError, match="pi4: there is no transport 'pigeon'") as caught:
        open_remote(device)
    assert "ssh" in (caught.value.hint or "")


def test_one_more_file_is_one_more_transport(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("home", "transports"):
        (tmp_path / folder).mkdir()
    (tmp_path / "transports" / "folder.py").write_text(FOLDER)
    monkeypatch.setattr(transports, "__path__", [*transports.__path__, str(tmp_path / "transports")])
    changes = {"transport": "folder", "host": str(tmp_path / "home")}
    device = make_device(tmp_path / "board").model_copy(update=changes)
    bench = Bench(device, tmp_path, lambda: open_remote(device))
    assert bench.follow(bench.job("t1")).reason == "completed"
    bench.assert_whole("t1")
