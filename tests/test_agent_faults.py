"""What the agent says of a failure fits the protocol, and says the reason."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from device_agent import protocol
from device_agent.faults import AgentFault, shorten_text
from device_agent.measurement import TaskFailed


@given(st.integers(0, 3 * protocol.MAX_TEXT))
def test_a_text_keeps_its_start_and_its_end_within_the_bound(length: int) -> None:
    text = "".join(chr(ord("a") + at % 26) for at in range(length))
    short = shorten_text(text)
    assert len(short) <= protocol.MAX_TEXT
    if length <= protocol.MAX_TEXT:
        assert short == text
    else:
        start, end = short.split(" … ")
        assert text.startswith(start)
        assert text.endswith(end)
        assert min(len(start), len(end)) > protocol.MAX_TEXT // 2 - 10


def test_a_long_message_of_a_runtime_keeps_the_reason_at_its_end() -> None:
    said = f"Load model failed: {'node, ' * 2000} reason: unsupported type int4"
    for failure in (TaskFailed(protocol.FAILED_OPEN, said), AgentFault(protocol.ERROR_OTHER, said)):
        assert failure.message.startswith("Load model failed: node")
        assert failure.message.endswith("reason: unsupported type int4")
        assert len(failure.message) <= protocol.MAX_TEXT
