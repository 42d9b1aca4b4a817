"""The rules that decide when a number may not be trusted."""

from __future__ import annotations

from typing import Any

import pytest

from device_agent.validity import (
    find_flags,
    find_start_mhz,
    has_drifted,
    has_frequency_dropped,
    is_busy,
    is_hot_start,
    is_throttled,
    share_of_others,
)


def state(**values: Any) -> dict[str, Any]:
    empty = dict.fromkeys(("freq_mhz", "throttle_count", "throttle_bits", "temperature_c", "cpu_busy"))
    return {**empty, **values}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (state(), state(), False),
        (state(throttle_count=4), state(throttle_count=4), False),
        (state(throttle_count=4), state(throttle_count=5), True),
        (state(throttle_bits=0), state(throttle_bits=0), False),
        (state(throttle_bits=0x50000), state(throttle_bits=0x50000), False),  # before us, since boot
        (state(throttle_bits=0), state(throttle_bits=0x40000), True),
        (state(throttle_bits=0), state(throttle_bits=0x2), True),
        (state(throttle_bits=0x50004), state(throttle_bits=0x50000), True),
    ],
)
def test_throttling_is_what_happened_during_the_measurement(
    before: dict[str, Any], after: dict[str, Any], expected: bool
) -> None:
    assert is_throttled(before, after) is expected


@pytest.mark.parametrize(
    ("during", "expected"),
    [(None, False), (0, False), (0x50000, False), (0x4, True), (0x40000, False)],
)
def test_throttling_between_two_looks_at_the_ends_counts(during: int | None, expected: bool) -> None:
    hot = state(throttle_bits=0xF0000)  # all of it happened before, since boot
    assert is_throttled(hot, hot, {"throttle_bits": during}) is expected


def test_a_board_that_tells_its_bits_only_in_between_is_believed() -> None:
    assert is_throttled(state(), state(), {"throttle_bits": 0x4})
    assert not is_throttled(state(), state(), {"throttle_bits": 0x40000})  # perhaps long ago


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        (0x4, None, True),
        (None, 0x4, True),
        (0x40000, None, False),
        (None, 0x40000, False),  # perhaps long ago
        (0, None, False),
    ],
)
def test_a_board_that_tells_its_bits_at_one_end_only_is_believed(
    first: int | None, last: int | None, expected: bool
) -> None:
    assert is_throttled(state(throttle_bits=first), state(throttle_bits=last)) is expected
    # What somebody saw in between takes nothing away.
    assert (
        is_throttled(state(throttle_bits=first), state(throttle_bits=last), {"throttle_bits": 0}) is expected
    )


def test_what_sysfs_says_in_between_of_what_was_since_boot_is_no_news_to_vcgencmd() -> None:
    stale = {"throttle_bits": 0x50000}  # of before vcgencmd was asked to forget
    assert not is_throttled(state(throttle_bits=0), state(throttle_bits=0), stale)
    assert is_throttled(state(throttle_bits=0), state(throttle_bits=0), {"throttle_bits": 0x50005})


def clocks(before: float, after: float, **during: float | None) -> dict[str, Any]:
    told = {"warm_mhz": None, "first_mhz": None, "lowest_mhz": None, "highest_mhz": None, **during}
    return {"before": state(freq_mhz=[before, 600.0]), "during": told, "after": state(freq_mhz=[after])}


def test_a_clock_may_fall_by_ten_percent_and_no_more() -> None:
    assert not has_frequency_dropped([clocks(1500.0, 1351.0)])
    assert has_frequency_dropped([clocks(1500.0, 1500.0), clocks(1500.0, 1349.0)])


def test_a_clock_that_fell_and_rose_again_within_a_round_is_seen() -> None:
    assert has_frequency_dropped([clocks(1500.0, 1500.0, lowest_mhz=1000.0)])
    assert not has_frequency_dropped([clocks(1500.0, 1500.0, lowest_mhz=1400.0)])


def test_one_odd_reading_at_the_start_is_not_what_the_clock_was() -> None:
    steady = {"warm_mhz": 4200.0, "first_mhz": 4200.0, "lowest_mhz": 4150.0}
    turbo = clocks(4800.0, 4200.0, **steady)  # a moment when all cores but one rested
    assert find_start_mhz(turbo) == 4200.0
    assert not has_frequency_dropped([turbo, clocks(4800.0, 4200.0, lowest_mhz=4100.0)])
    waking = clocks(600.0, 1500.0, warm_mhz=1500.0, first_mhz=1500.0, lowest_mhz=1200.0)
    assert has_frequency_dropped([waking])


def test_a_processor_that_rests_between_inferences_may_clock_down_but_not_stay_low() -> None:
    resting = [clocks(1500.0, 600.0, lowest_mhz=600.0, highest_mhz=1500.0)] * 2
    assert not has_frequency_dropped(resting, is_resting=True)
    capped = clocks(600.0, 600.0, lowest_mhz=600.0, highest_mhz=1000.0)
    assert has_frequency_dropped([*resting, capped], is_resting=True)


def test_a_clock_that_the_hardware_measured_counts_beside_the_one_that_was_asked_for() -> None:
    before, after = (state(freq_mhz=[1500.0], measured_mhz=[mhz]) for mhz in (1500.0, 600.0))
    assert has_frequency_dropped([{"before": before, "after": after}])
    assert not has_frequency_dropped([{"before": before, "after": before}])


def test_a_core_that_rests_is_no_drop() -> None:
    end = state(freq_mhz=[1500.0, 600.0])
    assert not has_frequency_dropped([{"before": state(freq_mhz=[1500.0, 1500.0]), "after": end}])


@pytest.mark.parametrize(
    ("clocks", "fell"),
    [((900.0, 820.0), False), ((900.0, 800.0), True), ((None, 800.0), False), ((900.0, None), False)],
)
def test_a_gpu_that_computes_may_not_clock_down(clocks: tuple[float | None, ...], fell: bool) -> None:
    environments = [{"before": {}, "during": {"gpu_mhz": clock}, "after": {}} for clock in clocks]
    rounds = [[10, 10, 10, 10]] * len(clocks)
    for uses_gpu in (True, False):
        flags = find_flags(rounds, environments, True, False, uses_gpu=uses_gpu)
        assert ("frequency-dropped" in flags) == (fell and uses_gpu)


def test_no_clocks_are_no_drop() -> None:
    assert not has_frequency_dropped([{"before": state(), "after": state()}])
    assert not has_frequency_dropped([{"before": state(freq_mhz=[1500.0]), "after": state()}])


def test_drift_compares_the_last_quarter_with_the_first() -> None:
    assert not has_drifted([[100] * 50, [102] * 50])
    assert has_drifted([[100] * 50, [104] * 50])
    assert not has_drifted([[104] * 50, [100] * 50])


def test_one_slow_sample_is_no_drift() -> None:
    assert not has_drifted([[100] * 40, [100] * 39 + [100000]])


def test_too_few_samples_cannot_drift() -> None:
    assert not has_drifted([[1, 100, 1000]])


def test_others_may_take_five_percent() -> None:
    assert not is_busy([None, 0.0, 0.05])
    assert is_busy([0.0, 0.051])


def test_the_share_of_others_leaves_out_our_own_time() -> None:
    # Two cores for one second: 150 of 200 ticks busy, 100 of them ours, one forgiven.
    assert share_of_others(1000, 1150, 0.01, 1.0, 2.0) == pytest.approx(0.245)
    assert share_of_others(1000, 1101, 0.01, 1.0, 2.0) == 0.0
    assert share_of_others(1000, 1090, 0.01, 1.0, 2.0) == 0.0
    assert share_of_others(None, 1090, 0.01, 1.0, 2.0) is None


def rest(temperature_c: float | None, idle_c: float | None = 40.0) -> dict[str, Any]:
    return {"temperature_c": temperature_c, "idle_c": idle_c, "cooled_s": 0.0}


def test_a_start_is_hot_more_than_ten_degrees_above_idle_in_any_round() -> None:
    assert not is_hot_start([rest(50.0), rest(50.0), None])
    assert is_hot_start([rest(45.0), rest(50.5)])
    assert not is_hot_start([rest(None)])
    assert not is_hot_start([rest(90.0, None)])


def test_a_clean_measurement_has_no_flags_and_a_bad_one_has_all() -> None:
    clean = find_flags([[100] * 8], [{"before": state(), "after": state()}], True, False)
    assert clean == []
    before = state(freq_mhz=[1500.0], throttle_bits=0)
    after = state(freq_mhz=[600.0], throttle_bits=4, cpu_busy=0.5)
    rounds = [[100] * 8, [200] * 8]
    bad = find_flags(rounds, [{"before": before, "after": after, "rest": rest(80.0)}] * 2, False, True)
    assert bad == [
        "throttled",
        "frequency-dropped",
        "drift",
        "unsteady",
        "busy",
        "hot-start",
        "fallback",
    ]


def test_throttling_between_two_rounds_counts() -> None:
    rounds = [
        {"before": state(throttle_count=1), "after": state(throttle_count=1)},
        {"before": state(throttle_count=2), "after": state(throttle_count=2)},
    ]
    assert find_flags([[1] * 8], rounds, True, False) == ["throttled"]
