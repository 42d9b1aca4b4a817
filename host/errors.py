"""The tree of expected failures: what failed, what to do next, and the exit code it means."""

from __future__ import annotations


class BenchError(Exception):
    """An expected failure. Only `host.cli` prints it; anything else that is raised is a bug."""

    exit_code = 2
    is_transient = False

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n{self.hint}"


class UsageError(BenchError):
    """The command asks for what does not exist or does not fit together."""


class SpecError(BenchError):
    """A recipe, profile or device file has faults; `faults` names every one with its path."""

    def __init__(self, source: str, faults: list[str], hint: str | None = None) -> None:
        listed = "\n".join(f"  {fault}" for fault in faults)
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        super().__init__(f"{source}: {count}\n{listed}", hint)
        self.source = source
        self.faults = tuple(faults)


class ModelError(BenchError):
    """A model file cannot be read, or cannot run where it is asked to run."""


class Unsuitable(ModelError):
    """A board lacks what it is asked to run."""


class BuildError(BenchError):
    """A variant could not be built, or its export does not agree with the model it came from."""


class LedgerError(BenchError):
    """The store of results cannot be read or written."""


class LedgerRefusal(LedgerError):
    """The store of results is well, and will never take this."""


class DeviceError(BenchError):
    """A device could not be reached or refused us; trying again alone does not help."""

    exit_code = 3


class LinkLost(DeviceError):
    """The connection broke or never answered; the same call may work later."""

    is_transient = True


class BoardBusy(DeviceError):
    """Another run holds the board; the message says who and since when."""


class GateFailed(BenchError):
    """A check that the user asked for said no."""

    exit_code = 1


class MeasurementsFailed(BenchError):
    """Some measurements failed; everything else is saved."""

    exit_code = 4


class Interrupted(BenchError):
    """The user interrupted; what was measured is saved and the run can be resumed."""

    exit_code = 130
