"""Builds side by side: the same files as one after another, and nothing is made twice."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from host.compress.building import build_variants
from host.errors import BuildError, UsageError
from host.progress import Silent
from tests.tiny_plans import CHANNEL, DENSE, INT8, WEIGHT, Watched, make_recipe, plan_variants

HERE = Path(__file__).parent
CHAIN = (DENSE, {"prune": WEIGHT}, {"prune": {**CHANNEL, "finetune": {"epochs": 1}}, **INT8}, INT8)


@pytest.fixture(autouse=True)
def _beside_the_factories(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE)
    monkeypatch.setenv("PYTHONPATH", f"{HERE.parent}:{HERE}")  # for the processes that build


def test_two_jobs_build_the_same_files_as_one(tmp_path: Path) -> None:
    planned = plan_variants(make_recipe(), *CHAIN)
    alone = build_variants(planned, tmp_path / "alone", 20, Silent())
    progress = Watched()
    beside = build_variants(planned, tmp_path / "beside", 20, progress, jobs=2)
    assert [one.blob.sha256 for one in beside] == [one.blob.sha256 for one in alone]
    assert progress.totals[:3] == [1, 3, 4]  # one training, three exports, four files
    assert progress.done[:3] == [1, 3, 4]


def test_what_is_built_starts_no_process(tmp_path: Path) -> None:
    planned = plan_variants(make_recipe(), DENSE)
    built = build_variants(planned, tmp_path, 20, Silent())
    progress = Watched()
    assert build_variants(planned, tmp_path, 20, progress, jobs=2) == built
    assert progress.tracked == []


def test_what_fails_in_a_worker_names_the_variant_and_keeps_its_hint(tmp_path: Path) -> None:
    planned = plan_variants(make_recipe(arguments={"classes": 4}), DENSE)
    with pytest.raises(BuildError, match=r"tiny dense: the model answers with \[2, 4\]") as caught:
        build_variants(planned, tmp_path, 20, Silent(), jobs=2)
    assert "num_classes" in str(caught.value.hint)


@pytest.mark.slow
def test_a_real_dask_cluster_builds_the_same_files(tmp_path: Path) -> None:
    from distributed import LocalCluster

    planned = plan_variants(make_recipe(), *CHAIN[:2])
    alone = build_variants(planned, tmp_path / "alone", 20, Silent())
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        there = build_variants(
            planned, tmp_path / "there", 20, Silent(), jobs=2, scheduler=cluster.scheduler_address
        )
    assert [one.blob.sha256 for one in there] == [one.blob.sha256 for one in alone]


def test_a_scheduler_that_does_not_answer_is_an_error_that_says_so(tmp_path: Path) -> None:
    planned = plan_variants(make_recipe(), DENSE)
    with pytest.raises(UsageError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        build_variants(planned, tmp_path, 20, Silent(), scheduler="tcp://127.0.0.1:9")


@pytest.mark.parametrize(
    ("library", "scheduler", "extra"),
    [
        ("distributed", "tcp://127.0.0.1:9", "boardbench[dask]"),
        ("ray", "ray://127.0.0.1:9", "boardbench[ray]"),
    ],
)
def test_without_its_library_the_error_says_how_to_install_it(
    library: str, scheduler: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(UsageError) as caught:
        build_variants(plan_variants(make_recipe(), DENSE), tmp_path, 20, Silent(), scheduler=scheduler)
    assert extra in str(caught.value.hint)


@pytest.mark.slow
def test_a_real_ray_cluster_builds_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    planned = plan_variants(make_recipe(), *CHAIN[:2])
    alone = build_variants(planned, tmp_path / "alone", 20, Silent())
    port, client_port = (find_free_port() for _ in range(2))
    cluster = Path(sys.executable).with_name("ray")
    start = ["start", "--head", f"--port={port}", f"--ray-client-server-port={client_port}", "--num-cpus=2"]
    subprocess.run([cluster, *start, "--include-dashboard=false"], check=True, timeout=120)
    try:
        there = build_variants(
            planned, tmp_path / "there", 20, Silent(), jobs=2, scheduler=f"ray://127.0.0.1:{client_port}"
        )
    finally:
        subprocess.run([cluster, "stop", "--force"], check=True, timeout=60)
    assert [one.blob.sha256 for one in there] == [one.blob.sha256 for one in alone]


def find_free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
