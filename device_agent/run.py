"""A run: every task gets a fresh worker, and the rounds of all of them are interleaved."""

import contextlib
import functools
import os
import platform
import random
import sys
import traceback
from typing import Any, Callable, Dict, List, Optional, Sequence

from device_agent import power, protocol
from device_agent.board_root import find_root
from device_agent.clocks import read_boot
from device_agent.cooling import Cooling
from device_agent.energy import NO_POWER
from device_agent.faults import describe_os_error, shorten_text
from device_agent.firmware import add_throttled, ask_throttled, read_state
from device_agent.journal import Journal, read_known
from device_agent.loop_only import NO_POWER_NOTE
from device_agent.measurement import MEMORY_INFERENCES, TaskFailed
from device_agent.notify import Pokes
from device_agent.power_pass import Pass, measure_power
from device_agent.sensors.load import Memory, read_memory
from device_agent.sensors.thermal import read_temperature
from device_agent.summary import Opened, summarize_task
from device_agent.supervision import Stopped, Wakeup, start_worker
from device_agent.sustaining import add_surroundings, ask_pieces
from device_agent.tally import Tally
from device_agent.watching import Watch
from device_agent.work_folder import WorkFolder

Fields = Dict[str, Any]


class _Later(Exception):
    """A worker did not fit into memory beside others; it is opened again when they are gone."""


OPEN_TIMEOUT_S = 600.0
BUILD_TIMEOUT_S = 3600.0  # TensorRT builds its engines while it opens: half an hour on a Nano is not rare
MEMORY_GUARD = 0.15  # of the board's memory stays free when another worker is opened
_MARGIN = 3.0
_FLOOR_S = 60.0


class Run:
    """One start of a run. The process has changed into the run's folder and holds the lock."""

    def __init__(
        self,
        folder: WorkFolder,
        job: Fields,
        journal: Journal,
        pokes: Pokes,
        wakeup: Wakeup,
        fix: Optional[Fields] = None,
    ) -> None:
        self._folder = folder
        self._job = job
        self._rules = job["protocol"]
        self._journal = journal
        self._pokes = pokes
        self._wakeup = wakeup
        self._known = read_known(journal.path)
        self._statuses = dict(self._known.results)
        self._tally = Tally(job, self._known)
        self._opened: List[Opened] = []
        self._largest_mb = 0.0
        root = find_root()
        self._fix = fix
        self._watch = Watch(root)
        cap_s = self._rules.get("cooldown_cap_s", 0.0)
        self._cooling = Cooling(folder.board, root, cap_s, lambda: read_temperature(root))
        self._source: Optional[power.Source] = None

    def say_started(self) -> None:
        self._say(
            protocol.EVENT_RUN_STARTED,
            run=self._job["run"],
            schema=protocol.SCHEMA,
            agent=protocol.AGENT_VERSION,
            python=platform.python_version(),
            boot=read_boot(),
            environment=dict(read_state(find_root()), fix=self._fix),
        )

    def measure(self, put_back: Callable[[], None] = lambda: None) -> None:
        """Measure whatever has no result yet, and say how it ended. Workers are gone when this returns.

        `put_back` undoes what was changed on the board for this run, before anybody hears of its end.
        """
        reason = "completed"
        error: Optional[Fields] = None
        try:
            meter = self._job.get("meter")
            self._source = power.find_source(find_root(), meter, self._wakeup.descriptor)
            waiting = [task for task in self._job["tasks"] if task["task"] not in self._statuses]
            block = 0
            while waiting:
                waiting = self._open_block(waiting, block)
                self._measure_block()
                block += 1
        except Stopped:
            reason = "stopped" if os.path.exists(self._folder.stop_mark(self._job["run"])) else "interrupted"
        except OSError as refused:
            traceback.print_exc()
            fault = describe_os_error(refused)
            reason, error = "failed", {"kind": fault.kind, "message": fault.message}
        finally:
            try:
                for opened in self._opened:
                    opened.worker.end()
            finally:
                put_back()
        self._say_ended(reason, error)

    def _say(self, event: str, **fields: Any) -> None:
        self._tally.note(event, fields)
        if event == protocol.EVENT_PROGRESS:
            fields["tally"] = self._tally.describe()
        self._journal.append(event, **fields)
        self._pokes.poke()

    def _say_ended(self, reason: str, error: Optional[Fields]) -> None:
        ok = sum(status == protocol.STATUS_OK for status in self._statuses.values())
        failed = len(self._statuses) - ok
        try:
            self._say(protocol.EVENT_RUN_ENDED, reason=reason, ok=ok, failed=failed, error=error)
        except OSError as refused:
            # The disk is full: followers learn it from the end of this process, people from agent.log.
            sys.stderr.write("the journal's last line could not be written: {}\n".format(refused))

    def _open_block(self, waiting: List[Fields], block: int) -> List[Fields]:
        """Open workers one after another while another one fits into memory; the tasks left for later."""
        waiting = list(waiting)
        while waiting and (not self._opened or self._takes_another()):
            task = waiting[0]
            try:
                self._attempt(task, functools.partial(self._open, task, block))
            except _Later:
                return waiting
            waiting.pop(0)
        return waiting

    def _takes_another(self) -> bool:
        """Whether one more worker may be opened beside others. A sustained loop has the board to itself."""
        return not self._is_sustained and has_room(read_memory("/"), self._largest_mb)

    @property
    def _is_sustained(self) -> bool:
        return bool(self._rules.get("scenario") == protocol.SUSTAINED)

    def _attempt(self, task: Fields, work: Callable[[], None]) -> None:
        """Do one step of a task; its failure becomes its result, and its worker is dropped."""
        try:
            work()
        except TaskFailed as failure:
            self._opened = [one for one in self._opened if one.task is not task]
            error = {"kind": failure.kind, "message": shorten_text(failure.message)}
            self._statuses[task["task"]] = protocol.STATUS_FAILED
            self._say(protocol.EVENT_RESULT, task=task["task"], status=protocol.STATUS_FAILED, error=error)

    def _open(self, task: Fields, block: int) -> None:
        name = task["task"]
        self._say(protocol.EVENT_PROGRESS, task=name, phase="opening", round=None)
        start = read_state(find_root())
        log = "worker-{}.log".format(name)
        worker = start_worker(self._folder.root, log, self._wakeup, self._watch)
        try:
            worker.allow(self._timeouts.get("task_s"))
            command = {"do": "open", "task": task, "protocol": self._rules, "layer": self._job["layer"]}
            told = worker.ask(command, self._timeouts.get("open_s", choose_open_timeout(task)))
            self._say(protocol.EVENT_PROGRESS, task=name, phase="memory", round=None)
            first_s = told["first_inference_ms"] / 1e3
            told["memory_mb"].update(worker.ask({"do": "memory"}, self._timeout(MEMORY_INFERENCES * first_s)))
        except TaskFailed as failure:
            worker.end()
            if failure.kind == protocol.FAILED_MEMORY and self._opened:
                raise _Later from failure
            raise
        except BaseException:
            worker.end()
            raise
        opened = Opened(task, worker, told)
        self._allow_slow(opened)
        self._opened.append(opened)
        self._largest_mb = max(self._largest_mb, opened.size_mb)
        self._say(protocol.EVENT_TASK_OPENED, task=name, block=block, environment=start, **told)

    @property
    def _timeouts(self) -> Fields:
        timeouts: Fields = self._job.get("timeouts", {})
        return timeouts

    def _timeout(self, expected_s: float) -> float:
        """Generous: three times what is expected and a minute, unless the job says otherwise."""
        override: Optional[float] = self._timeouts.get("reply_s")
        return _FLOOR_S + _MARGIN * expected_s if override is None else override

    def _measure_block(self) -> None:
        """Interleaved rounds of the open workers, then what remains of each task; closes them."""
        for number in () if self._is_sustained else range(self._rules["rounds"]):
            for name in shuffle_round(self._job["seed"], number, [one.task["task"] for one in self._opened]):
                opened = self._find_opened(name)
                if number not in self._known.rounds.get(name, ()):
                    self._attempt(opened.task, functools.partial(self._measure_round, opened, number))
        for opened in list(self._opened):
            if self._is_sustained:
                self._attempt(opened.task, functools.partial(self._sustain, opened))
            if opened in self._opened:
                self._attempt(opened.task, functools.partial(self._finish, opened))
            opened.worker.end()
        self._opened = []

    def _find_opened(self, name: str) -> Opened:
        return next(one for one in self._opened if one.task["task"] == name)

    def _measure_round(self, opened: Opened, number: int) -> None:
        name = opened.task["task"]
        rest = self._cool_down(name, number)
        is_first = "warmed" not in opened.told
        self._say(protocol.EVENT_PROGRESS, task=name, phase="warming" if is_first else "round", round=number)
        bits = ask_throttled()
        found = opened.worker.ask({"do": "round"}, self._timeout(self._expect_round_s(opened)))
        add_throttled(found["environment"], bits, ask_throttled())
        found["environment"].update(rest=rest, during=self._watch.describe(*found.pop("window")))
        opened.told["warmed"] = True
        self._say(protocol.EVENT_ROUND, task=name, round=number, **found)

    def _expect_round_s(self, opened: Opened) -> float:
        """How long a round may take with its warm-up, by the first inference: others are faster."""
        rules = self._rules
        least = rules["warmup_inferences"] + 2 * rules["steady_window"] + rules["round_samples"]
        first_s = opened.told["first_inference_ms"] / 1e3
        expected_s = rules["warmup_s"] + rules["warmup_cap_s"] + rules["round_s"]
        if rules.get("scenario") == protocol.PACED:
            expected_s += rules["round_samples"] / rules["rate_hz"]
        return float(expected_s + least * first_s)

    def _allow_slow(self, opened: Opened) -> None:
        """A model whose first inference was slow may take longer than the job thought of, never shorter."""
        asked: Optional[float] = self._timeouts.get("task_s")
        if asked is not None:
            expected_s, rounds = self._expect_round_s(opened), self._rules["rounds"]
            pieces_s = (rounds - 1) * (self._rules["round_s"] if self._is_sustained else expected_s)
            opened.worker.allow(max(asked, self._timeout(expected_s + pieces_s)))

    def _cool_down(self, name: str, number: int) -> Fields:
        """Wait until the board is cool: what it was when the round could begin. Raises Stopped."""

        def say() -> None:
            self._say(protocol.EVENT_PROGRESS, task=name, phase="cooling", round=number)

        return self._cooling.rest(self._wakeup.wait, say)

    def _sustain(self, opened: Opened) -> None:
        """One long loop. Its pieces are journalled when all are there: a loop that was interrupted cannot be
        gone on with, since the board is cool again, and so it is measured anew from its first piece."""
        name, rounds = opened.task["task"], self._rules["rounds"]
        known = len(self._known.rounds.get(name, ()))
        if known == rounds:
            return
        if known:
            message = "the run was lost while its loop was written down; measure it anew"
            raise TaskFailed(protocol.FAILED_CRASH, message)
        rest = self._cool_down(name, 0)
        self._say(protocol.EVENT_PROGRESS, task=name, phase="warming", round=0)

        def tell(number: int, told: Fields) -> None:
            self._say(protocol.EVENT_PROGRESS, task=name, phase="sustaining", round=number, **told)

        bits, timeout_s = ask_throttled(), self._timeout(self._expect_round_s(opened))
        pieces = ask_pieces(opened.worker, timeout_s, self._watch, tell)
        add_surroundings(pieces, rest, bits, ask_throttled())
        for number, piece in enumerate(pieces):
            self._say(protocol.EVENT_ROUND, task=name, round=number, **piece)

    def _finish(self, opened: Opened) -> None:
        """Power, then quality, then the result over every round that the journal holds."""
        name = opened.task["task"]
        measured_power = self._measure_power(opened)
        self._say(protocol.EVENT_PROGRESS, task=name, phase="evaluating", round=None)
        batch_s = opened.told["first_inference_ms"] / 1e3
        found = opened.worker.ask({"do": "evaluate"}, self._timeout(batch_s))
        measurement = summarize_task(self._journal.path, opened, found, self._rules)
        measurement["power"] = measured_power
        measurement["environment"]["fix"] = self._fix
        self._statuses[name] = protocol.STATUS_OK
        self._say(protocol.EVENT_RESULT, task=name, status=protocol.STATUS_OK, measurement=measurement)

    def _measure_power(self, opened: Opened) -> Fields:
        if self._source is None:
            return dict(NO_POWER)
        if opened.told["runs_own_loops"]:
            return dict(NO_POWER, source=self._source.name, note=NO_POWER_NOTE)
        self._say(protocol.EVENT_PROGRESS, task=opened.task["task"], phase="power", round=None)
        window_s = self._rules["power_window_s"]
        timeout_s = self._timeout(window_s + opened.told["first_inference_ms"] / 1e3)
        threads = opened.told["threads"]
        is_paced = self._rules.get("scenario") == protocol.PACED
        return measure_power(
            Pass(self._source, opened.worker, threads, window_s, timeout_s, self._wakeup, is_paced)
        )


def choose_open_timeout(task: Fields) -> float:
    """How long a worker may take to open a task's model, in seconds."""
    builds_engines = "tensorrt" in (task["runtime"] + task["provider"]).lower()
    return BUILD_TIMEOUT_S if builds_engines else OPEN_TIMEOUT_S


def has_room(now: Memory, largest_mb: float) -> bool:
    """Whether another worker, as large as the largest so far, would leave the guard free."""
    if now.available is None or now.total is None:
        return True
    return now.available - largest_mb > MEMORY_GUARD * now.total


def shuffle_round(seed: int, number: int, names: Sequence[str]) -> List[str]:
    """The order of the tasks in one round: the same for the same seed, a fresh one for every round."""
    order = sorted(names)
    random.Random("{}:{}".format(seed, number)).shuffle(order)  # noqa: S311 (an order, not a secret)
    return order


def enter_folder(folder: WorkFolder, run: str) -> Journal:
    """The journal of a run, after changing into its folder: socket and logs have relative names."""
    os.chdir(folder.run(run))
    with contextlib.suppress(FileNotFoundError):
        os.unlink(folder.stop_mark(run))  # of an earlier start
    return Journal(folder.journal(run))
