"""The page of `bench report`: whole without a script, harmless whatever it tells, and honest."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from host.errors import UsageError
from host.ledger import reported as reading
from host.ledger.distributions import SHARES, describe_shape
from host.ledger.reported import ReportedRun, read_reported
from host.ledger.store import Ledger
from host.report.page.entries import arrange
from host.report.page.operator_tables import read_profile
from host.report.page.payload import escape_json
from host.report.page.rendering import render_report
from host.specs.measurement import Power
from tests.bench_command import bench
from tests.made_report import HOSTILE, fill_ledger, ledger_url
from tests.made_results import make_failure, make_measurement, make_rounds, make_run
from tests.parsed_page import Parsed
from tests.test_report_operators import make_pair


def read_page(folder: Path, names: tuple[str, ...] = ()) -> str:
    fill_ledger(ledger_url(folder), names)
    with Ledger.open(ledger_url(folder)) as ledger:
        return render_report(read_reported(ledger))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    return read_page(tmp_path_factory.mktemp("report"))


def read_payload(page: str) -> dict[str, object]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    loaded: dict[str, object] = json.loads(found[1])
    return loaded


def test_a_page_is_well_formed_and_names_no_other_place(page: str) -> None:
    parsed = Parsed(page)
    assert not re.search(r"https?:(?!//www\.w3\.org/2000/svg)", page)
    assert not {"link", "img", "iframe", "object", "embed", "base"} & {tag for tag, _ in parsed.elements}
    assert "url(" not in page
    assert "@import" not in page
    policy = next(str(meta["content"]) for meta in parsed.find("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-inline" not in policy.partition("script-src")[2].partition(";")[0]


def test_every_number_leads_to_where_it_comes_from(page: str) -> None:
    parsed = Parsed(page)
    ids = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {str(link["href"])[1:] for link in parsed.find("a")}
    assert targets <= set(ids)
    assert {f"m{number}-latency" for number in (0, 5, 8, 10)} <= targets
    for fact in (
        "Raspberry Pi 4 Model B",
        "performance",
        "3.11.2",
        "6.6.31",
        "a" * 64,
        "61.5 °C",
        "ina VDD_IN",
    ):
        assert fact in parsed.text


def test_failures_and_what_was_not_measured_have_their_reasons(page: str) -> None:
    text = Parsed(page).text
    assert "memory: killed for memory" in text
    assert "83.1 % on the host is below min_accuracy 90 %" in text
    assert "pi4: no sensor that we can read" in text
    assert "the board slowed itself down for heat or power while measuring" in text


def test_power_over_time_is_in_the_page_and_where_it_is_not_that_is_told(page: str, tmp_path: Path) -> None:
    assert "course" in {told.get("data-plot") for told in Parsed(page).find("div")}
    courses = {row["title"]: row["course"] for row in read_payload(page)["rows"] if row["device"] == "orin"}  # type: ignore[attr-defined]
    before, load, after = courses["dense"]
    assert [before[0], load[0], after[0]] == ["idle", "load", "idle"]
    assert load[1][:4] == [10.625, 4.95, 10.875, 5.05]  # seconds since the first window began, and W
    assert all(row["course"] == [] for row in read_payload(page)["rows"] if row["device"] != "orin")  # type: ignore[attr-defined]
    with Ledger.open(ledger_url(tmp_path)) as ledger:
        ledger.start_run(make_run())
        told = Power(source="rapl", idle_w=2.5, load_w=5.0)
        ledger.save(make_measurement(power=told), make_rounds())
        (found,) = read_reported(ledger)
    del found.rows[0]["power"]["course"]  # as in results from before it was kept
    parsed = Parsed(render_report([found]))
    assert "No row has its power over time: it was measured before that was kept." in parsed.text
    assert "course" not in {told.get("data-plot") for told in parsed.find("div")}


def test_emulated_devices_have_a_table_of_their_own(page: str) -> None:
    tables = re.findall(r'<table class="comparison">.*?</table>', page, re.DOTALL)
    assert len(tables) == 2
    assert ["desk" in table for table in tables] == [False, True]
    assert "never ranked beside" in page


def test_the_best_of_each_device_is_marked(page: str) -> None:
    marked = re.findall(r'<td class="n best p50" data-value="([\d.]+)"', page)
    assert sorted(round(float(value), 1) for value in marked) == [1.5, 3.0, 6.0]


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    page = read_page(tmp_path, HOSTILE)
    parsed = Parsed(page)
    assert len(parsed.find("script")) == 3
    assert not parsed.find("img")
    assert HOSTILE[0] in parsed.text
    assert "{{ 7 * 7 }}" in parsed.text
    assert "\u202e" not in page
    titles = {row["title"] for row in read_payload(page)["rows"]}  # type: ignore[attr-defined]
    assert {HOSTILE[0], HOSTILE[1], HOSTILE[2]} <= titles
    assert max(map(len, titles)) < 200


def test_equal_runs_give_equal_pages(tmp_path: Path) -> None:
    assert read_page(tmp_path / "one") == read_page(tmp_path / "other")


def test_json_cannot_end_its_element() -> None:
    text = json.dumps({"name": "</script><!-- \u2028 &amp;"}, ensure_ascii=False)
    escaped = escape_json(text)
    assert not set("<>&\u2028") & set(escaped)
    assert json.loads(escaped) == json.loads(text)


def test_a_curve_goes_through_samples_and_tells_how_many() -> None:
    rounds = make_rounds(rounds=3, count=500)
    shape = describe_shape(rounds)
    assert shape is not None
    pooled = np.sort(np.concatenate(rounds)) / 1e6
    assert shape.n == 1500
    assert set(shape.quantiles) <= set(pooled.tolist())
    for share, value in zip(SHARES, shape.quantiles, strict=True):
        assert np.mean(pooled <= value) >= share
        assert np.mean(pooled < value) <= share
    assert [one.number for one in shape.rounds] == [1, 2, 3]
    assert sum(one.n for one in shape.rounds) == 1500


def test_a_measurement_without_samples_has_no_shape() -> None:
    assert describe_shape([]) is None
    assert describe_shape([np.array([], dtype=np.int64)]) is None


def test_settings_within_a_group_tell_rows_apart_and_shared_ones_do_not(tmp_path: Path) -> None:
    with Ledger.open(ledger_url(tmp_path)) as ledger:
        ledger.start_run(make_run())
        for threads in (1, 4):
            ledger.save(make_measurement(f"t{threads}", threads=threads), make_rounds())
        arranged = arrange(read_reported(ledger))
    assert arranged.apart == ("threads",)
    assert [entry.title for entry in arranged.entries] == ["dense (1 thread)", "dense (4 threads)"]
    assert len(arranged.groups) == 1


def test_runs_are_never_in_one_group(tmp_path: Path) -> None:
    for run in ("r1", "r2"):
        fill_ledger(ledger_url(tmp_path), run=run)
    with Ledger.open(ledger_url(tmp_path)) as ledger:
        arranged = arrange(read_reported(ledger, ["r1", "r2", "r1"]))
    assert len(arranged.groups) == 6
    assert all("r1" in group.title or "r2" in group.title for group in arranged.groups)


def test_a_page_can_be_narrowed_but_not_to_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_ledger(ledger_url(tmp_path))
    with Ledger.open(ledger_url(tmp_path)) as ledger:
        found = read_reported(ledger, ["latest"], devices=["orin"])
        assert {row["device"] for one in found for row in one.rows} == {"orin"}
        with pytest.raises(UsageError, match="nothing to report of r1"):
            read_reported(ledger, devices=["pi5"])
        monkeypatch.setattr(reading, "MOST_ROWS", 3)
        with pytest.raises(UsageError, match="11 measurements are too many"):
            read_reported(ledger)


def test_a_run_where_all_failed_has_a_page(tmp_path: Path) -> None:
    with Ledger.open(ledger_url(tmp_path)) as ledger:
        ledger.start_run(make_run())
        ledger.save(make_failure("t1", "gone"), [])
        page = render_report(read_reported(ledger))
    assert "memory: gone" in Parsed(page).text
    assert "0 of 1 measurements succeeded" in Parsed(page).text


def test_no_run_at_all_is_told(tmp_path: Path) -> None:
    with Ledger.open(ledger_url(tmp_path)) as ledger, pytest.raises(UsageError):
        read_reported(ledger)
    empty = ReportedRun(make_run(), (), {})
    assert arrange([empty]).entries == ()


def test_the_command_writes_a_page_and_says_where(tmp_path: Path) -> None:
    fill_ledger(ledger_url(tmp_path))
    told = json.loads(bench(tmp_path, "report", "r1", "-o", "page.html", "--format", "json"))
    assert told["runs"] == ["r1"]
    assert told["measurements"] == 11
    assert (tmp_path / "page.html").stat().st_size == told["bytes"]
    assert "is no name for a page" in bench(tmp_path, "report", "-o", "page.txt", code=2)
    assert "is no profile" in bench(tmp_path, "report", "--operators", "page.html", code=2)


def test_profiles_by_operator_are_shown_where_they_are_given(tmp_path: Path) -> None:
    fill_ledger(ledger_url(tmp_path))
    profile = tmp_path / "profile.json"
    profile.write_text(make_pair(label="<b>int8</b>").model_dump_json(), encoding="utf-8")
    with Ledger.open(ledger_url(tmp_path)) as ledger:
        found = read_reported(ledger)
    parsed = Parsed(render_report(found, [read_profile(profile)]))
    assert "<b>int8</b>" in parsed.text
    assert "By layer, µs of one inference; 30 more are left out" in parsed.text
    assert "Operators" not in Parsed(render_report(found)).text
