"""Where builds run side by side: processes here, or the workers of a Dask or Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import joblib

from host.errors import UsageError

Run = Callable[[Callable[..., Any], Iterable[tuple[Any, ...]]], Iterable[Any]]
"""What a function gives for each of the arguments, as they are ready."""


@contextmanager
def open_workers(jobs: int, scheduler: str | None) -> Iterator[Run]:
    """Runs `jobs` calls at a time: in processes here, or at a cluster's `tcp://…` or `ray://…`.

    Raises UsageError where no cluster answers, or its library is not installed.
    """
    if scheduler is None:
        with joblib.parallel_config("loky"):
            yield _run_with(joblib.Parallel(n_jobs=jobs, return_as="generator_unordered"))
    elif scheduler.startswith("ray://"):
        with _join_ray(scheduler), joblib.parallel_config("ray"):
            yield _run_with(joblib.Parallel(n_jobs=jobs))  # its backend gives all results at the end
    else:
        with _join_dask(scheduler), joblib.parallel_config("dask"):
            yield _run_with(joblib.Parallel(n_jobs=jobs, return_as="generator_unordered"))


def _run_with(parallel: joblib.Parallel) -> Run:
    return lambda work, arguments: parallel(joblib.delayed(work)(*each) for each in arguments)


@contextmanager
def _join_dask(scheduler: str) -> Iterator[None]:
    try:
        from distributed import Client
    except ImportError as error:
        raise UsageError(
            "Dask is not installed", "Install it with `pip install 'boardbench[dask]'`."
        ) from error
    try:
        client = Client(scheduler, timeout="10s")  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        hint = "Start one with `dask scheduler`, and workers that see this workspace's folder."
        raise UsageError(f"no Dask scheduler answers at {scheduler}: {error}", hint) from error
    with client:
        yield


@contextmanager
def _join_ray(address: str) -> Iterator[None]:
    try:
        import ray
        from ray.util.joblib import register_ray
    except ImportError as error:
        raise UsageError(
            "Ray is not installed", "Install it with `pip install 'boardbench[ray]'`."
        ) from error
    try:
        ray.init(address, log_to_driver=False, logging_level="ERROR")
    except (OSError, ValueError, RuntimeError) as error:
        hint = "Start one with `ray start --head --ray-client-server-port 10001` beside this folder."
        raise UsageError(f"no Ray cluster answers at {address}: {error}", hint) from error
    try:
        register_ray()
        yield
    finally:
        ray.shutdown()
