"""The agent's own worker that also answers `bare`: rounds of a bare loop around the session that it opened.

Started as `bare_inside.py AGENT …` with the words that AGENT would get.
"""

import functools
import sys

sys.argv = sys.argv[1:]
sys.path.insert(1, sys.argv[0])

import onnxruntime  # noqa: E402 - the agent lies on the path only now
from bare_loop import make_buffer, time_round  # noqa: E402

from device_agent import worker  # noqa: E402
from device_agent.journal import pack_samples  # noqa: E402
from device_agent.main import main  # noqa: E402

answer_as_ever = worker.answer_command
begin_session = onnxruntime.InferenceSession.__init__
opened = []
buffers = []


@functools.wraps(begin_session)
def keep_session(self, *given, **named):
    """A session as ever, which can be found again."""
    begin_session(self, *given, **named)
    opened.append(self)


def answer_command(measurement, command, send):
    """What the worker answers; `bare` is answered here."""
    if command["do"] != "bare":
        return answer_as_ever(measurement, command, send)
    run, feeds, seconds = opened[-1].run, measurement._feeds, command["seconds"]
    if not buffers:
        buffers.append(make_buffer(run, feeds, seconds))
    count = time_round(run, feeds, seconds, buffers[0])
    return {"count": count, "samples_ns": pack_samples(buffers[0], count)}


worker.answer_command = answer_command
onnxruntime.InferenceSession.__init__ = keep_session
sys.exit(main())
