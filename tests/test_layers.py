"""Layers, assembled by the real pip: from planted wheels without a network, and once from the index."""

from __future__ import annotations

import platform
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from host.errors import DeviceError, Unsuitable
from host.fleet.layers import assemble_layer, provide_layer
from host.fleet.probing import BoardFacts
from host.fleet.requirements import check_own, name_requirements
from host.fleet.wheels import (
    NoWheel,
    Target,
    describe_target,
    describe_wheels,
    name_abis,
    name_platforms,
)
from host.progress import Silent
from host.specs.artifact import Blob
from host.specs.device import Device
from host.specs.profile import RuntimeSettings
from tests.planted_wheels import look_only_in, plant_wheel
from tests.tiny_plans import Watched

FINGERPRINT = "SHA256:" + "A" * 43
PACKAGES = ("numpy", "onnxruntime", "psutil")
CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"


def board(
    python: str = "3.11.7", machine: str = "aarch64", libc: tuple[str, str] = ("glibc", "2.36")
) -> BoardFacts:
    return BoardFacts.model_validate(
        {
            "schema": 1,
            "agent_version": "0.1.0",
            "python": python,
            "implementation": "cp",
            "machine": machine,
            "libc": {"name": libc[0], "version": libc[1]},
            "board": "Raspberry Pi 4 Model B Rev 1.4",
            "runtimes": {},
        }
    )


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place where pip looks."""
    folder = tmp_path / "wheels"
    native = "cp311-cp311-manylinux_2_27_aarch64.manylinux_2_28_aarch64"
    plant_wheel(folder, "numpy", native, files={"numpy/core.pyi": "", "numpy/core.so": "\x7fELF"})
    plant_wheel(folder, "onnxruntime", "cp311-cp311-manylinux2014_aarch64", "flatbuffers")
    plant_wheel(folder, "psutil", "cp36-abi3-manylinux_2_17_aarch64")
    plant_wheel(folder, "flatbuffers", "py2.py3-none-any", files={"flatbuffers-nspkg.pth": "import os\n"})
    look_only_in(folder, monkeypatch)
    return folder


@pytest.fixture
def no_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every way to a package is closed, as on a train."""
    monkeypatch.delenv("PIP_NO_INDEX", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")


def members(layer: Blob) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(layer.path) as archive:
        return {member.name: member for member in archive}


def test_a_layer_holds_packages_and_their_dependencies(wheels: Path, tmp_path: Path) -> None:
    found = members(assemble_layer(board(), PACKAGES, tmp_path / "cache", Silent()))
    assert {
        "numpy/core.so",
        "onnxruntime/__init__.py",
        "psutil/__init__.py",
        "flatbuffers/__init__.py",
    } <= set(found)
    assert "onnxruntime-1.0.dist-info/METADATA" in found


def test_a_layer_holds_nothing_of_the_host(wheels: Path, tmp_path: Path) -> None:
    found = members(assemble_layer(board(), PACKAGES, tmp_path / "cache", Silent()))
    assert not [
        name for name in found if name.startswith("bin/") or name.endswith((".pyi", ".pth", "/RECORD"))
    ]
    assert {(m.uid, m.gid, m.uname, m.gname, m.mtime, m.mode) for m in found.values()} == {
        (0, 0, "", "", 0, 0o644)
    }
    assert all(member.isreg() for member in found.values())
    assert list(found) == sorted(found)


def test_two_assemblies_from_the_same_wheels_are_the_same_bytes(wheels: Path, tmp_path: Path) -> None:
    first = assemble_layer(board(), PACKAGES, tmp_path / "one", Silent())
    second = assemble_layer(board(), PACKAGES, tmp_path / "another" / "deeper", Silent())
    assert first.sha256 == second.sha256
    assert first.path.read_bytes() == second.path.read_bytes()


def test_a_cached_layer_needs_no_network(
    wheels: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    first = assemble_layer(board(), PACKAGES, tmp_path, Silent())
    request.getfixturevalue("no_index")
    assert assemble_layer(board(python="3.11.2"), PACKAGES, tmp_path, Silent()) == first


def test_a_damaged_layer_in_the_cache_is_assembled_anew(wheels: Path, tmp_path: Path) -> None:
    first = assemble_layer(board(), PACKAGES, tmp_path, Silent())
    content = first.path.read_bytes()
    first.path.write_bytes(content[:-1])
    assert assemble_layer(board(), PACKAGES, tmp_path, Silent()).path.read_bytes() == content


def test_nothing_half_made_stays_in_the_cache(wheels: Path, tmp_path: Path) -> None:
    layer = assemble_layer(board(), PACKAGES, tmp_path, Silent())
    with pytest.raises(DeviceError):
        assemble_layer(board(machine="riscv64"), PACKAGES, tmp_path, Silent())
    assert list((tmp_path / "layers").iterdir()) == [layer.path]


def test_a_missing_wheel_is_named_with_the_board_it_is_missing_for(wheels: Path, tmp_path: Path) -> None:
    plant_wheel(wheels, "numpy", "cp311-cp311-linux_armv7l")
    with pytest.raises(DeviceError) as caught:
        assemble_layer(board(machine="armv7l"), PACKAGES, tmp_path, Silent())
    assert "onnxruntime has no wheel for Python 3.11 on armv7l with glibc 2.36" in caught.value.message
    assert "it has wheels for aarch64" in caught.value.message
    for choice in ("openvino", "another Python", "apt", "python:", "extra-index-url"):
        assert choice in (caught.value.hint or "")


def test_a_board_with_another_python_is_told_which_ones_there_are_wheels_for(
    wheels: Path, tmp_path: Path
) -> None:
    plant_wheel(wheels, "numpy", "cp312-cp312-manylinux2014_aarch64")
    plant_wheel(wheels, "numpy", "cp314-cp314-manylinux2014_aarch64")
    plant_wheel(wheels, "numpy", "cp36-cp36m-manylinux2014_x86_64")
    with pytest.raises(DeviceError, match=r"there it has wheels for Python 3\.11 to 3\.12, 3\.14\n"):
        assemble_layer(board(python="3.6.9"), PACKAGES, tmp_path, Silent())


def test_an_error_of_a_layer_names_its_device(wheels: Path, tmp_path: Path) -> None:
    with pytest.raises(NoWheel, match=r"^pi4: numpy has no wheel for Python 3\.13 on aarch64"):
        provide_layer(make_device(), board("3.13.1"), [ORT], tmp_path, Silent())
    pypy = BoardFacts.model_validate({**board().model_dump(by_alias=True), "implementation": "pp"})
    with pytest.raises(DeviceError, match=r"^pi4: the board's Python is no CPython"):
        provide_layer(make_device(), pypy, [ORT], tmp_path, Silent())


def test_boards_of_one_kind_have_their_layer_assembled_once(wheels: Path, tmp_path: Path) -> None:
    watched = [Watched() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        layers = set(pool.map(lambda one: assemble_layer(board(), PACKAGES, tmp_path, one), watched))
    assert len(layers) == 1
    assert sum(label.startswith("packages for") for one in watched for label in one.tracked) == 1


def test_a_wheel_for_a_newer_libc_is_not_taken(wheels: Path, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"numpy has no wheel .*: it needs glibc 2.27 there"):
        assemble_layer(board(libc=("glibc", "2.26")), PACKAGES, tmp_path, Silent())


def test_without_a_network_pip_has_the_last_word(no_index: None, tmp_path: Path) -> None:
    with pytest.raises(DeviceError) as caught:
        assemble_layer(board(), PACKAGES, tmp_path, Silent())
    assert "could not be fetched" in caught.value.message
    assert "No matching distribution found for numpy" in caught.value.message
    assert len(caught.value.message) < 1200


def make_device(python: str = "python3") -> Device:
    return Device(name="pi4", host="h", fingerprint=FINGERPRINT, python=python)


def having(facts: BoardFacts, **providers: list[str]) -> BoardFacts:
    """The board with runtimes of its own, that have these providers."""
    runtimes = {name: {"version": "1.20", "providers": has} for name, has in providers.items()}
    return BoardFacts.model_validate({**facts.model_dump(by_alias=True), "runtimes": runtimes})


def choose(facts: BoardFacts, *runtimes: RuntimeSettings, python: str = "python3") -> tuple[str, ...]:
    return name_requirements(make_device(python), facts, runtimes)


ORT, OPENVINO = RuntimeSettings(), RuntimeSettings(name="openvino")
NCNN, TRT = RuntimeSettings(name="ncnn"), RuntimeSettings(name="tensorrt")
ORT_CUDA = RuntimeSettings(provider=CUDA)


def test_a_layer_holds_the_runtimes_that_a_plan_needs_and_no_other() -> None:
    assert choose(board(), ORT) == ("numpy", "onnxruntime", "psutil")
    assert choose(board(), OPENVINO) == ("numpy", "openvino", "psutil")
    assert choose(board(), ORT, NCNN, OPENVINO) == ("ncnn", "numpy", "onnxruntime", "openvino", "psutil")


def test_tensorrt_comes_with_the_board_and_gets_a_numpy_that_its_bindings_know() -> None:
    assert choose(board("3.8.10"), TRT) == ("numpy<1.24", "psutil")
    assert choose(board("3.10.12"), TRT) == ("numpy<1.24", "psutil")
    assert choose(board("3.12.3"), TRT, ORT) == ("numpy<2", "onnxruntime", "psutil")
    assert choose(board("3.13.1"), TRT) == ("numpy", "psutil")  # no numpy 1 has wheels for it


def test_an_onnxruntime_with_the_gpu_is_not_hidden_by_ours() -> None:
    jetson = having(board("3.10.12"), onnxruntime=[TENSORRT, CUDA, CPU])
    assert choose(jetson, ORT_CUDA, ORT) == ("numpy<2", "psutil")
    assert choose(jetson, ORT) == ("numpy", "onnxruntime", "psutil")
    assert choose(board("3.10.12"), TRT, ORT_CUDA) == ("numpy<1.24", "psutil")  # ours would be of no use
    without_gpu = having(board("3.10.12"), onnxruntime=[CPU])
    assert choose(without_gpu, ORT_CUDA, ORT) == ("numpy", "onnxruntime", "psutil")


def test_what_a_board_must_bring_is_asked_for_before_anything_is_sent() -> None:
    with pytest.raises(Unsuitable, match="pi4 cannot run") as caught:
        check_own(make_device(), board(), [TRT, ORT_CUDA, OPENVINO])
    assert "tensorrt is not on the board" in caught.value.message
    assert (
        "CUDAExecutionProvider is not on the board: its own onnxruntime is not there" in caught.value.message
    )
    assert "openvino" not in caught.value.message
    check_own(make_device(), having(board(), tensorrt=["GPU"], onnxruntime=[CUDA, CPU]), [TRT, ORT_CUDA])
    check_own(make_device(), board(), [TRT.model_copy(update={"optional": True}), ORT])


def test_a_device_with_runtimes_of_its_own_needs_no_layer(no_index: None, tmp_path: Path) -> None:
    device, facts = make_device("/opt/venv/bin/python"), having(board(), onnxruntime=[CPU])
    assert provide_layer(device, facts, [ORT], tmp_path, Silent()) is None
    assert choose(facts, ORT, OPENVINO, python="/opt/venv/bin/python") == ("numpy<2", "openvino", "psutil")


def test_an_interpreter_of_its_own_without_runtimes_gets_a_layer(wheels: Path, tmp_path: Path) -> None:
    device = make_device("/opt/venv/bin/python")
    assert provide_layer(device, board(), [ORT], tmp_path, Silent()) is not None


def test_an_optional_runtime_without_a_wheel_does_not_stop_the_others(wheels: Path, tmp_path: Path) -> None:
    progress = Watched()
    plant_wheel(wheels, "ncnn", "cp311-cp311-manylinux_2_17_aarch64", "something_of_its_model_zoo")
    optional = [OPENVINO.model_copy(update={"optional": True}), NCNN.model_copy(update={"optional": True})]
    layer = provide_layer(make_device(), board(), [ORT, *optional], tmp_path, progress)
    assert layer is not None
    found = members(layer)
    assert {"onnxruntime/__init__.py", "ncnn/__init__.py"} <= set(found)
    assert "openvino/__init__.py" not in found
    assert [said for said in progress.said if "without" in said] == [
        "pi4 goes on without openvino: openvino has no wheel for Python 3.11 on aarch64 with glibc 2.36"
    ]
    with pytest.raises(NoWheel, match="openvino has no wheel"):
        provide_layer(make_device(), board(), [ORT, OPENVINO], tmp_path, Silent())


def test_without_a_network_optional_runtimes_are_done_without(
    wheels: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    first = provide_layer(make_device(), board(), [ORT], tmp_path, Silent())
    request.getfixturevalue("no_index")
    runtimes = [ORT, OPENVINO.model_copy(update={"optional": True})]
    assert provide_layer(make_device(), board(), runtimes, tmp_path, Silent()) == first


def test_another_interpreter_than_cpython_is_refused() -> None:
    facts = BoardFacts.model_validate({**board().model_dump(by_alias=True), "implementation": "pp"})
    with pytest.raises(DeviceError, match="no CPython"):
        describe_target(facts)


@pytest.mark.parametrize("version", ["unknown", "2.36evil", "2"])
def test_a_libc_whose_version_is_none_is_refused(version: str) -> None:
    with pytest.raises(DeviceError, match="C library is not known"):
        describe_target(board(libc=("glibc", version)))


def target(machine: str, libc: str, version: str) -> Target:
    return Target(python="3.11", machine=machine, libc=libc, libc_version=version)


def test_platforms_go_from_the_libc_of_the_board_down_to_the_oldest() -> None:
    tags = name_platforms(target("x86_64", "glibc", "2.31"))
    assert tags[0] == "manylinux_2_31_x86_64"
    assert tags[-3:] == ["manylinux_2_5_x86_64", "manylinux1_x86_64", "linux_x86_64"]
    assert {"manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux_2_17_x86_64"} <= set(tags)


def test_arm_has_no_platforms_older_than_2014() -> None:
    tags = name_platforms(target("aarch64", "glibc", "2.27"))
    assert tags[-3:] == ["manylinux_2_17_aarch64", "manylinux2014_aarch64", "linux_aarch64"]
    assert not [tag for tag in tags if "manylinux1_" in tag or "2010" in tag]


def test_musl_has_tags_of_its_own() -> None:
    tags = name_platforms(target("x86_64", "musl", "1.2"))
    assert tags == ["musllinux_1_2_x86_64", "musllinux_1_1_x86_64", "musllinux_1_0_x86_64", "linux_x86_64"]


def test_platforms_agree_with_those_of_this_machine() -> None:
    """`packaging` asks the running interpreter and must find what we say of a machine like it."""
    tags = pytest.importorskip("packaging.tags")
    libc, version = platform.libc_ver()
    if libc != "glibc":
        pytest.skip("this machine has no glibc")
    ours = name_platforms(target(platform.machine(), "glibc", version))
    assert sorted(ours) == sorted(tags.platform_tags())


@pytest.mark.parametrize(
    ("tags", "told"),
    [
        ((), ""),
        (("cp311-cp311-win_amd64", "cp311-cp311-macosx_11_0_arm64", "nonsense"), ""),
        (("cp310-cp310-musllinux_1_2_x86_64",), ""),
        (("cp310-cp310-linux_armv7l", "cp311-cp311-manylinux1_i686"), "it has wheels for armv7l, i686"),
        (("py3-none-any",), "there it has wheels for Python 3"),
        (("cp39-cp39-manylinux2014_x86_64", "cp313-cp313-win32"), "there it has wheels for Python 3.9"),
        (
            ("cp311-cp311-manylinux_2_34_x86_64", "cp311-cp311-manylinux_2_39_x86_64"),
            "it needs glibc 2.34 there",
        ),
    ],
)
def test_wheels_that_do_not_fit_are_told_from_where_the_board_stands(
    tags: tuple[str, ...], told: str
) -> None:
    assert describe_wheels(tags, target("x86_64", "glibc", "2.28")) == told


def test_abis_carry_an_m_up_to_python_3_7() -> None:
    assert name_abis("3.6")[0] == "cp36m"
    assert name_abis("3.7")[0] == "cp37m"
    assert name_abis("3.8") == ["cp38", "abi3", "none"]


@pytest.mark.slow
def test_layers_from_the_index_are_the_same_twice(tmp_path: Path) -> None:
    facts = board(libc=("glibc", "2.31"))
    try:
        first = assemble_layer(facts, PACKAGES, tmp_path / "one", Silent())
    except DeviceError as error:
        if "could not be fetched" in error.message:
            pytest.skip("the package index cannot be reached")
        raise
    assert first.sha256 == assemble_layer(facts, PACKAGES, tmp_path / "two", Silent()).sha256
    found = members(first)
    assert [name for name in found if name.startswith("onnxruntime/capi/onnxruntime_pybind11_state")]
    assert "psutil/__init__.py" in found
