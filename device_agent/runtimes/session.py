"""What the agent needs from an opened model, whatever runtime opened it."""

from typing import Any, Callable, Dict, List, NamedTuple

Feed = Dict[str, Any]


class RuntimeMissing(Exception):
    """The runtime or the provider is not on this board; the message says what is."""


class Input(NamedTuple):
    """One input of a model; an extent that the file leaves open is None or a name."""

    name: str
    dtype: str
    shape: List[Any]


class Session(NamedTuple):
    """An opened model. `infer` takes one feed (input name to array) and returns the list of outputs.

    `describe_provider` names the provider that runs it, which need not be the asked one.
    """

    infer: Callable[[Feed], List[Any]]
    inputs: List[Input]
    threads: int
    describe_provider: Callable[[], str]


class Runtime(NamedTuple):
    """A loaded runtime. `open` takes a model's path, a provider and a number of threads (None: all cores)."""

    version: str
    open: Callable[..., Session]
