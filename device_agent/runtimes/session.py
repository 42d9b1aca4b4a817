"""What the agent needs from an opened model, whatever runtime opened it."""

import importlib
import json
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence

Feed = Dict[str, Any]


class RuntimeMissing(Exception):
    """The runtime or the provider is not on this board; the message says what is, and what to install."""


class Opening(NamedTuple):
    """What is to be opened.

    `model` is a path and `sha256` its content's hash. `provider` is one of the runtime's own names.
    `threads` None means every core that this process may use. `options` are settings of this runtime alone.
    `feed` is one complete set of inputs, for runtimes that must know shapes beforehand; `cache` is a folder
    that outlives the run, for what is built on the board.
    """

    model: str
    sha256: str
    provider: str
    threads: Optional[int]
    options: Dict[str, Any]
    feed: Feed
    cache: str


class Input(NamedTuple):
    """One input of a model; an extent that the file leaves open is None or a name."""

    name: str
    dtype: str
    shape: List[Any]


class Description(NamedTuple):
    """What really runs, asked after the first inference.

    `provider` need not be the asked one. `nodes` counts the nodes of the optimized graph by the provider that
    runs them, None where the runtime does not tell. `is_fallback`: not every node runs on the asked provider.
    `settings` are what decides speed beside the model, in JSON's types. `build_s` is how long something was
    built from the model on this board, None where nothing was, as with an engine from the cache;
    `is_build_apart`: of opening nothing but the build is in it.
    """

    provider: str
    is_fallback: bool
    settings: Dict[str, Any]
    nodes: Optional[Dict[str, int]] = None
    build_s: Optional[float] = None
    is_build_apart: bool = True


def _do_nothing() -> None:
    return None


class Loop(NamedTuple):
    """What a loop of the runtime's own told: each inference in ns, from the inputs to the outputs in the
    host's memory; the median ms of computing alone; the highest resident memory in MiB of what ran.
    """

    durations_ns: List[int]
    compute_ms: Optional[float]
    peak_mb: Optional[float]


class Session(NamedTuple):
    """An opened model. `infer` takes one feed (input name to array), and returns the list of outputs once
    they lie in the host's memory.

    `time_compute` does one inference and returns the ms that the accelerator computed, without transfers;
    None where there is no such thing. `threads` is None where the host's threads do not compute.

    `time_loop` is of runtimes that only run loops of their own: inferences for so many seconds, at least so
    many, none of them left out. Such a runtime has no `infer` that could be called.
    """

    infer: Callable[[Feed], List[Any]]
    inputs: List[Input]
    threads: Optional[int]
    describe: Callable[[], Description]
    close: Callable[[], None] = _do_nothing
    time_compute: Optional[Callable[[Feed], float]] = None
    time_loop: Optional[Callable[[float, int], Loop]] = None


class Runtime(NamedTuple):
    """A loaded runtime: how a model is opened with it."""

    version: str
    open: Callable[[Opening], Session]


def import_package(name: str) -> Any:
    """A runtime's package. Raises RuntimeMissing where the board cannot import it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        message = "{0} cannot be imported on the board: {1}. Install {0} for the board's Python"
        raise RuntimeMissing(message.format(name, error)) from error


def check_options(runtime: str, given: Mapping[str, Any], choices: Mapping[str, Sequence[Any]]) -> None:
    """Raises ValueError unless each option is one of the runtime's, with a value that it may have."""
    for name, value in given.items():
        if name not in choices:
            known = ", ".join(sorted(choices)) or "no options"
            raise ValueError("{} knows no option {!r}; it has {}".format(runtime, name, known))
        # JSON tells 1 from true, Python does not.
        if not any(value == choice and type(value) is type(choice) for choice in choices[name]):
            allowed = " or ".join(json.dumps(choice) for choice in choices[name])
            raise ValueError("{}: {} is {}, not {!r}".format(runtime, name, allowed, value))
