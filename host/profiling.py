"""Where the time of an inference goes, by operator and by layer: ready a board, send, ask in turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from host.compress.blank_model import write_blank_model
from host.compress.feeds import write_feeds
from host.compress.onnx_files import read_onnx
from host.compress.onnx_nodes import read_model_graph
from host.errands import name_holder
from host.errors import UsageError
from host.fleet.boards import Board, choose_devices, ready_board
from host.fleet.deploying import deploy
from host.fleet.operator_pieces import Piece, PieceQuestion, ask_piece
from host.fleet.registry import load_devices
from host.operators.times import Profiled, assemble
from host.plan import Plan, plan_file, plan_task
from host.preparing import build_artifacts, plan_profile
from host.progress import Progress
from host.specs.artifact import Artifact
from host.specs.measure import Measure
from host.specs.operators import OperatorReport
from host.specs.profile import DeviceChoice, Profile, RuntimeSettings
from host.suitability import check_suitability
from host.workspace import Workspace

PIECES = 5
SECONDS = 0.6
INFERENCES = 8
PROFILED = ("onnxruntime",)
"""Runtimes whose times by operator the agent can read."""

Shapes = Mapping[str, tuple[int, ...]]


def profile_files(
    files: Sequence[Path],
    shapes: Shapes,
    device: str,
    runtime: RuntimeSettings,
    workspace: Workspace,
    progress: Progress,
) -> OperatorReport:
    """One or two ONNX files as they are."""
    plans = [
        plan_file(read_onnx(file.resolve(), shapes), shapes, [device], [runtime], Measure()) for file in files
    ]
    plan = plans[0].model_copy(
        update={
            "files": tuple(one for plan in plans for one in plan.files),
            "tasks": tuple(task for plan in plans for task in plan.tasks),
        }
    )
    return _profile(plan, (), device, workspace, progress)


def profile_variants(
    profile: Profile,
    labels: Sequence[str],
    device: str | None,
    runtime: RuntimeSettings,
    workspace: Workspace,
    progress: Progress,
) -> OperatorReport:
    """One or two variants of a profile, built where they are not yet; the first one is what the other is
    compared with. Raises UsageError where the profile has more and `labels` do not choose.
    """
    chosen = choose_devices(profile.devices, [device] if device else [], load_devices(workspace))
    if len(chosen) != 1:
        raise UsageError(
            f"{profile.name} asks for {len(chosen)} devices; one is profiled at a time",
            "Name it with --device.",
        )
    plan = plan_profile(profile, [chosen[0].name], workspace, labels)
    found = {item.label: item for item in plan.variants}
    if len(plan.variants) != len(found) or len(found) > 2:
        raise UsageError(
            f"{profile.name} has {len(plan.variants)} variants; one or two are profiled at a time",
            "Choose with --variant, such as: " + " ".join(f"--variant {label}" for label in [*found][:2]),
        )
    order = labels or list(found)
    variants = tuple(found[label] for label in dict.fromkeys(order))
    tasks = tuple(
        plan_task(chosen[0].name, item.recipe.name, item.id, item.label, item.variant.is_dense, runtime)
        for item in variants
    )
    plan = plan.model_copy(update={"variants": variants, "tasks": tasks})
    return _profile(plan, profile.devices, chosen[0].name, workspace, progress)


def _profile(
    plan: Plan,
    choices: Sequence[DeviceChoice],
    device: str,
    workspace: Workspace,
    progress: Progress,
) -> OperatorReport:
    runtime = plan.tasks[0].runtime
    if runtime.name not in PROFILED:
        raise UsageError(
            f"{runtime.name} tells no times by operator that bench can read", f"--runtime {PROFILED[0]} does."
        )
    chosen = choose_devices(choices, [device], load_devices(workspace))[0]
    board = ready_board(chosen, [runtime], workspace, progress)
    check_suitability(plan, plan.tasks, board)
    built = build_artifacts(plan, plan.tasks, workspace, progress)
    profiled = [
        _open(built[task.variant_id], label)
        for task, label in zip(plan.tasks, name_profiled(plan), strict=True)
    ]
    questions = _send(board, plan, profiled, workspace, progress)
    return assemble(board, plan.tasks[0].runtime, profiled, _ask_in_turns(board, questions, progress))


def _open(artifact: Artifact, label: str) -> Profiled:
    return Profiled(label, artifact, read_model_graph(artifact.blob.path))


def name_profiled(plan: Plan) -> list[str]:
    """What people call each profiled file: its variant, or the shortest name that tells two files apart."""
    if not plan.files:
        return [task.label for task in plan.tasks]
    for names in ([file.path.stem for file in plan.files], [str(file.path) for file in plan.files]):
        if len(set(names)) == len(names):
            return names
    return [plan.files[0].path.stem, "the same again"]


def _send(
    board: Board, plan: Plan, profiled: Sequence[Profiled], workspace: Workspace, progress: Progress
) -> list[PieceQuestion]:
    """Send the files, and what is to be asked of the board for each of them."""
    runtime = plan.tasks[0].runtime
    shapes = {file.id: file.shapes for file in plan.files}
    feeds = [
        write_feeds(
            one.artifact, runtime.batch, shapes.get(one.artifact.variant_id, {}), workspace.cache / "feeds"
        )
        for one in profiled
    ]
    blank = write_blank_model(workspace.cache / "feeds")
    blobs = [
        blank,
        *(blob for one, feed in zip(profiled, feeds, strict=True) for blob in (one.artifact.blob, feed)),
    ]
    packed = {one.artifact.blob.sha256: one.artifact.packed for one in profiled if one.artifact.packed}
    with board.connect() as remote:
        deploy(remote, board.device, board.agent, blobs, board.layer, progress, packed)
    return [
        PieceQuestion(
            holder=name_holder(),
            layer=board.layer.sha256 if board.layer else None,
            runtime=runtime.name,
            provider=runtime.provider,
            threads=runtime.threads,
            options=runtime.options,
            model=one.artifact.blob.sha256,
            feeds=feed.sha256,
            blank=blank.sha256,
            seconds=SECONDS,
            inferences=INFERENCES,
            file_nodes=max(1, len(one.graph.nodes)),
        )
        for one, feed in zip(profiled, feeds, strict=True)
    ]


def _ask_in_turns(board: Board, questions: Sequence[PieceQuestion], progress: Progress) -> list[list[Piece]]:
    """The pieces of each model, asked A B, B A, A B …, so that a board that slows down slows both alike."""
    pieces: list[list[Piece]] = [[] for _ in questions]
    with progress.track(f"profiling on {board.device.name}", PIECES * len(questions)) as tick:
        for turn in range(PIECES):
            order = list(range(len(questions)))
            for index in order if turn % 2 == 0 else reversed(order):
                pieces[index].append(ask_piece(board, questions[index]))
                tick(1)
    return pieces
