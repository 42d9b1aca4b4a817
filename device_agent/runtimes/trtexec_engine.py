"""One engine file that `trtexec` builds and runs: every loop is a process of its own."""

import os
import time
from typing import Dict, List, Optional

from device_agent.runtimes.child import Finished, describe_end, run_child
from device_agent.runtimes.session import Feed, Loop
from device_agent.runtimes.tensorrt_recipe import Recipe
from device_agent.runtimes.trtexec_options import Program, list_build_options, list_run_options, quote_name
from device_agent.runtimes.trtexec_output import (
    Times,
    find_deviations,
    find_reason,
    has_passed,
    parse_settings,
    parse_times,
)
from device_agent.validity import median
from device_agent.work_folder import make_folder

_BUILD_TIMEOUT_S = 3500.0  # a little less than the run waits, so that the log's end is in the message
_START_TIMEOUT_S = 300.0  # of a process that loads an engine, on the slowest board
_MARGIN = 10


class TrtexecFailed(Exception):
    """A run of trtexec failed; the message has what it logged."""


class EngineFile:
    """An engine file and the files around it: inputs, exported times and log, named after it."""

    def __init__(self, program: Program, recipe: Recipe, path: str, feed: Feed) -> None:
        self._program = program
        self._recipe = recipe
        self._path = path
        self._feed = feed
        self._made: List[str] = []
        self._inputs_option = ""
        self._longest_ms = 0.0
        self.gpu: Dict[str, Optional[str]] = {"name": None, "capability": None}

    def open(self) -> Optional[float]:
        """Load the engine once; the seconds that building it took, None where it was there."""
        make_folder(os.path.dirname(self._path))
        self._inputs_option = self._write_inputs()
        if os.path.isfile(self._path):
            try:
                self.time_loop(0, 1)
            except TrtexecFailed:
                os.unlink(self._path)  # torn, or of another driver
            else:
                return None
        build_s = self._build()
        self.time_loop(0, 1)
        return build_s

    def _build(self) -> float:
        part = self._path + ".part"
        self._made.append(part)
        started = time.monotonic()
        self._run(list_build_options(self._program.options, self._recipe, part), _BUILD_TIMEOUT_S)
        build_s = time.monotonic() - started
        os.rename(part, self._path)
        return build_s

    def time_loop(self, seconds: float, least: int) -> Loop:
        """Inferences for some seconds, at least so many, in a process of their own. Raises TrtexecFailed."""
        exported = self._name_file("times.json")
        words = list_run_options(self._program.options, self._recipe, seconds, least)
        words += ["--loadEngine=" + self._path, "--exportTimes=" + exported, self._inputs_option]
        expected_s = seconds + least * self._longest_ms / 1e3
        finished = self._run(words, _START_TIMEOUT_S + _MARGIN * expected_s)
        times = _read_times(exported, finished.text, least)
        told = parse_settings(finished.text)
        self.gpu = {"name": told.get("Selected Device"), "capability": told.get("Compute Capability")}
        self._longest_ms = max(one.latency for one in times)
        durations_ns = [round(one.latency * 1e6) for one in times]
        return Loop(durations_ns, median([one.compute for one in times]), finished.peak_mb)

    def _run(self, options: List[str], timeout_s: float) -> Finished:
        finished = run_child([self._program.path] + options, self._name_file("log"), timeout_s)
        if finished.code != 0 or not has_passed(finished.text):
            message = "trtexec {}: {}".format(describe_end(finished, timeout_s), find_reason(finished.text))
            raise TrtexecFailed(message)
        return finished

    def _write_inputs(self) -> str:
        """The feed as raw files, and the option that loads them."""
        pairs = []
        for index, (name, array) in enumerate(self._feed.items()):
            path = self._name_file("input-{}.bin".format(index))
            # Before 10 TensorRT has no 64-bit integers, and reads those of ONNX as 32-bit ones.
            is_narrow = str(array.dtype) == "int64" and int(self._program.version.split(".")[0]) < 10
            with open(path, "wb") as file:
                file.write((array.astype("int32") if is_narrow else array).tobytes())
            pairs.append("{}:{}".format(quote_name(name), path))
        return "--loadInputs=" + ",".join(pairs)

    def _name_file(self, suffix: str) -> str:
        path = "{}.{}".format(self._path, suffix)
        if path not in self._made:
            self._made.append(path)
        return path

    def close(self) -> None:
        """Remove all but the engine."""
        for path in self._made:
            if os.path.exists(path):
                os.unlink(path)


def _read_times(path: str, log: str, least: int) -> List[Times]:
    """The exported times, if they mean what they are taken for. Raises TrtexecFailed."""
    deviations = find_deviations(log)
    if deviations:
        raise TrtexecFailed("trtexec did not measure as it was told: {}".format(", ".join(deviations)))
    try:
        with open(path, "r") as file:
            times = parse_times(file.read())
    except (OSError, ValueError) as error:
        raise TrtexecFailed("the times that trtexec exported cannot be read: {}".format(error)) from error
    if len(times) < max(1, least):
        raise TrtexecFailed("trtexec timed {} inferences instead of {}".format(len(times), least))
    if not any(one.copy_in > 0 for one in times):
        raise TrtexecFailed("trtexec left the transfers out of its times")
    return times
