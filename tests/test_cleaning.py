"""`bench clean`: on a board over SSH, and in the cache of a workspace."""

from __future__ import annotations

import json
import os
import time
from fcntl import LOCK_EX, flock
from pathlib import Path

import pytest

from host.cache import clean_cache
from host.cleaning import find_fetched
from host.errors import UsageError
from host.fleet.agent_archive import build_agent
from host.fleet.cleaning import clean_board
from host.fleet.deploying import deploy
from host.fleet.probing import bootstrap_agent
from host.fleet.registry import save_device
from host.fleet.ssh import open_ssh
from host.ledger.store import Ledger
from host.progress import Silent
from host.specs.artifact import Blob
from host.specs.cleaning import Terms, parse_age, parse_size
from host.specs.device import Device
from host.workspace import Workspace
from tests.bench_command import bench, run_bench
from tests.made_blobs import make_blob, make_layer
from tests.made_results import make_measurement, make_run

OWN = {"work_folder": "~/cleaned", "emulation": None}  # else its own workspace would start it


@pytest.fixture
def used_board(emulated_device: Device, tmp_path: Path) -> tuple[Workspace, Device, Blob]:
    """A board with a work folder of its own, on which a file and packages lie."""
    device = emulated_device.model_copy(update=OWN)
    workspace = Workspace(tmp_path)
    save_device(workspace, device)
    agent = build_agent(workspace.cache)
    blob, layer = (
        make_blob(tmp_path / "made", os.urandom(300_000)),
        make_layer(tmp_path / "made", size=200_000),
    )
    with open_ssh(device) as remote:
        remote.run(["rm", "-rf", "~/cleaned"])
        bootstrap_agent(remote, device, agent)
        deploy(remote, device, agent, [blob], layer, Silent())
    return workspace, device, blob


def test_a_board_is_cleaned_by_a_quota_and_says_what_is_gone(
    used_board: tuple[Workspace, Device, Blob],
) -> None:
    workspace, device, blob = used_board
    would = run_bench(workspace.root, "clean", "--device", "emulated", "--keep", "0", "--dry-run")
    assert (would.code, "Would remove" in would.out) == (0, True)
    assert "0.5 MB would be freed" in would.err
    assert (
        json.loads(bench(workspace.root, "clean", "--device", "emulated", "--format", "json"))[0]["removed"]
        == []
    )
    (told,) = json.loads(
        bench(workspace.root, "clean", "--device", "emulated", "--keep", "300kB", "--format", "json")
    )
    assert {item["kind"] for item in told["removed"]} <= {"file", "packages"}
    assert told["kept_bytes"] <= max(300_000, told["needed_bytes"])
    (rest,) = json.loads(
        bench(workspace.root, "clean", "--device", "emulated", "--keep", "0", "--format", "json")
    )
    assert told["freed_bytes"] + rest["freed_bytes"] == 500_000
    with open_ssh(device) as remote:
        agent = build_agent(workspace.cache)
        assert clean_board(remote, device, agent, Terms(keep_bytes=0)).removed == ()
        assert deploy(remote, device, agent, [blob], None, Silent()).blobs_sent == 1


def test_devices_that_cannot_be_cleaned_are_named_and_the_others_are_cleaned(
    used_board: tuple[Workspace, Device, Blob],
) -> None:
    workspace, device, _ = used_board
    save_device(workspace, device.model_copy(update={"name": "away", "port": 9, "emulation": None}))
    ended = run_bench(
        workspace.root, "clean", "--device", "emulated", "--device", "away", "--keep", "0", "--format", "json"
    )
    assert ended.code == 3
    assert [item["device"] for item in json.loads(ended.out)] == ["emulated"]
    assert "1 of the devices were not cleaned:\naway: " in ended.err


def save_run(ledger: Ledger, run: str, tasks: tuple[str, ...], measured: str) -> None:
    ledger.start_run(make_run(run, tasks=tasks))
    for task in measured:
        ledger.save(make_measurement(run=run, task=task), ())


def test_a_run_counts_as_fetched_when_the_ledger_has_every_result(tmp_path: Path) -> None:
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}") as ledger:
        save_run(ledger, "whole", ("a", "b"), measured="ab")
        save_run(ledger, "half", ("a", "b"), measured="a")
        names = ["whole.12345678", "half.12345678", "of-another-host.12345678", "whole", ""]
        assert find_fetched(names, ledger) == ["whole.12345678"]


@pytest.fixture
def cache(workspace: Workspace) -> Workspace:
    """A cache with files of 1000 bytes that were last used so many days ago."""
    for name, days in {
        "builds/stages/a.pt": 40,
        "layers/b.tar.gz": 3,
        "agents/c.pyz": 1,
        "builds/lock": 99,
    }.items():
        path = workspace.cache / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 1000)
        at = time.time() - days * 86400
        os.utime(path, (at, at))
    return workspace


def test_the_cache_loses_what_was_used_longest_ago(cache: Workspace) -> None:
    assert [item.name for item in clean_cache(cache, Terms(keep_bytes=1500)).removed] == [
        "builds/stages/a.pt",
        "layers/b.tar.gz",
    ]
    assert not (cache.cache / "layers").exists()
    told = clean_cache(cache, Terms(keep_bytes=0, is_dry=True))
    assert (told.freed_bytes, told.kept_bytes, told.removed[0].kind) == (1000, 0, "agents")
    assert (cache.cache / "agents/c.pyz").exists()


def test_what_a_link_in_the_cache_leads_to_stays(cache: Workspace, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "big").write_text("x")
    (cache.cache / "feeds").symlink_to(tmp_path / "shared", target_is_directory=True)
    (cache.cache / "one").symlink_to(tmp_path / "shared" / "big")
    clean_cache(cache, Terms(keep_bytes=0))
    assert (tmp_path / "shared" / "big").exists()
    assert (cache.cache / "builds/lock").exists()


def test_the_cache_is_left_alone_while_something_is_built(cache: Workspace) -> None:
    with (cache.cache / "builds/lock").open() as file:
        flock(file, LOCK_EX)
        with pytest.raises(UsageError, match="a build is under way"):
            clean_cache(cache, Terms(keep_bytes=0))
    assert (cache.cache / "agents/c.pyz").exists()


def test_the_cache_is_cleaned_only_when_somebody_is_sure(cache: Workspace) -> None:
    ended = run_bench(cache.root, "clean", "--format", "json")
    assert (ended.code, "--yes" in ended.err) == (0, True)
    (told,) = json.loads(ended.out)
    assert (told["is_dry"], [item["name"] for item in told["removed"]]) == (True, ["builds/stages/a.pt"])
    (done,) = json.loads(bench(cache.root, "clean", "--yes", "--format", "json"))
    assert (done["device"], done["is_dry"], done["freed_bytes"]) == (None, False, 1000)
    assert not (cache.cache / "builds/stages/a.pt").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("--keep", "2"),
        ("--keep", "many"),
        ("--older-than", "30"),
        ("--keep", "1GB", "--older-than", "30d"),
        ("--abandoned",),
        ("--device", "nobody"),
    ],
)
def test_what_cannot_be_meant_is_wrong_usage(workspace: Workspace, words: tuple[str, ...]) -> None:
    assert run_bench(workspace.root, "clean", *words).code == 2


def test_sizes_and_ages_are_read_with_their_units() -> None:
    sizes = {"0": 0, "2GB": 2 * 10**9, "1.5 GiB": 3 * 2**29, "500mb": 5 * 10**8, "7kB": 7000, "12B": 12}
    assert {text: parse_size(text) for text in sizes} == sizes
    ages = {"30d": 30 * 86400, "2w": 14 * 86400, "12h": 12 * 3600, "0s": 0}
    assert {text: parse_age(text) for text in ages} == ages
