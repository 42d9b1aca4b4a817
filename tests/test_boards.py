"""Which boards a sweep uses, and what they must have: settled before anything is built or sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from host.errors import ModelError, UsageError
from host.fleet.boards import Board, Chosen, choose_devices, name_devices
from host.fleet.deploying import Deployment
from host.fleet.probing import BoardFacts
from host.fleet.registry import save_device
from host.plan import Plan, plan_sweep
from host.specs.artifact import Blob
from host.specs.device import Device, Emulation
from host.specs.profile import DeviceChoice, parse_profile
from host.specs.recipe import Recipe
from host.suitability import check_suitability
from host.workspace import Workspace

FINGERPRINT = "SHA256:" + "A" * 43


def make_device(name: str, **changes: object) -> Device:
    return Device.model_validate({"name": name, "host": "10.0.0.7", "fingerprint": FINGERPRINT, **changes})


REGISTERED = {
    device.name: device
    for device in (
        make_device("pi4", labels=("pi", "lab")),
        make_device("pi5", labels=("pi",)),
        make_device("orin", labels=("jetson", "lab")),
        make_device("emu", emulation=Emulation(cpus=2)),
    )
}


def choose(*choices: DeviceChoice, names: tuple[str, ...] = ()) -> list[str]:
    return [chosen.name for chosen in choose_devices(choices, names, REGISTERED)]


def test_names_on_the_command_line_go_before_the_profile() -> None:
    assert choose(DeviceChoice(name="pi4"), names=("orin", "pi5")) == ["orin", "pi5"]


def test_labels_choose_every_device_that_has_all_of_them() -> None:
    assert choose(DeviceChoice(labels=("pi",))) == ["pi4", "pi5"]
    assert choose(DeviceChoice(labels=("pi", "lab"))) == ["pi4"]


def test_a_device_that_is_asked_for_twice_is_used_once() -> None:
    assert choose(DeviceChoice(labels=("pi",)), DeviceChoice(name="pi4")) == ["pi4", "pi5"]


def test_an_emulated_device_need_not_be_registered() -> None:
    chosen = choose_devices((DeviceChoice(emulate="new", cpus=2),), (), REGISTERED)
    assert chosen == (Chosen(name="new", cpus=2),)
    assert choose(DeviceChoice(emulate="new"), names=("new",)) == ["new"]


def test_a_registered_emulated_device_is_started_with_its_own_cores() -> None:
    assert choose_devices((), ("emu",), REGISTERED) == (Chosen(name="emu", cpus=2),)


def test_an_unknown_device_or_label_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="there is no device 'p4'") as caught:
        choose(names=("p4",))
    assert "pi4" in str(caught.value.hint)
    with pytest.raises(UsageError, match="no device has the labels tpu"):
        choose(DeviceChoice(labels=("tpu",)))
    with pytest.raises(UsageError, match="no device to measure on"):
        choose()


def make_board(max_opset: int | None = 21, runtimes: bool = True) -> Board:
    has = {
        "onnxruntime": {"version": "1.19.2", "providers": ["CPUExecutionProvider"], "max_opset": max_opset}
    }
    facts = BoardFacts.model_validate(
        {
            "schema": 1,
            "agent_version": "0",
            "python": "3.11.2",
            "implementation": "cp",
            "machine": "aarch64",
            "libc": {"name": "glibc", "version": "2.36"},
            "board": "a board",
            "runtimes": has if runtimes else {},
        }
    )
    agent = Blob(path=Path("agent.pyz"), sha256="0" * 64, size=0)
    return Board(make_device("pi4"), facts, agent, None, Deployment(0, 0, 0.0))


def make_plan(**runtime: object) -> Plan:
    recipe = Recipe.model_validate(
        {
            "name": "m",
            "architecture": "torchvision:mobilenet_v2",
            "data": {"name": "digits"},
            "input": {"shape": (3, 32, 32)},
        }
    )
    profile = parse_profile({"name": "p", "model": "m", "runtimes": [runtime]})
    return plan_sweep(profile, [recipe], ["pi4"], {"m": ""})


def test_a_board_that_has_everything_is_suitable() -> None:
    plan = make_plan()
    check_suitability(plan, plan.tasks, make_board())


@pytest.mark.parametrize(
    ("runtime", "board", "said"),
    [
        ({}, make_board(max_opset=13), "reads up to 13: export it with opset 13 or older"),
        ({}, make_board(runtimes=False), "onnxruntime is not on the board"),
        (
            {"name": "tensorrt"},
            make_board(),
            "tensorrt is not on the board. On a Jetson: sudo apt install nvidia-jetpack",
        ),
        (
            {"provider": "XnnpackExecutionProvider"},
            make_board(),
            "XnnpackExecutionProvider is not in its onnxruntime: CPUExecutionProvider",
        ),
        (
            {"provider": "CUDAExecutionProvider"},
            make_board(),
            "CUDAExecutionProvider is not on the board: its own onnxruntime has only CPUExecutionProvider",
        ),
    ],
)
def test_what_a_board_lacks_is_said_before_anything_is_built(
    runtime: dict[str, object], board: Board, said: str
) -> None:
    plan = make_plan(**runtime)
    with pytest.raises(ModelError, match="pi4 cannot run") as caught:
        check_suitability(plan, plan.tasks, board)
    assert said in caught.value.message


# Labels on the command line.


def test_a_label_on_the_command_line_names_all_that_have_it() -> None:
    assert choose(names=("orin", "label:pi")) == ["orin", "pi4", "pi5"]
    assert choose(names=("label:lab", "pi4")) == ["pi4", "orin"]
    assert choose(DeviceChoice(name="orin"), names=("label:pi",)) == ["pi4", "pi5"]


def test_an_unknown_label_offers_the_nearest_and_what_exists() -> None:
    with pytest.raises(UsageError, match="no device has the labels jetsom") as caught:
        choose(names=("label:jetsom",))
    assert "Did you mean jetson?" in str(caught.value.hint)
    assert "Labels there are: jetson, lab, pi." in str(caught.value.hint)


def test_a_device_called_as_a_label_and_a_label_as_a_device_are_told() -> None:
    with pytest.raises(UsageError, match="there is no device 'jetson'") as caught:
        choose(names=("jetson",))
    assert "label:jetson names all devices that have it" in str(caught.value.hint)
    with pytest.raises(UsageError) as caught:
        choose(names=("label:pi4",))
    assert "pi4 is a device: name it alone." in str(caught.value.hint)


def test_names_stand_for_themselves_and_labels_for_their_devices(workspace: Workspace) -> None:
    for device in REGISTERED.values():
        save_device(workspace, device)
    assert name_devices(("label:pi", "pi4", "not-there"), workspace) == ("pi4", "pi5", "not-there")
