"""The options that say how a runtime runs a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from host.specs.profile import RuntimeSettings

F = TypeVar("F", bound=Callable[..., Any])


def runtime_options(command: F) -> F:
    """`--provider` and `--threads`, as `settle_runtime` takes them."""
    provider = click.option(
        "--provider", metavar="P", help="Default: the runtime's own on the CPU (tensorrt: on the GPU)."
    )
    threads = click.option(
        "--threads", type=click.IntRange(1), help="Default: every core that the agent may use."
    )
    return provider(threads(command))


def settle_runtime(name: str, provider: str | None, threads: int | None, batch: int = 1) -> RuntimeSettings:
    """The settings, checked as those of a profile are. Raises UsageError."""
    from pydantic import ValidationError

    from host.errors import UsageError
    from host.specs.profile import RuntimeSettings

    told = {"name": name, "provider": provider, "threads": threads, "batch": batch}
    try:
        given = {key: value for key, value in told.items() if value is not None}
        return RuntimeSettings.model_validate(given)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        option = {"name": "runtime"}.get(str(fault["loc"][0]), str(fault["loc"][0]))
        said = fault["msg"].removeprefix("Value error, ")
        raise UsageError(f"--{option}: {said}", "docs/runtimes.md tells what each runtime takes.") from error
