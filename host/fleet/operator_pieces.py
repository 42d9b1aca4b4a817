"""One piece of a profile by operator, asked of a board: what it says is checked before it is believed."""

from __future__ import annotations

import json
from functools import cached_property
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from device_agent import protocol
from host.errors import BenchError, DeviceError, MeasurementsFailed
from host.fleet.boards import Board
from host.fleet.journal import Count, Sha256, Text
from host.fleet.probing import AgentFault, call_agent
from host.specs.record import Record

PIECE_S = 600.0
"""How long a board may take for one piece; opening a large model from a slow card takes minutes."""
LINK_S = 60.0
FAILURES = frozenset(
    {
        protocol.FAILED_OPEN,
        protocol.FAILED_CRASH,
        protocol.FAILED_MEMORY,
        protocol.FAILED_HANG,
        protocol.FAILED_INFER,
        protocol.FAILED_MISSING,
    }
)

Microseconds = Annotated[float, Field(ge=0, lt=10**12)]
Milliseconds = Annotated[float, Field(ge=0, lt=10**9)]
Shape = tuple[Text, tuple[int, ...]]


class PieceQuestion(Record):
    """What a board is asked; files are named by their SHA-256. `file_nodes` counts the nodes of the file."""

    holder: str
    layer: Sha256 | None
    runtime: str
    provider: str
    threads: int | None
    options: dict[str, JsonValue]
    model: Sha256
    feeds: Sha256
    blank: Sha256
    seconds: float
    inferences: int
    file_nodes: int
    timeout_s: float = PIECE_S


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class ToldNode(_Told):
    """One node that ran, and its time in one inference; `middle_us` is the mean of the middle half."""

    name: Text
    op: Text
    provider: Text
    calls: float = Field(ge=0, le=10**9)
    mean_us: Microseconds
    middle_us: Microseconds
    inputs: tuple[Shape, ...] = Field((), max_length=10_000)
    outputs: tuple[Shape, ...] = Field((), max_length=10_000)


class ToldEdges(_Told):
    """One node of the graph that ran, by the names of its tensors."""

    name: Text
    op: Text
    inputs: tuple[Text, ...]
    outputs: tuple[Text, ...]


class Quartiles(_Told):
    p25: Milliseconds
    p50: Milliseconds
    p75: Milliseconds


class Piece(_Told):
    """What a board found in one piece. `floor_us` is what a node is told to take that computes nothing."""

    runtime_version: Text
    provider: Text
    threads: int | None = Field(None, ge=1, le=100_000)
    integer_instructions: tuple[Text, ...] | None = Field(None, max_length=100)
    others: float | None = Field(None, ge=0)
    untraced_ms: Quartiles
    traced_ms: Quartiles
    inferences: Count
    floor_us: Microseconds
    runs_us: Microseconds
    nodes_us: Microseconds
    nodes: tuple[ToldNode, ...] = Field(min_length=1, max_length=100_000)
    nodes_left_out: Count
    graph: tuple[ToldEdges, ...] | None = Field(None, max_length=100_000)

    @cached_property
    def by_name(self) -> dict[tuple[str, str], ToldNode]:
        """Each node by its name and its operator."""
        return {(node.name, node.op): node for node in self.nodes}


def ask_piece(board: Board, question: PieceQuestion) -> Piece:
    """The board's answer. Raises MeasurementsFailed where the model does not run there, else DeviceError."""
    words = {"schema": protocol.SCHEMA, **question.model_dump(mode="json")}
    stdin = json.dumps(words).encode()
    device = board.device
    try:
        with board.connect() as remote:
            answer = call_agent(
                remote, device, board.agent, ("profile",), stdin=stdin, timeout=question.timeout_s + LINK_S
            )
    except AgentFault as fault:
        raise _explain(fault) from fault
    try:
        return Piece.model_validate_json(json.dumps(answer))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise DeviceError(
            f"{device.name}: the agent's answer to `profile` does not fit: "
            f"{'.'.join(str(part) for part in first['loc'])[:80]}: {first['msg'][:200]}",
            "This is a fault of boardbench or of the board's agent: please report it.",
        ) from error


def _explain(fault: AgentFault) -> BenchError:
    if fault.kind in FAILURES:
        return MeasurementsFailed(fault.message, "`bench run` measures the same file without profiling it.")
    return fault
