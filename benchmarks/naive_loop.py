"""The loop that people write themselves: the mean of 100 inferences after one that warms up, in ms.

Started as `naive_loop.py MODEL FEEDS`.
"""

import sys
import time

import numpy
import onnxruntime

COUNT = 100


def main() -> None:
    model, feeds_file = sys.argv[1:]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    with numpy.load(feeds_file) as loaded:
        feed = {"x": loaded["x"][0]}
    session.run(None, feed)
    begin = time.perf_counter()
    for _ in range(COUNT):
        session.run(None, feed)
    print(1e3 * (time.perf_counter() - begin) / COUNT)


if __name__ == "__main__":
    main()
