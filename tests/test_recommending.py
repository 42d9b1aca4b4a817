"""Recommending: who wins by which figure, why the others fell, and what nobody can claim."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from host.cli.main import run_bench
from host.errors import UsageError
from host.ledger.advising import Advice, recommend
from host.ledger.recommending import rank_rows
from host.ledger.rows import Row
from host.ledger.wishes import Wishes
from host.report.advice import tell_advice
from host.specs.measurement import Memory, Power
from tests.made_ledger import make_workspace, open_ledger, save_run
from tests.made_results import make_failure, make_measurement, make_rows, make_sweep, make_unfit

Captured = pytest.CaptureFixture[str]


def make_variant(name: str, p50_ms: float, device: str = "pi4", **changes: Any) -> tuple[Any, float]:
    own = {"variant": name, "variant_id": f"id-{name}", "device": device}
    return make_measurement(f"{device}-{name}", **own | changes), p50_ms


def energy(mj: float, watts: float = 4.0, source: str = "ina") -> Power:
    return Power(source=source, load_w=watts, energy_mj=mj)


def rank(*told: tuple[Any, float | None], **wishes: Any) -> Any:
    (ranking,) = rank_rows(make_rows(*told), Wishes(**wishes))
    return ranking


def test_the_lowest_figure_within_the_limits_wins() -> None:
    told = [
        make_variant("dense", 5.0, power=energy(20.0), accuracy_device=0.98),
        make_variant("int8", 2.0, power=energy(9.0), accuracy_device=0.97),
        make_variant("tiny", 1.0, power=energy(3.0), accuracy_device=0.80),
    ]
    ranking = rank(*told, goal="energy", min_accuracy=0.9)
    assert ranking.winner.variant == "int8"
    assert [one.variant for one in ranking.others] == ["dense"]
    (fallen,) = ranking.fallen
    assert fallen.misses[0].text == "accuracy on the device 80 % is below 90 %"
    assert fallen.misses[0].excess == pytest.approx(1 / 9)
    assert rank(*told, goal="accuracy").winner.variant == "dense"
    assert rank(*told, goal="latency").winner.variant == "tiny"


@pytest.mark.parametrize(
    ("wishes", "limit"),
    [
        ({"max_latency_ms": 4.0}, "max-latency"),
        ({"min_accuracy": 0.99}, "min-accuracy"),
        ({"max_power_w": 3.9}, "max-power"),
        ({"max_energy_mj": 19.0}, "max-energy"),
        ({"max_memory_bytes": 64e6}, "max-memory"),
        ({"max_size_bytes": 8e6}, "max-size"),
    ],
)
def test_every_limit_rules_out_with_its_value(wishes: dict[str, float], limit: str) -> None:
    ranking = rank(make_variant("dense", 5.0, power=energy(20.0)), **wishes)
    assert ranking.winner is None
    assert ranking.nearest == "pi4-dense"
    assert [miss.limit for miss in ranking.fallen[0].misses] == [limit]


def test_what_a_limit_or_the_goal_needs_and_was_not_measured_is_a_reason() -> None:
    told = make_variant("dense", 5.0, memory_mb=Memory())
    texts = [
        miss.text
        for miss in rank(told, max_memory_bytes=1e9, max_power_w=5.0, goal="energy").fallen[0].misses
    ]
    assert texts == [
        "power was not measured",
        "peak memory was not measured",
        "energy was not measured, and it is what is minimized",
    ]
    assert rank(told, max_power_w=5.0).nearest is None


def test_a_percentile_that_the_samples_do_not_support_keeps_no_limit() -> None:
    ranking = rank(make_variant("dense", 5.0), max_latency_ms=100.0, percentile="p99")
    assert ranking.winner is None
    assert "p99 is not supported by 192 samples" in {miss.text for miss in ranking.fallen[0].misses}
    assert rank(make_variant("dense", 5.0), max_latency_ms=100.0, percentile="p90").winner is not None


def test_an_order_by_another_percentile_is_told_with_its_doubt() -> None:
    rows = make_rows(make_variant("a", 5.0), make_variant("b", 9.0))
    wishes = Wishes(percentile="p90")
    (ranking,) = rank_rows(rows, wishes)
    assert ranking.rivals == ()
    advice = Advice(wishes=wishes, runs=("r1",), rankings=(ranking,), boards=())
    (section,) = tell_advice(advice)
    assert "no interval of p90 is known: how sure this order is, nobody can tell" in section.lines


def test_a_limit_inside_the_interval_is_said_to_be_near() -> None:
    row = make_rows(make_variant("dense", 5.0))[0]
    row["latency_ms"] = row["latency_ms"] | {"p50": 5.0, "p50_ci": [4.9, 5.1]}
    (ranking,) = rank_rows([row], Wishes(max_latency_ms=5.05))
    assert ranking.winner is not None
    assert ranking.winner.near == ("max-latency",)
    (far,) = rank_rows([row], Wishes(max_latency_ms=6.0))
    assert far.winner is not None
    assert far.winner.near == ()


def test_those_that_cannot_be_told_from_the_winner_are_rivals() -> None:
    ranking = rank(make_variant("a", 5.0), make_variant("b", 5.001), make_variant("c", 9.0))
    assert [one.variant for one in ranking.rivals] == ["b"]
    assert [one.variant for one in ranking.others] == ["c"]


def test_failed_and_unfit_ones_fall_with_their_reason() -> None:
    ranking = rank((make_failure("x", "killed"), None), (make_unfit("y"), None), make_variant("a", 5.0))
    assert ranking.winner.variant == "a"
    texts = [one.misses[0].text for one in ranking.fallen]
    assert texts[0] == "failed (memory): killed"
    assert texts[1].startswith("not measured: 83.1 %")


def test_emulated_and_real_devices_are_ranked_apart(tmp_path: Path) -> None:
    with open_ledger(tmp_path) as ledger:
        save_run(ledger, "r1", [*make_sweep("pi4"), *make_sweep("vm", 0.1, is_emulated=True)])
        advice = recommend(ledger, Wishes())
    assert [(one.device, one.is_emulated) for one in advice.rankings] == [("pi4", False), ("vm", True)]
    assert advice.boards == ()


def test_the_three_picks_name_what_they_are_struck_over() -> None:
    told = [
        make_variant("dense", 5.0, accuracy_device=0.98, file_bytes=8_000_000),
        make_variant("mid", 2.0, accuracy_device=0.975, file_bytes=1_000_000),
        make_variant("small", 1.9, accuracy_device=0.80, file_bytes=900_000),
    ]
    picks = rank(*told).picks
    assert (picks.best_accuracy, picks.best_compression) == ("pi4-dense", "pi4-small")
    assert picks.best_balance == "pi4-mid"
    assert picks.balance_axes == ("accuracy", "file size", "latency")
    assert rank(told[0]).picks is None


def boards(tmp_path: Path, prices: dict[str, float], **powers: Power) -> Any:
    told = [make_variant("a", 5.0, name, power=power) for name, power in powers.items()]
    with open_ledger(tmp_path) as ledger:
        save_run(ledger, "r1", told)
        (order,) = recommend(ledger, Wishes(max_latency_ms=6.0), prices=prices).boards
    return order.basis, [board.device for board in order.boards]


def test_the_cheapest_board_goes_by_price_where_all_have_one(tmp_path: Path) -> None:
    powers = {"pi4": energy(1.0), "orin": energy(2.0)}
    assert boards(tmp_path, {"pi4": 60.0, "orin": 50.0}, **powers) == ("price", ["orin", "pi4"])


def test_else_by_energy_of_one_kind_of_sensor(tmp_path: Path) -> None:
    assert boards(tmp_path, {"pi4": 60.0}, pi4=energy(3.0), orin=energy(2.0)) == ("energy", ["orin", "pi4"])


def test_else_by_latency_and_never_by_two_sensors(tmp_path: Path) -> None:
    assert boards(tmp_path, {}, pi4=energy(3.0), orin=energy(2.0, source="meter"))[0] == "latency"


def test_a_board_on_which_nothing_keeps_the_limits_is_told(tmp_path: Path) -> None:
    with open_ledger(tmp_path) as ledger:
        save_run(ledger, "r1", [make_variant("a", 5.0, "pi4"), make_variant("a", 50.0, "pi3")])
        advice = recommend(ledger, Wishes(max_latency_ms=6.0))
    (order,) = advice.boards
    assert ([board.device for board in order.boards], order.failing) == (["pi4"], ("pi3",))
    assert "of 2 devices, only pi4 meets the limits" in next(iter(tell_advice(advice))).heading


def test_devices_count_as_their_newest_runs_have_them(tmp_path: Path) -> None:
    with open_ledger(tmp_path) as ledger:
        save_run(ledger, "r1", [*make_sweep("pi4"), *make_sweep("pi5")])
        save_run(ledger, "r2", make_sweep("pi5", 0.5), minute=5)
        assert recommend(ledger, Wishes()).runs == ("r2",)
        advice = recommend(ledger, Wishes(), devices=("pi4", "pi5"))
        assert {one.device: one.winner.run for one in advice.rankings if one.winner} == {
            "pi4": "r1",
            "pi5": "r2",
        }
        named = recommend(ledger, Wishes(), ("r1", "r2"))
        assert {one.device: one.winner.run for one in named.rankings if one.winner} == {
            "pi4": "r1",
            "pi5": "r2",
        }
        with pytest.raises(UsageError, match="there is no measured device 'pi6'"):
            recommend(ledger, Wishes(), devices=("pi6",))


def test_a_run_in_which_a_device_only_failed_tells_nothing_of_it(tmp_path: Path) -> None:
    failure = make_failure("orin-dense", "killed", device="orin")
    with open_ledger(tmp_path) as ledger:
        save_run(ledger, "r1", [*make_sweep("pi4"), *make_sweep("orin")])
        save_run(ledger, "r2", [*make_sweep("pi4", 0.5), (failure, None)], minute=5)
        for devices in (("orin",), ("pi4", "orin"), ("orin", "pi4")):
            advice = recommend(ledger, Wishes(), devices=devices)
            found = {one.device: one.winner.run for one in advice.rankings if one.winner}
            assert found == {device: {"pi4": "r2", "orin": "r1"}[device] for device in devices}
            assert not any(one.fallen for one in advice.rankings)
        save_run(ledger, "r3", [(make_failure("t9", "killed", device="pi9"), None)], minute=9)
        with pytest.raises(UsageError, match="nothing was measured on pi9 yet"):
            recommend(ledger, Wishes(), devices=("pi9",))


@pytest.fixture
def labelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two boards with the label `pi`, each with a run, and one without."""
    make_workspace(tmp_path)
    entry = "{{host: h, user: u, fingerprint: 'SHA256:{}', labels: [{}]}}"
    lines = [
        f"  {name}: {entry.format('A' * 43, label)}\n"
        for name, label in (("pi4", "pi"), ("pi5", "pi"), ("orin", "jetson"))
    ]
    (tmp_path / "devices.yaml").write_text("devices:\n" + "".join(lines))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BENCH_LEDGER", raising=False)
    with open_ledger(tmp_path) as ledger:
        save_run(ledger, "r1", [*make_sweep("pi4"), *make_sweep("pi5"), *make_sweep("x86")])
    return tmp_path


def test_a_label_names_all_devices_that_have_it(labelled: Path, capsys: Captured) -> None:
    assert run_bench(["recommend", "--device", "label:pi", "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["device"] for one in told["rankings"]] == ["pi4", "pi5"]
    assert run_bench(["report", "--device", "label:pi", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["measurements"] == 6


@pytest.mark.parametrize("command", ["recommend", "report"])
@pytest.mark.parametrize(
    ("word", "said"),
    [("label:pie", "no device has the labels pie"), ("pi9", "pi9"), ("label:jetson", "orin")],
)
def test_a_device_or_a_label_that_nothing_is_known_of_is_told(
    labelled: Path, command: str, word: str, said: str, capsys: Captured
) -> None:
    assert run_bench([command, "--device", "pi4", "--device", word]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert said in told.err


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_workspace(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BENCH_LEDGER", raising=False)
    with open_ledger(tmp_path) as ledger:
        flagged = make_variant("flagged", 1.0, flags=("throttled",), accuracy_device=0.9)
        save_run(ledger, "r1", [*make_sweep(), flagged, (make_failure("x", "killed"), None)])
    return tmp_path


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--max-latency", "33ms", "--min-accuracy", "0.9"), 0, ""),
        (("--max-latency", "1us"), 1, "nothing keeps the limits"),
        (("--max-latency", "33"), 2, "33ms or 33s"),
        (("--max-latency", "0ms"), 2, "above zero"),
        (("--min-accuracy", "1.2"), 2, "between 0 and 1"),
        (("--minimize", "size", "--maximize", "accuracy"), 2, "contradict each other"),
        (("--max-latency", "3ms", "--max-latency", "4ms"), 2, "contradict each other"),
        (("--device", "pi9"), 2, "there is no measured device"),
        (("--run", "nowhere"), 2, "there is no run"),
        (("--minimize", "energy"), 1, "nothing keeps the limits"),
    ],
)
def test_exit_codes_of_a_recommendation(
    root: Path, words: tuple[str, ...], code: int, said: str, capsys: Captured
) -> None:
    assert run_bench(["recommend", *words]) == code
    assert said in capsys.readouterr().err


def test_a_flagged_winner_is_told(root: Path, capsys: Captured) -> None:
    for form in ("table", "markdown"):
        assert run_bench(["recommend", "--format", form]) == 0
        assert "its figures are flagged throttled" in capsys.readouterr().out


def test_json_holds_the_whole_advice(root: Path, capsys: Captured) -> None:
    assert run_bench(["recommend", "--max-latency", "2.2ms", "--format", "json"]) == 0
    (ranking,) = json.loads(capsys.readouterr().out)["rankings"]
    assert ranking["winner"]["variant"] == "flagged"
    assert [one["variant"] for one in ranking["others"]] == ["int8"]
    assert {one["choice"]["variant"] for one in ranking["fallen"]} == {"dense", "channel-50"}
    assert ranking["front"] != []


def test_nothing_within_the_limits_names_the_nearest_miss(root: Path, capsys: Captured) -> None:
    assert run_bench(["recommend", "--max-latency", "1.9ms", "--min-accuracy", "97.9%"]) == 1
    told = capsys.readouterr().out
    assert "ruled out, the nearest miss: int8" in told


def test_rows_of_two_settings_are_named_with_them() -> None:
    rows: list[Row] = make_rows(
        make_variant("a", 5.0), (make_measurement("b", variant="a", variant_id="id-a", threads=4), 3.0)
    )
    (ranking,) = rank_rows(rows, Wishes())
    assert ranking.winner is not None
    assert "4 threads" in ranking.winner.settings
