"""`bench check` and `bench compare` over a real ledger: judged, measured again, written, refused."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from host.cli.main import run_bench
from host.errors import DeviceError, Interrupted, UsageError
from host.ledger.baselines import save_baseline
from host.ledger.checking import check_run
from host.ledger.guarding import Guards
from host.ledger.records import RunRecord
from host.ledger.sides import compare_named
from host.ledger.store import Ledger
from tests.made_ledger import make_workspace, open_ledger, save_run
from tests.made_results import make_failure, make_measurement, make_sweep

SLOWDOWN = Guards(max_slowdown=0.05)
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    """A ledger with a baseline `main` of three variants, in the current workspace."""
    make_workspace(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BENCH_LEDGER", raising=False)
    with open_ledger(tmp_path) as found:
        save_run(found, "r1", make_sweep())
        save_baseline(found, "main", "r1")
        yield found


def verdicts(ledger: Ledger, guards: Guards = SLOWDOWN) -> dict[str, str]:
    return {one.variant: one.verdict for one in check_run(ledger, "main", None, guards).checked}


def test_the_newest_run_is_checked_variant_by_variant(ledger: Ledger) -> None:
    dense, channel, int8 = make_sweep()
    save_run(ledger, "r2", [dense, (channel[0], 2.8), int8], minute=5)
    assert verdicts(ledger) == {"dense": "kept", "channel-50": "broken", "int8": "kept"}


def test_what_is_missing_or_failed_or_new_is_told(ledger: Ledger) -> None:
    own = {"variant": "int8", "variant_id": "id-int8"}
    fresh = make_measurement("new", variant="fp16", variant_id="id-fp16")
    save_run(
        ledger, "r2", [make_sweep()[0], (make_failure("f", "killed", **own), None), (fresh, 9.0)], minute=5
    )
    found = check_run(ledger, "main", "r2", SLOWDOWN)
    assert {one.variant: one.verdict for one in found.checked} == {
        "dense": "kept",
        "int8": "broken",
        "fp16": "kept",
        "channel-50": "broken",
    }
    assert "the run has not" in found.checked[-1].judgements[0].text


def test_a_measurement_with_other_settings_is_no_counterpart(ledger: Ledger) -> None:
    own = {"variant": "int8", "variant_id": "id-int8"}
    save_run(ledger, "r2", [(make_measurement("a1", threads=1, **own), 8.0)], minute=5)
    save_run(ledger, "r3", [(make_measurement("a4", threads=4, **own), 3.0)], minute=6)
    found = check_run(ledger, "r2", "r3", SLOWDOWN)
    assert found.verdict == "broken"
    assert [(one.verdict, one.contrast) for one in found.checked] == [("kept", None), ("broken", None)]
    assert "the run has not" in found.checked[1].judgements[0].text


def test_without_limits_latency_and_accuracy_are_guarded(ledger: Ledger) -> None:
    save_run(ledger, "r2", make_sweep(), minute=5)
    assert check_run(ledger, "main", None, Guards()).guards == Guards(
        max_slowdown=0.05, max_accuracy_drop=0.5
    )


def test_what_fails_is_measured_again_and_alone(ledger: Ledger) -> None:
    dense, channel, int8 = make_sweep()
    save_run(ledger, "r2", [dense, (channel[0], 2.8), (int8[0], 2.4)], minute=5)
    asked: list[str] = []

    def repeat(run: RunRecord, tasks: Collection[str]) -> str:
        asked.extend(tasks)
        save_run(ledger, "r3", [(channel[0], 2.5), (int8[0], 2.4)], minute=9, again_of=run.id)
        return "r3"

    found = check_run(ledger, "main", None, SLOWDOWN, repeat)
    assert asked == ["pi4-channel-50", "pi4-int8"]
    assert {one.variant: one.verdict for one in found.checked} == {
        "dense": "kept",
        "channel-50": "kept",
        "int8": "broken",
    }
    assert found.again == "r3"
    assert ledger.find_run("latest").id == "r2"
    assert ledger.find_measured_run().id == "r2"


def test_a_second_measurement_that_is_wide_is_judged_together_with_the_first(ledger: Ledger) -> None:
    dense, *_ = make_sweep()
    save_run(ledger, "r2", [(dense[0], 5.6)], minute=5)

    def repeat(run: RunRecord, _tasks: Collection[str]) -> str:
        wide = (0.9, 1.0, 1.1, 0.95, 1.05)
        save_run(ledger, "r3", [(dense[0], 5.6)], minute=9, levels=wide, again_of=run.id)
        return "r3"

    (found, *_) = check_run(ledger, "main", "r2", SLOWDOWN, repeat).checked
    assert found.verdict == "broken"
    assert "both together" in found.judgements[0].text


def test_a_board_that_is_out_of_reach_leaves_the_first_verdict(ledger: Ledger) -> None:
    save_run(ledger, "r2", make_sweep(slowdown=1.2), minute=5)

    def repeat(_run: RunRecord, _tasks: Collection[str]) -> str:
        raise DeviceError("pi4: no route")

    found = check_run(ledger, "main", None, SLOWDOWN, repeat)
    assert found.verdict == "broken"
    assert found.notes == ("what failed could not be measured again: pi4: no route",)


def test_an_interruption_of_the_second_measurement_is_one(ledger: Ledger) -> None:
    save_run(ledger, "r2", make_sweep(slowdown=1.2), minute=5)

    def repeat(_run: RunRecord, _tasks: Collection[str]) -> str:
        raise Interrupted("stopped")

    with pytest.raises(Interrupted):
        check_run(ledger, "main", None, SLOWDOWN, repeat)


def test_a_baseline_is_not_checked_against_itself(ledger: Ledger) -> None:
    with pytest.raises(UsageError, match="the newest run is the baseline itself"):
        check_run(ledger, "main", None, SLOWDOWN)
    with pytest.raises(UsageError, match="there is no baseline or run 'mian'"):
        check_run(ledger, "mian", None, SLOWDOWN)


def run_check(*words: str) -> int:
    return run_bench(["check", "--baseline", "main", "--no-remeasure", *words])


def test_exit_codes_of_a_check(ledger: Ledger, capsys: Captured) -> None:
    save_run(ledger, "r2", make_sweep(), minute=5)
    assert run_check("--max-slowdown", "5%") == 0
    assert run_check("--max-slowdown", "5%", "--max-energy-growth", "5%") == 0
    assert "nobody can tell" in capsys.readouterr().err
    assert run_check("--max-slowdown", "5%", "--max-energy-growth", "5%", "--strict") == 1
    assert run_check("--max-memory", "64MB") == 1
    assert "3 of 3 measurements break a limit" in capsys.readouterr().err
    assert run_check("--max-slowdown", "0.05") == 2
    assert "0.05% or 5%" in capsys.readouterr().err
    assert run_check("--max-memory", "64MB", "--max-memory", "32MB") == 2
    assert "contradict each other" in capsys.readouterr().err


def test_a_check_writes_its_files_and_json(ledger: Ledger, tmp_path: Path, capsys: Captured) -> None:
    save_run(ledger, "r2", make_sweep(slowdown=1.2), minute=5)
    files = ("--junit", "j.xml", "--markdown", "s.md", "--format", "json")
    assert run_check("--max-slowdown", "5%", "--max-energy-growth", "5%", *files) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["verdict"] == "broken"
    assert [one["verdict"] for one in told["checked"]] == ["broken"] * 3
    root = ElementTree.parse(tmp_path / "j.xml").getroot()
    (suite,) = root
    counts = {"tests": "6", "failures": "3", "skipped": "3", "errors": "0"}
    assert {key: root.get(key) for key in counts} == {key: suite.get(key) for key in counts} == counts
    cases = suite.findall("testcase")
    assert all(case.get("classname") == "pi4.net" and case.get("name") for case in cases)
    assert [len(case) for case in cases] == [1] * 6
    summary = (tmp_path / "s.md").read_text()
    assert summary.startswith("### ❌ Limits are broken")
    assert summary.count("\n| ") == 5


def test_what_cannot_be_written_is_refused_before_all_else(ledger: Ledger, capsys: Captured) -> None:
    save_run(ledger, "r2", make_sweep(slowdown=1.2), minute=5)
    assert run_check("--junit", "nowhere/j.xml") == 2
    assert "there is no folder nowhere" in capsys.readouterr().err
    assert run_bench(["compare", "r1", "r2", "-o", "c.parquet"]) == 2
    assert "not written as parquet" in capsys.readouterr().err


def test_hostile_names_stay_text_in_every_report(ledger: Ledger, tmp_path: Path, capsys: Captured) -> None:
    name = "<b>&\x1b[31m|\x00\ufffe]]>"
    own = {"variant": name, "variant_id": "x", "model": name}
    for run, p50_ms in (("r2", 5.0), ("r3", 6.0)):
        save_run(ledger, run, [(make_measurement("t", **own), p50_ms)], minute=5)
    words = [
        "check",
        "--baseline",
        "r2",
        "--run",
        "r3",
        "--no-remeasure",
        "--junit",
        "j.xml",
        "--markdown",
        "s.md",
    ]
    assert run_bench(words) == 1
    assert "\x1b" not in capsys.readouterr().out
    case = ElementTree.parse(tmp_path / "j.xml").find("testsuite/testcase")
    assert case is not None
    assert (case.get("name") or "").startswith("<b>&�[31m|��]]>")
    assert "<b>" not in (tmp_path / "s.md").read_text()


def test_baselines_are_saved_listed_replaced_and_removed(ledger: Ledger, capsys: Captured) -> None:
    save_run(ledger, "r2", make_sweep(), minute=5)
    assert run_bench(["baseline", "save", "main"]) == 2
    assert "--replace" in capsys.readouterr().err
    assert run_bench(["baseline", "save", "main", "--replace"]) == 0
    assert run_bench(["baseline", "save", "old", "--run", "r1"]) == 0
    capsys.readouterr()
    assert run_bench(["baseline", "list", "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {one["name"]: one["run"] for one in told} == {"main": "r2", "old": "r1"}
    assert run_bench(["baseline", "remove", "old"]) == 0
    assert run_bench(["baseline", "remove", "old"]) == 2
    assert run_bench(["baseline", "save", "../x"]) == 2
    assert run_bench(["baseline", "save", "latest"]) == 2
    assert run_bench(["baseline", "save", "x", "--run", "nowhere"]) == 2
    assert "there is no run 'nowhere'" in capsys.readouterr().err


def test_two_runs_are_compared_by_id_beginning_baseline_or_latest(ledger: Ledger) -> None:
    save_run(ledger, "2026-b", make_sweep(slowdown=1.2), minute=5)
    for first, second in (
        ("r1", "2026-b"),
        ("main", "latest"),
        ("run:r1", "2026"),
        ("baseline:main", "2026-b"),
    ):
        found = compare_named(ledger, first, second)
        assert [pair.verdict for pair in found.pairs] == ["slower"] * 3
        assert found.pairs[0].latency is not None
        assert found.pairs[0].latency.ratio == pytest.approx(1.2, abs=0.01)
    assert (found.subject, found.first, found.second) == ("run", "main (r1)", "2026-b")


def test_variants_and_devices_of_a_run_are_compared(ledger: Ledger) -> None:
    save_run(ledger, "r2", [*make_sweep(), *make_sweep("pi5", 0.5)], minute=5)
    variants = compare_named(ledger, "dense", "int8")
    assert variants.subject == "variant"
    assert [(pair.second.device, pair.verdict) for pair in variants.pairs] == [
        ("pi4", "faster"),
        ("pi5", "faster"),
    ]
    devices = compare_named(ledger, "pi4", "pi5")
    assert [pair.verdict for pair in devices.pairs] == ["faster"] * 3
    older = compare_named(ledger, "dense", "int8", "r1")
    assert [pair.second.device for pair in older.pairs] == ["pi4"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("dense", "int9"), "Did you mean int8"),
        (("r1", "dense"), "r1 is a run and dense is a variant: they are not compared"),
        (("r1", "main"), "both are run r1"),
        (("dense", "dense"), "both are the variant dense"),
        (("dense", "variant:id-dense"), "both are the variant dense"),
        (("variant:dense", "variant:inter"), "there is no variant 'inter'"),
        (("run:r1", "run:r9"), "there is no run 'r9'"),
        (("baseline:main", "baseline:mian"), "there is no baseline 'mian'"),
        (("dense", "pi4"), "they are not compared"),
        (("", "dense"), "there is no"),
    ],
)
def test_words_that_name_nothing_or_different_kinds_are_refused(
    ledger: Ledger, words: tuple[str, str], said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        compare_named(ledger, *words)
    assert said in str(caught.value)


def test_a_word_of_two_meanings_must_say_which(ledger: Ledger) -> None:
    told = [make_measurement(f"{d}{v}", device=d, variant=v, variant_id=v) for d in "ab" for v in "ab"]
    save_run(ledger, "r2", [(one, 5.0) for one in told], minute=5)
    with pytest.raises(UsageError, match="may be devices or variants"):
        compare_named(ledger, "a", "b")
    assert compare_named(ledger, "device:a", "device:b").subject == "device"
    assert compare_named(ledger, "variant:a", "b").subject == "variant"
    with pytest.raises(UsageError, match="--run names the run that holds both"):
        compare_named(ledger, "run:r1", "r2", "r2")


def test_an_empty_ledger_says_so(tmp_path: Path) -> None:
    with open_ledger(tmp_path) as empty, pytest.raises(UsageError, match="there is no run"):
        compare_named(empty, "a", "b")


@pytest.mark.parametrize("form", ["table", "json", "csv", "markdown"])
def test_a_comparison_says_what_is_unfair_before_any_figure(
    ledger: Ledger, form: str, capsys: Captured
) -> None:
    environment = {"before": {"governor": "powersave"}}
    changes: dict[str, Any] = {"environment": environment, "is_emulated": True, "flags": ("busy", "emulated")}
    save_run(ledger, "r2", make_sweep(**changes)[:2], minute=5)
    assert run_bench(["compare", "r1", "r2", "--format", form]) == 0
    text = capsys.readouterr().out
    figure = {"table": "p50 ms", "markdown": "p50 ms", "json": "p50_ms", "csv": ",net,"}[form]
    told = text if form != "csv" else text.split("\n", 1)[1]
    assert told.index("emulated") < told.index("powersave") < told.index(figure)
    if form == "json":
        told = json.loads(text)
        assert [one["what"] for one in told["unlike"]] == ["emulated", "flags", "governor"]
        assert [one["variant"] for one in told["only_first"]] == ["int8"]
        assert {pair["verdict"] for pair in told["pairs"]} == {"cannot tell"}
        assert told["pairs"][0]["latency"]["ratio"] == pytest.approx(1, abs=0.01)
    if form == "table":
        assert "only in A: net int8 on pi4" in text
