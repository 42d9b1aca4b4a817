"""A loop around an ONNX Runtime session and nothing else: what fidelity.py holds the agent against.

Started as `bare_loop.py MODEL FEEDS DESCRIPTOR`; it reads a line of JSON for each command and writes its
replies to the descriptor. A round's samples follow its reply as they lie in memory.
"""

import json
import os
import sys
import time
from array import array

REWARM_S = 0.1


def main() -> None:
    import numpy
    import onnxruntime

    model, feeds_file, descriptor = sys.argv[1:]
    replies = os.fdopen(int(descriptor), "wb")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    run = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"]).run
    with numpy.load(feeds_file) as loaded:
        feeds = [{"x": feed} for feed in loaded["x"]]
    seconds, durations = 0.0, array("Q")
    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "open":
            seconds = command["seconds"]
            durations = make_buffer(run, feeds, seconds)
            replies.write(b'{"done": {}}\n')
        else:
            count = time_round(run, feeds, seconds, durations)
            replies.write(json.dumps({"done": {"count": count}}).encode() + b"\n")
            replies.write(memoryview(durations)[:count])
        replies.flush()


def make_buffer(run, feeds, seconds):
    """Room for the samples of a round, found by a second of inferences, which warm up as well."""
    begin, count = time.perf_counter_ns(), 0
    while time.perf_counter_ns() - begin < 1e9:
        run(None, feeds[count % len(feeds)])
        count += 1
    return array("Q", bytes(8 * (int(2 * count * seconds) + 1000)))


def time_round(run, feeds, seconds, durations):
    """Fill the buffer with durations in ns; how many."""
    clock = time.perf_counter_ns
    warm = clock() + int(REWARM_S * 1e9)
    while clock() < warm:
        run(None, feeds[0])
    count, end = 0, clock() + int(seconds * 1e9)
    while True:
        feed = feeds[count % len(feeds)]
        started = clock()
        run(None, feed)
        ended = clock()
        durations[count] = ended - started
        count += 1
        if ended >= end or count == len(durations):
            return count


if __name__ == "__main__":
    main()
