"""Where a board's runtimes come from: which of them we send as packages, and which it must bring itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from host.errors import DeviceError, Unsuitable
from host.fleet.probing import BoardFacts
from host.specs.device import Device
from host.specs.profile import RuntimeSettings

PACKAGED = ("ncnn", "onnxruntime", "openvino")
"""Runtimes that are on the package index for most boards, by the names that they have there."""

BOARD_ONLY = ("CUDAExecutionProvider", "TensorrtExecutionProvider")
"""Providers that no onnxruntime of the package index has: builds for a Jetson's CUDA come from elsewhere."""

CPU = "CPUExecutionProvider"

PROFILES_ELSEWHERE = "`--profile pi4`, `pi5` and `x86-runtimes` measure on processors"


def describe_lack(runtime: RuntimeSettings, facts: BoardFacts) -> str | None:
    """What a board lacks to run models so, and what to do about it; None where it lacks nothing."""
    found = facts.runtimes.get(runtime.name)
    if found is not None and runtime.provider in found.providers:
        return None
    if runtime.name == "tensorrt":
        return (
            "tensorrt is not on the board. On a Jetson: sudo apt install nvidia-jetpack "
            f"(python3-libnvinfer are its Python bindings); on other boards: {PROFILES_ELSEWHERE}"
        )
    if runtime.provider in BOARD_ONLY:
        has = f"has only {', '.join(found.providers)}" if found else "is not there"
        return (
            f"{runtime.provider} is not on the board: its own onnxruntime {has}. Install onnxruntime-gpu, "
            "built for its JetPack, into the board's python3"
        )
    if found is None:
        return f"{runtime.name} is not on the board"
    return f"{runtime.provider} is not in its {runtime.name}: {', '.join(found.providers)}"


def check_own(device: Device, facts: BoardFacts, runtimes: Iterable[RuntimeSettings]) -> None:
    """Raise Unsuitable for what a board must bring itself and has not, before anything is sent to it, and
    DeviceError where it could not load what it would be sent.

    `facts` are those of the board without any layer.
    """
    needed = (one for one in runtimes if not one.optional and not _is_sent(one))
    lacks = dict.fromkeys(lack for one in needed if (lack := describe_lack(one, facts)))
    if lacks:
        raise describe_unsuitable(device, lacks)
    if facts.loads_code is False and name_requirements(device, facts, tuple(runtimes)):
        raise DeviceError(
            f"{device.name}: {device.work_folder} is mounted noexec: no packages can be loaded from there",
            f"Give {device.name} a `work_folder:` on another disk in devices.yaml, or name an interpreter "
            "that has the runtimes as `python:`.",
        )


def describe_unsuitable(device: Device, lacks: Iterable[str]) -> Unsuitable:
    """The error for a board that lacks something, each lack in a line of its own."""
    return Unsuitable(
        f"{device.name} cannot run what it is asked to run:\n  " + "\n  ".join(lacks),
        f"`bench devices probe {device.name}` shows what it has.",
    )


def _is_sent(runtime: RuntimeSettings) -> bool:
    return runtime.name in PACKAGED and runtime.provider not in BOARD_ONLY


def name_requirements(
    device: Device, facts: BoardFacts, runtimes: Sequence[RuntimeSettings]
) -> tuple[str, ...]:
    """What to send for these runtimes, as pip reads it; nothing where the board's interpreter has it all.

    `facts` are those of the board without any layer. What it brings itself is left out, so that nothing of
    ours hides it: an onnxruntime with the providers that are asked for, or all that an interpreter of the
    device's own has.
    """
    has_own_python = device.python != Device.model_fields["python"].default
    names = dict.fromkeys(one.name for one in runtimes)
    own = {name for name in names if _is_own(name, facts, runtimes, has_own_python=has_own_python)}
    sent = [
        name
        for name in names
        if name not in own and any(_is_sent(one) for one in runtimes if one.name == name)
    ]
    if has_own_python and not sent:
        return ()
    return tuple(sorted((_choose_numpy(facts, own | (names.keys() - set(PACKAGED))), "psutil", *sent)))


def _is_own(
    name: str, facts: BoardFacts, runtimes: Iterable[RuntimeSettings], *, has_own_python: bool
) -> bool:
    """Whether the board's own copy of a runtime is used.

    Our onnxruntime is newer than most boards', so that one is used only for what ours cannot do.
    """
    found = facts.runtimes.get(name)
    if found is None:
        return False
    special = {one.provider for one in runtimes if one.name == name} - {CPU}
    return has_own_python or (name == "onnxruntime" and not special.isdisjoint(found.providers))


def _choose_numpy(facts: BoardFacts, own: set[str]) -> str:
    """numpy, older where what the board brings was compiled against it.

    Extensions made for numpy 1 do not load beside numpy 2, and TensorRT's Python bindings before 8.6 use
    `np.bool`, which went with 1.24. Each Python gets what has wheels for it.
    """
    major, minor = (int(part) for part in facts.python.split(".")[:2])
    if not own or (major, minor) > (3, 12):
        return "numpy"
    return "numpy<1.24" if "tensorrt" in own and (major, minor) <= (3, 10) else "numpy<2"
