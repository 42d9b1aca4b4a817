"""The agent's command line: every command answers JSON on standard output and ends with an exit code."""

import json
import os
import platform
import sys
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional

from device_agent import protocol
from device_agent.faults import AgentFault, describe_os_error
from device_agent.work_folder import WorkFolder

if TYPE_CHECKING:
    import argparse

    from device_agent.tuning.step import Place

Answer = Dict[str, Any]
Command = Callable[[WorkFolder, Any], int]
Add = Callable[[str, Command, str], "argparse.ArgumentParser"]

_PARSE = "parse"  # the one command that needs no work folder, so no --work stands before it


def main(words: Optional[List[str]] = None) -> int:
    """The exit code of one command."""
    os.umask(0o077)
    sys.argv[0] = os.path.abspath(sys.argv[0])  # processes that are started later, from another folder
    words = sys.argv[1:] if words is None else words
    if words[2:3] == ["worker"]:
        # A worker's memory is measured: it does not load what only the other commands need.
        return _serve(words[1], words[3])
    arguments = build_parser(needs_work=words[:1] != [_PARSE]).parse_args(words)
    try:
        try:
            return int(arguments.command(WorkFolder(arguments.work), arguments))
        except OSError as error:
            raise describe_os_error(error) from error
    except AgentFault as fault:
        _print({"error": {"kind": fault.kind, "message": fault.message}})
        return fault.exit_code


def build_parser(needs_work: bool = True) -> "argparse.ArgumentParser":
    """The commands and their arguments; `command` is the function that does the work."""
    import argparse

    from device_agent.parsing import KINDS

    version = "boardbench agent {}, schema {}, Python {}"
    parser = argparse.ArgumentParser(prog="agent.pyz", description=__doc__)
    parser.add_argument(
        "--version",
        action="version",
        version=version.format(protocol.AGENT_VERSION, protocol.SCHEMA, platform.python_version()),
    )
    work_help = "where the agent keeps everything ({} needs none)".format(_PARSE)
    parser.add_argument("--work", required=needs_work, default="", metavar="FOLDER", help=work_help)
    commands = parser.add_subparsers(metavar="COMMAND")
    commands.required = True

    def add(name: str, command: Command, help_text: str) -> "argparse.ArgumentParser":
        added = commands.add_parser(name, help=help_text)
        added.set_defaults(command=command)
        return added

    for add_some in (_add_facts, _add_store, _add_runs, _add_care):
        add_some(add)
    added = add(_PARSE, _parse, "read what a board's own tools printed, from standard input")
    added.add_argument("kind", choices=KINDS, metavar="KIND", help=", ".join(KINDS))
    return parser


def _add_facts(add: Add) -> None:
    """What a board is, and what runs on it."""
    add("probe", _probe, "facts about the board").add_argument("--layer", metavar="SHA256")
    added = add("runtime", _runtime, "facts about a runtime, if it can be imported")
    added.add_argument("name")
    added.add_argument("--layer", metavar="SHA256")
    add("status", _status, "who measures now")
    add("look", _look, "who measures now, and how far it is")


def _add_store(add: Add) -> None:
    """The files that runs need."""
    add("inventory", _inventory, "which blobs and layers are here, asked on standard input")
    added = add("receive", _receive, "take blobs from standard input")
    added.add_argument("--sender", metavar="NAME", help="whose earlier transfers are over")
    add("unpack", _unpack, "turn a layer's archive into its folder").add_argument("sha256")
    add("expand", _expand, "restore the model that a blob packs").add_argument("sha256")
    add("clean", _clean, "remove what was used longest ago, asked on standard input")


def _add_runs(add: Add) -> None:
    """Measuring: a run from its job to its end, and a profile."""
    add("put-job", _put_job, "take a run's job from standard input").add_argument("run")
    added = add("start", _start, "measure, detached from this session")
    added.add_argument("run")
    added.add_argument("--clock", action="store_true", help="say what the board's clocks say, too")
    added = add("run", _run, "measure in this process")
    added.add_argument("run")
    added.add_argument("--ready", type=int, metavar="FD", help="where `start` waits for the answer")
    added = add("follow", _follow, "print the journal as it grows")
    added.add_argument("run")
    added.add_argument("--after", type=int, default=0, metavar="SEQ")
    added.add_argument("--silence", type=float, metavar="S", help="how long the run may say nothing")
    add("stop", _stop, "end a run").add_argument("run")
    add("profile", _profile, "time by operator of one model, asked on standard input")
    added = add("profile-here", _profile_here, "what `profile` does in a process of its own")
    added.add_argument("answer", metavar="FILE")


def _add_care(add: Add) -> None:
    """What makes measurements bad, and changing a board for them."""
    add("conditions", _conditions, "what would make measurements bad at this moment")
    add("fix", _fix, "change the board for measurements, until the next run ends").add_argument("holder")
    add("restore", _restore, "undo what `fix` has changed").add_argument("holder")


def _print(answer: Answer) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _say(answer: Answer) -> int:
    _print(answer)
    return protocol.EXIT_OK


def _read_stdin() -> bytes:
    content = sys.stdin.buffer.read(protocol.MAX_ANSWER_BYTES + 1)
    if len(content) > protocol.MAX_ANSWER_BYTES:
        raise AgentFault(protocol.ERROR_OTHER, "standard input is larger than any question")
    return content


def _read_question() -> Dict[str, Any]:
    """The JSON object on standard input."""
    try:
        asked = json.loads(_read_stdin().decode())
    except ValueError as error:
        raise AgentFault(protocol.ERROR_OTHER, "the question is no JSON: {}".format(error)) from error
    if not isinstance(asked, dict):
        raise AgentFault(protocol.ERROR_OTHER, "the question is no JSON object")
    return asked


def _serve(work: str, reply_descriptor: str) -> int:
    from device_agent.worker import serve

    return serve(WorkFolder(work), int(reply_descriptor))


def _probe(folder: WorkFolder, arguments: Any) -> int:
    from device_agent.board_root import find_root
    from device_agent.probe import probe_board

    return _say(probe_board(folder, arguments.layer, find_root()))


def _runtime(folder: WorkFolder, arguments: Any) -> int:
    from device_agent.probe import describe_one

    return _say(describe_one(folder, arguments.layer, arguments.name))


def _inventory(folder: WorkFolder, _: Any) -> int:
    from device_agent.store import take_inventory

    return _say(take_inventory(folder, _read_question()))


def _receive(folder: WorkFolder, arguments: Any) -> int:
    from device_agent.incoming import Incoming
    from device_agent.store import receive_blobs

    receive_blobs(folder, Incoming(sys.stdin.fileno()), _print, arguments.sender)
    return protocol.EXIT_OK


def _unpack(folder: WorkFolder, arguments: Any) -> int:
    from device_agent.unpacking import unpack_layer

    return _say(unpack_layer(folder, arguments.sha256))


def _expand(folder: WorkFolder, arguments: Any) -> int:
    from device_agent.store import expand_blob

    return _say(expand_blob(folder, arguments.sha256))


def _clean(folder: WorkFolder, _: Any) -> int:
    from device_agent.cleaning import clean

    return _say(clean(folder, _read_question()))


def _put_job(folder: WorkFolder, arguments: Any) -> int:
    from device_agent.launch import put_job

    return _say(put_job(folder, arguments.run, _read_stdin()))


def _start(folder: WorkFolder, arguments: Any) -> int:
    from device_agent.launch import start_run

    answer = start_run(folder, arguments.run)
    if arguments.clock:
        from device_agent.clocks import read_clocks

        answer["clock"] = read_clocks()
    return _say(answer)


def _run(folder: WorkFolder, arguments: Any) -> int:
    from device_agent.launch import run_here

    return run_here(folder, arguments.run, arguments.ready)


def _follow(folder: WorkFolder, arguments: Any) -> int:
    from device_agent.follow import follow_journal

    return follow_journal(folder, arguments.run, arguments.after, arguments.silence)


def _stop(folder: WorkFolder, arguments: Any) -> int:
    from device_agent.follow import stop_run

    return _say(stop_run(folder, arguments.run))


def _profile(folder: WorkFolder, _: Any) -> int:
    from device_agent.profiling import profile

    return _say(profile(folder, _read_question()))


def _profile_here(folder: WorkFolder, arguments: Any) -> int:
    from device_agent.profiling import profile_here

    return profile_here(folder, _read_question(), arguments.answer)


def _status(folder: WorkFolder, _: Any) -> int:
    from device_agent.lock import find_holder

    return _say({"holder": find_holder(folder)})


def _look(folder: WorkFolder, _: Any) -> int:
    from device_agent.standing import describe_standing

    return _say(describe_standing(folder))


def _conditions(folder: WorkFolder, _: Any) -> int:
    from device_agent.conditions import describe_conditions

    return _say(describe_conditions(_find_place(folder)))


def _fix(folder: WorkFolder, arguments: Any) -> int:
    from device_agent.tuning.fixing import fix

    return _tune(folder, arguments.holder, lambda place: fix(place, arguments.holder))


def _restore(folder: WorkFolder, arguments: Any) -> int:
    from device_agent.tuning.fixing import restore

    return _tune(folder, arguments.holder, restore)


def _tune(folder: WorkFolder, holder: str, change: Callable[["Place"], List[Answer]]) -> int:
    """Change the board while its lock is held: nobody measures meanwhile."""
    from device_agent.lock import acquire_lock

    lock = acquire_lock(folder, "doctor", holder)
    try:
        return _say({"outcomes": change(_find_place(folder))})
    finally:
        os.close(lock)


def _find_place(folder: WorkFolder) -> "Place":
    from device_agent.board_root import find_root
    from device_agent.tuning.step import Place

    return Place(folder, find_root())


def _parse(_: WorkFolder, arguments: Any) -> int:
    from device_agent.parsing import print_answers

    print_answers(arguments.kind, _print)
    return protocol.EXIT_OK
