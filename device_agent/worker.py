"""One fresh process for one measurement: it does what its command pipe asks for, one command at a time.

Commands and replies are JSON lines. Replies leave by a pipe of their own: what native code prints on
the standard streams goes to the worker's log and never reaches them.
"""

import json
import os
import sys
from typing import Any, Callable, Dict, Optional

from device_agent import protocol
from device_agent.measurement import Fields, Measurement, TaskFailed
from device_agent.work_folder import WorkFolder


def serve(folder: WorkFolder, reply_descriptor: int) -> int:
    """Answer commands until the pipe ends or one fails; the exit code. The first command is `open`."""
    offer_to_oom_killer()
    with os.fdopen(reply_descriptor, "w") as replies:

        def send(fields: Fields) -> None:
            replies.write(json.dumps(dict(fields, number=number)) + "\n")
            replies.flush()

        measurement: Optional[Measurement] = None
        for text in sys.stdin:
            command = json.loads(text)
            number = command.get("number")  # of the command that a reply belongs to
            try:
                if measurement is None:
                    if command["layer"] is not None:
                        sys.path.insert(0, folder.layer(command["layer"]))
                    measurement = Measurement(folder, command["task"], command["protocol"])
                send({"done": answer_command(measurement, command, send)})
            except TaskFailed as failure:
                send({"error": {"kind": failure.kind, "message": failure.message}})
                return protocol.EXIT_FAULT
    return protocol.EXIT_OK


def offer_to_oom_killer() -> None:
    """When memory runs out the kernel shall end this process, not the run and not sshd."""
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("800")
    except OSError as error:
        sys.stderr.write("cannot raise oom_score_adj: {}\n".format(error))


def answer_command(measurement: Measurement, command: Fields, send: Callable[[Any], None]) -> Fields:
    """What one command found. Raises TaskFailed."""
    doings: Dict[str, Callable[[], Fields]] = {
        "open": measurement.open,
        "memory": measurement.measure_memory,
        "round": measurement.measure_round,
        "sustain": lambda: measurement.sustain(lambda piece: send({"piece": piece})),
        "load": lambda: measurement.keep_busy(command["seconds"]),
        "evaluate": lambda: measurement.evaluate(lambda: send({"alive": True})),
    }
    try:
        return doings[command["do"]]()
    except MemoryError as error:
        raise TaskFailed(protocol.FAILED_MEMORY, "out of memory: {}".format(error)) from error
