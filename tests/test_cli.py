"""What a person meets at the command line: help, wrong words, wrong files, and exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from host.cli.main import run_bench
from tests.tiny_workspace import make_tiny_workspace

FAULTY = """\
name: faulty
model: tiny
device: [pi4]
variants:
  - prune: {granularity: channels, sparsity: 1.5}
measure: {preset: standrad}
"""


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(make_tiny_workspace(tmp_path))
    return tmp_path


Captured = pytest.CaptureFixture[str]


def test_help_names_every_command(capsys: Captured) -> None:
    assert run_bench(["--help"]) == 0
    text = capsys.readouterr().out
    for command in (
        "init",
        "doctor",
        "devices",
        "models",
        "profiles",
        "build",
        "deploy",
        "sweep",
        "run",
        "results",
    ):
        assert command in text


@pytest.mark.parametrize(
    "words", [["swep"], ["sweep", "--profil", "x"], ["devices", "emulate", "x", "sideways"]]
)
def test_wrong_usage_exits_with_2(words: list[str], capsys: Captured) -> None:
    assert run_bench(words) == 2
    assert capsys.readouterr().err


def test_every_fault_of_a_profile_is_named_at_once(workspace: Path, capsys: Captured) -> None:
    (workspace / "profiles" / "faulty.yaml").write_text(FAULTY)
    assert run_bench(["sweep", "--profile", "faulty"]) == 2
    told = capsys.readouterr().err
    for path in (
        "device: unknown key",
        "variants[0].prune.granularity",
        "variants[0].prune.sparsity",
        "measure.preset",
    ):
        assert path in told
    assert "4 faults" in told


@pytest.mark.parametrize("group", [[], ["devices"], ["models"], ["profiles"]])
def test_no_line_of_a_help_is_cut(group: list[str], capsys: Captured) -> None:
    assert run_bench([*group, "--help"]) == 0
    assert "..." not in capsys.readouterr().out.replace("COMMAND [ARGS]...", "")


@pytest.mark.parametrize(
    ("words", "offer"),
    [
        (["sweep", "--profile", "tinny"], "Did you mean tiny?"),
        (["profiles", "show", "x86-emulate"], "Did you mean x86-emulated or"),
        (["models", "show", "mobilenet_v2-digit"], "Did you mean mobilenet_v2-digits"),
        (["devices", "show", "pi4"], "bench devices"),
        (["deploy", "--device", "pi4"], "bench devices"),
        (["sweep", "--profile", "tiny", "--device", "x86-emulatd"], "x86-emulated"),
        (["sweep", "--profile", "tiny", "--variant", "channel-l2-5"], "Did you mean channel-l2-50"),
        (["build", "--profile", "tiny", "--variant", "dens"], "Did you mean dense?"),
    ],
)
def test_an_unknown_name_offers_what_exists(
    workspace: Path, capsys: Captured, words: list[str], offer: str
) -> None:
    assert run_bench(words) == 2
    assert offer in capsys.readouterr().err


def test_a_profile_that_names_an_unknown_model_is_refused(workspace: Path, capsys: Captured) -> None:
    text = (workspace / "profiles" / "tiny.yaml").read_text()
    (workspace / "profiles" / "tiny.yaml").write_text(text.replace("model: tiny", "model: tinny"))
    assert run_bench(["sweep", "--profile", "tiny"]) == 2
    assert "Did you mean tiny?" in capsys.readouterr().err


def test_profiles_validate_says_which_are_fine(workspace: Path, capsys: Captured) -> None:
    assert run_bench(["profiles", "validate"]) == 0
    (workspace / "profiles" / "faulty.yaml").write_text(FAULTY)
    assert run_bench(["profiles", "validate", "--format", "json"]) == 2
    out = capsys.readouterr().out
    found = {item["profile"]: len(item["faults"]) for item in json.loads(out[out.index("[") :])}
    assert found["tiny"] == 0
    assert found["faulty"] == 4


@pytest.mark.parametrize("command", ["models", "profiles"])
def test_lists_are_json_where_asked(workspace: Path, capsys: Captured, command: str) -> None:
    assert run_bench([command, "list", "--format", "json"]) == 0
    names = [item["name"] for item in json.loads(capsys.readouterr().out)]
    assert "tiny" in names
    assert len(names) > 1


def test_results_without_any_run_say_what_to_do(workspace: Path, capsys: Captured) -> None:
    assert run_bench(["results"]) == 2
    assert "bench sweep" in capsys.readouterr().err
    assert not (workspace / "results").exists()


def test_sweep_wants_either_a_profile_or_a_run(workspace: Path, capsys: Captured) -> None:
    assert run_bench(["sweep"]) == 2
    assert run_bench(["sweep", "--profile", "tiny", "--resume", "x"]) == 2
    assert "--profile" in capsys.readouterr().err


def test_resuming_an_unknown_run_is_refused(workspace: Path) -> None:
    assert run_bench(["sweep", "--resume", "20200101"]) == 2


@pytest.mark.parametrize("content", [b"", b"no model", b"\x08\x07", b"PK\x03\x04" + b"\0" * 64])
def test_a_file_that_is_no_onnx_is_refused(workspace: Path, capsys: Captured, content: bytes) -> None:
    (workspace / "model.onnx").write_bytes(content)
    (workspace / "devices.yaml").write_text(
        "devices:\n  board: {host: 127.0.0.1, port: 9, fingerprint: 'SHA256:" + "A" * 43 + "'}\n"
    )
    assert run_bench(["run", "model.onnx", "--device", "board"]) == 2
    assert "model.onnx" in capsys.readouterr().err


def test_a_device_that_is_down_exits_with_3(workspace: Path, capsys: Captured) -> None:
    (workspace / "devices.yaml").write_text(
        "devices:\n  board: {host: 127.0.0.1, port: 9, fingerprint: 'SHA256:" + "A" * 43 + "'}\n"
    )
    assert run_bench(["devices", "probe", "board"]) == 3
    told = capsys.readouterr().err
    assert "127.0.0.1:9 refuses connections" in told
    assert "start it, or correct the port" in told


def test_init_makes_a_workspace_and_keeps_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_bench(["init"]) == 0
    assert run_bench(["profiles", "validate"]) == 0
    (tmp_path / "devices.yaml").write_text("devices: {}  # mine\n")
    assert run_bench(["init"]) == 0
    assert "mine" in (tmp_path / "devices.yaml").read_text()
    assert run_bench(["sweep", "--profile", "first", "--dry-run"]) == 0


@pytest.mark.parametrize("text", ["x", "=", "x=0,3", "x=a", "x=-1,2", "x=1,,2"])
def test_a_shape_that_is_none_is_refused(workspace: Path, text: str, capsys: Captured) -> None:
    (workspace / "model.onnx").write_bytes(b"")
    assert run_bench(["run", "model.onnx", "--device", "board", "--shape", text]) == 2
    assert "--shape" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["../../evil", "-x", "", "a b", "é", "x" * 65])
@pytest.mark.parametrize(
    "words",
    [
        ["devices", "emulate", "NAME", "up"],
        ["devices", "add", "NAME", "127.0.0.1"],
        ["sweep", "--profile", "tiny", "--dry-run", "--device", "NAME"],
    ],
)
def test_a_name_that_is_none_is_refused_before_anything_is_done(
    workspace: Path, capsys: Captured, name: str, words: list[str]
) -> None:
    options = ["--"] if words[0] == "devices" else []
    said = [*words[:2], *options, *(name if word == "NAME" else word for word in words[2:])]
    assert run_bench(said) == 2
    assert "letters, digits" in capsys.readouterr().err
    assert not (workspace / ".boardbench").exists()


@pytest.mark.parametrize("address", ["", "pi@", "@10.0.0.7", "pi@10 0 0 7", "-oProxyCommand=x"])
def test_an_address_that_is_none_is_refused_without_a_connection(
    workspace: Path, capsys: Captured, address: str
) -> None:
    assert run_bench(["devices", "add", "board", "--", address]) == 2
    assert "that is no device" in capsys.readouterr().err


def test_validate_goes_on_after_a_name_that_does_not_exist(workspace: Path, capsys: Captured) -> None:
    (workspace / "profiles" / "faulty.yaml").write_text(FAULTY)
    assert run_bench(["profiles", "validate", "nothing", "faulty", "tiny"]) == 2
    told = capsys.readouterr().err
    assert "there is no profile 'nothing'" in told
    assert "device: unknown key" in told
    assert "tiny: fine" in told
