"""Import ONNX Runtime, open a model and infer once: what startup.py holds the agent's worker against.

Started as `bare_open.py MODEL FEEDS DESCRIPTOR`; it answers each line with an empty reply, as a worker does.
"""

import os
import sys


def main() -> None:
    model, feeds_file, descriptor = sys.argv[1:]
    with os.fdopen(int(descriptor), "w") as replies:
        for _ in sys.stdin:
            import numpy
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            options.inter_op_num_threads = 1
            session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
            with numpy.load(feeds_file) as loaded:
                session.run(None, {"x": loaded["x"][0]})
            replies.write('{"done": {}}\n')
            replies.flush()


if __name__ == "__main__":
    main()
