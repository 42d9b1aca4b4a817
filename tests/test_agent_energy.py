"""Energy from samples: the arithmetic of the power pass, without a clock."""

from __future__ import annotations

from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.simulated_power import simulate_pass
from device_agent.energy import (
    Load,
    Sample,
    Window,
    count_samples,
    find_idle,
    find_joules,
    find_step,
    find_watts,
    follow_counter,
    integrate_power,
    summarize_power,
    thin_power,
)
from device_agent.power_pass import Timeline, describe_course, find_effect
from device_agent.protocol import MAX_COURSE_POINTS

LOAD = Load(Window(0.0, 10.0), 10.0, 100)


def even(watts: float, until: float = 10.0, period: float = 0.1) -> list[Sample]:
    return [(at * period, watts) for at in range(round(until / period) + 1)]


def test_energy_between_samples_is_a_trapezoid() -> None:
    curve = integrate_power([(0.0, 2.0), (0.25, 4.0), (0.5, 4.0)])
    assert find_joules(curve, Window(0.0, 0.25)) == pytest.approx(0.75)
    assert find_joules(curve, Window(0.0, 0.5)) == pytest.approx(1.75)
    assert find_joules(curve, Window(0.25, 0.375)) == pytest.approx(0.5)


def test_a_counter_tells_its_energy_itself() -> None:
    curve = follow_counter([(0.0, 100.0), (0.25, 103.0), (0.5, 104.0)])
    assert find_joules(curve, Window(0.0, 0.5)) == pytest.approx(4.0)
    assert find_joules(curve, Window(0.125, 0.25)) == pytest.approx(1.5)


def test_energy_over_a_gap_is_not_known_and_beside_it_is() -> None:
    samples = [one for one in even(5.0) if not 4.0 < one[0] < 4.9]
    curve = integrate_power(samples)
    assert find_joules(curve, Window(1.0, 6.0)) is None
    assert find_joules(curve, Window(4.5, 4.6)) is None
    assert find_joules(curve, Window(1.0, 3.0)) == pytest.approx(10.0)
    assert find_joules(curve, Window(5.0, 6.0)) == pytest.approx(5.0)


def test_a_few_values_that_fail_to_come_are_bridged() -> None:
    samples = [(at, None if 4.0 < at < 4.3 else watts) for at, watts in even(5.0)]
    assert find_joules(integrate_power(samples), Window(1.0, 6.0)) == pytest.approx(25.0)


def test_what_lies_outside_of_the_samples_is_not_known() -> None:
    curve = integrate_power(even(5.0))
    for window in (Window(-0.1, 5.0), Window(5.0, 10.1), Window(5.0, 5.0), Window(6.0, 5.0)):
        assert find_joules(curve, window) is None
    assert find_joules(integrate_power([]), Window(0.0, 1.0)) is None
    assert find_joules(integrate_power([(0.0, None)]), Window(0.0, 1.0)) is None


def test_a_meter_of_one_value_a_second_has_no_gaps_but_its_own() -> None:
    slow = even(5.0, until=20.0, period=1.0)
    assert find_watts(integrate_power(slow), Window(2.0, 12.0)) == pytest.approx(5.0)
    assert find_watts(integrate_power(slow[:8] + slow[12:]), Window(2.0, 12.5)) is None


def test_too_few_values_tell_no_power() -> None:
    slow = integrate_power(even(5.0, until=20.0, period=1.0))
    assert find_joules(slow, Window(2.5, 4.5)) == pytest.approx(10.0)
    assert find_watts(slow, Window(2.5, 4.5)) is None
    assert find_idle(slow, Window(2.5, 4.5)) is None


def test_pieces_of_idle_have_the_power_of_their_time() -> None:
    samples = [(at, 4.0 if at < 5 else 6.0) for at, _ in even(0.0, period=0.01)]
    pieces = find_idle(integrate_power(samples), Window(0.0, 10.0))
    assert pieces == [pytest.approx(4.0, abs=0.02)] * 5 + [pytest.approx(6.0, abs=0.02)] * 5


def test_energy_per_inference_is_gross_and_net_of_idle() -> None:
    assert summarize_power(15.0, LOAD, [5.0] * 10, [5.0] * 10) == {
        "idle_w": pytest.approx(5.0),
        "load_w": pytest.approx(15.0),
        "energy_mj": pytest.approx(1500.0),
        "energy_net_mj": pytest.approx(1000.0),
    }


def test_a_drift_of_idle_cancels_and_counts_as_noise() -> None:
    before, after = [4.0] * 10, [5.0] * 10
    found = summarize_power(7.0, LOAD, before, after)
    assert found["idle_w"] == pytest.approx(4.5)
    assert found["energy_net_mj"] == pytest.approx(250.0)
    assert summarize_power(5.9, LOAD, before, after)["energy_net_mj"] is None  # within 3 × 0.5 W


def test_a_load_within_the_noise_of_idle_has_no_net_energy() -> None:
    noisy = [4.0, 6.0, 4.0, 6.0]  # noise 1 W around 5 W
    within = summarize_power(7.9, LOAD, noisy, noisy)
    assert within["energy_mj"] == pytest.approx(790.0)
    assert within["energy_net_mj"] is None
    assert summarize_power(8.1, LOAD, noisy, noisy)["energy_net_mj"] == pytest.approx(310.0)


def test_what_a_sensor_rounds_counts_as_noise() -> None:
    even_idle = [5.0] * 10
    assert summarize_power(5.03, LOAD, even_idle, even_idle, step_w=0.04)["energy_net_mj"] is None
    assert summarize_power(5.04, LOAD, even_idle, even_idle, step_w=0.04)["energy_net_mj"] is not None
    assert find_step(integrate_power([(0.0, 5.0), (1.0, 5.04), (2.0, 5.12), (3.0, 5.0)])) == pytest.approx(
        0.04
    )
    assert find_step(integrate_power([(0.0, 5.0), (1.0, 5.0)])) == 0.0


def test_idle_that_is_not_known_leaves_gross_energy() -> None:
    found = summarize_power(15.0, LOAD, [5.0] * 10, None)
    assert (found["energy_mj"], found["idle_w"], found["energy_net_mj"]) == (
        pytest.approx(1500.0),
        None,
        None,
    )


def test_a_load_that_is_not_known_leaves_no_number() -> None:
    for found in (
        summarize_power(None, LOAD, [5.0], [5.0]),
        summarize_power(15.0, LOAD._replace(inferences=0), [5.0], [5.0]),
    ):
        assert set(found.values()) == {None}


@given(st.lists(st.floats(0.1, 50.0), min_size=20, max_size=60), st.floats(0.0, 0.5), st.floats(0.5, 1.0))
def test_the_energy_of_parts_is_that_of_the_whole(watts: list[float], low: float, high: float) -> None:
    samples: list[Sample] = [(at * 0.05, one) for at, one in enumerate(watts)]
    curve, end = integrate_power(samples), samples[-1][0]
    edges = [0.0, low * end, high * end, end]
    parts = [find_joules(curve, Window(*edge)) for edge in pairwise(edges) if edge[0] < edge[1]]
    whole = find_joules(curve, Window(0.0, end))
    assert whole is not None
    assert sum(part for part in parts if part is not None) == pytest.approx(whole)
    assert min(watts) * end * 0.999 <= whole <= max(watts) * end * 1.001


@given(
    st.lists(st.tuples(st.floats(0.001, 0.4), st.floats(-1.0, 50.0)), min_size=8, max_size=600),
    st.floats(0.0, 0.3),
    st.floats(0.7, 1.0),
    st.booleans(),
)
def test_a_thinned_course_keeps_the_mean(
    told: list[tuple[float, float]], low: float, high: float, is_counter: bool
) -> None:
    times = list(accumulate(step for step, _ in told))
    values = [watts for _, watts in told]
    samples = list(zip(times, accumulate(map(abs, values)) if is_counter else values, strict=True))
    curve = follow_counter(samples) if is_counter else integrate_power(samples)
    span = times[-1] - times[0]
    window = Window(times[0] + low * span, min(times[0] + high * span, times[-1]))
    points, mean = thin_power(curve, window), find_watts(curve, window)
    if mean is None:
        assert points == []
        return
    assert len(points) == min(count_samples(curve, window), MAX_COURSE_POINTS)
    assert sum(watts for _, watts in points) / len(points) == pytest.approx(mean, abs=1e-6)
    seconds = [at for at, _ in points]
    assert seconds == sorted(seconds)
    assert 0 < seconds[0] <= seconds[-1] < window.end - window.start


def test_a_course_has_means_of_equal_slices_at_their_middles() -> None:
    curve = integrate_power([(at, 4.0 if at < 5 else 6.0) for at, _ in even(0.0, period=0.01)])
    points = thin_power(curve, Window(1.0, 9.0))
    assert len(points) == MAX_COURSE_POINTS
    assert points[0] == (pytest.approx(0.02), pytest.approx(4.0))
    assert points[-1] == (pytest.approx(7.98), pytest.approx(6.0))
    slow = thin_power(integrate_power(even(5.0, until=12.0, period=1.0)), Window(0.5, 10.5))
    assert slow == [(pytest.approx(at + 0.5), pytest.approx(5.0)) for at in range(10)]


def test_a_window_whose_power_is_not_known_has_no_course() -> None:
    curve = integrate_power([one for one in even(5.0) if not 1.0 < one[0] < 1.9])
    timeline = Timeline(Window(0.0, 2.5), Load(Window(3.0, 5.5), 2.5, 9), Window(6.0, 8.5))
    found = describe_course(curve, timeline)
    assert [(one["phase"], one["start_s"]) for one in found] == [("load", 3.0), ("idle", 6.0)]
    assert thin_power(integrate_power([]), timeline.before) == []


@pytest.mark.parametrize("seed", range(20))
def test_energy_of_a_simulated_board_is_within_two_percent(seed: int) -> None:
    errors = simulate_pass(seed, 10.0)
    assert abs(errors.gross) < 0.02
    assert errors.net is not None
    assert abs(errors.net) < 0.02


def make_paces(*effects: float) -> list[float]:
    """Blocks of four pieces, on a board that slows down all the while."""
    blocks = [[1.0, 1.01 * (1 + effect), 1.02 * (1 + effect), 1.03] for effect in effects]
    return [pace for block in blocks for pace in block]


def test_the_samplers_effect_is_the_middle_of_its_blocks() -> None:
    uneven = make_paces(0.01, 0.012, 0.011, 0.009, 0.3, -0.2, 0.01, 0.01)
    assert find_effect(uneven) == pytest.approx(0.01)
    assert find_effect(make_paces(0.02, 0.01, 0.03)) == pytest.approx(0.02)
    assert find_effect(make_paces(0.0, 0.0, 0.0)) == pytest.approx(0.0, abs=1e-9)


def test_an_effect_on_which_the_blocks_do_not_agree_is_not_known() -> None:
    assert find_effect(make_paces(0.01, 0.15, -0.1, 0.2, 0.01, -0.02, 0.1, 0.3)) is None
    assert find_effect(make_paces(0.0, 0.0, 0.2)) is None
