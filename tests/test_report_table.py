"""The comparison table: what it tells, how it fits, and that nothing in it is obeyed."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET

import pytest
from rich.cells import cell_len
from rich.console import Console

from host.ledger.recommending import rank_rows
from host.ledger.rows import Row
from host.ledger.wishes import Wishes
from host.report.comparison import compare_rows
from host.report.table import print_results, print_winners, render_svg
from host.specs.measurement import Power
from tests.made_results import (
    make_failure,
    make_measurement,
    make_row,
    make_rows,
    make_sweep,
    make_unfit,
)


def show(rows: list[Row], width: int = 240, limit: int | None = 200) -> str:
    stream = io.StringIO()
    print_results(rows, Console(file=stream, width=width, color_system=None), limit)
    return stream.getvalue()


def two_devices() -> list[Row]:
    return make_rows(*make_sweep("pi4"), *make_sweep("x86", 0.1, is_emulated=True, board="Linux x86_64"))


def test_devices_stand_side_by_side_with_a_line_for_each_variant() -> None:
    lines = show(two_devices()).splitlines()
    heading = next(line for line in lines if "pi4" in line and "x86 (emulated)" in line)
    assert heading.index("pi4") < heading.index("x86")
    assert [sum(line.startswith(name) for line in lines) for name in ("dense", "channel-50", "int8")] == [
        1,
        1,
        1,
    ]
    (line,) = [line for line in lines if line.startswith("int8")]
    assert line.count("2.50×*") == 2
    assert "97.8 (-0.2)" in line
    assert "emulated: an emulated device" in "\n".join(lines)


def test_what_all_rows_share_is_told_once() -> None:
    text = show(make_rows(*make_sweep()))
    assert "net · onnxruntime · CPUExecutionProvider · 1 thread · batch 1 · run r1" in text
    assert "pi4: Raspberry Pi 4 Model B" in text
    assert "provider" not in text


def test_settings_that_differ_on_a_device_become_columns() -> None:
    text = show(make_rows(*make_sweep(threads=1), *make_sweep(threads=4, slowdown=0.3)))
    lines = text.splitlines()
    assert "threads" in next(line for line in lines if "p50 ms" in line)
    assert sum(line.startswith("dense") for line in lines) == 2


def test_settings_that_differ_between_devices_are_told_with_the_device() -> None:
    rows = make_rows(*make_sweep("pi4"), *make_sweep("orin", provider="CUDAExecutionProvider"))
    text = show(rows)
    assert "orin: Raspberry Pi 4 Model B · CUDAExecutionProvider" in text
    assert sum(line.startswith("dense") for line in text.splitlines()) == 1


def test_models_and_equal_names_are_told_apart() -> None:
    one = make_measurement("a", variant_id="abcdef")
    same_name = make_measurement("b", variant_id="fedcba")
    other_model = make_measurement("c", model="other", variant_id="000000")
    comparison = compare_rows(make_rows((one, 5.0), (same_name, 5.0), (other_model, 5.0)))
    assert [cell.text for cell in comparison.left[0].cells] == ["dense #abcd", "dense #fedc", "dense"]
    assert [cell.text for cell in comparison.left[1].cells] == ["net", "net", "other"]


def test_no_row_is_lost_where_two_differ_in_nothing_that_is_told() -> None:
    comparison = compare_rows(make_rows((make_measurement("a"), 5.0), (make_measurement("b"), 6.0)))
    p50 = next(column for column in comparison.groups[0].columns if column.name == "p50")
    assert len(p50.cells) == 2


def test_accuracy_that_differs_between_devices_moves_to_the_devices() -> None:
    rows = make_rows(*make_sweep("pi4"), *make_sweep("x86"))
    assert "accuracy" in [column.name for column in compare_rows(rows).left]
    rows[4]["accuracy_device"] = 0.5
    comparison = compare_rows(rows)
    assert "accuracy" not in [column.name for column in comparison.left]
    assert all("accuracy" in [column.name for column in group.columns] for group in comparison.groups)


def test_accuracy_of_the_host_is_marked() -> None:
    text = show([make_row(accuracy_device=None)])
    assert "98.0†" in text
    assert "† accuracy on the host" in text


def test_what_was_not_measured_is_a_dash_and_a_zero_is_a_zero() -> None:
    assert energies([make_row(power=Power())]) == ["-"]
    assert energies([make_row(power=Power(source="rapl", energy_mj=0.0))]) == ["0.00"]


def energies(rows: list[Row]) -> list[str]:
    columns = compare_rows(rows).groups[0].columns
    return [cell.text for column in columns if column.name == "energy" for cell in column.cells]


def test_a_source_is_named_only_for_rows_with_an_energy() -> None:
    given = make_row("a", power=Power(source="rapl", energy_mj=5.0))
    silent = make_row("b", power=Power(source="meter plug", note="[red]no key\x1b[2J " + "apower " * 200))
    text = show([given, silent, silent], 2000)
    assert "idle included, from rapl\n" in text
    (line,) = [line for line in text.splitlines() if line.startswith("no energy")]
    assert line.startswith("no energy from meter plug: [red]no key")
    assert "\x1b" not in line
    assert len(line) < 500
    alone = show([make_row(power=Power(source="rapl", load_w=3.0, note="paced"))])
    assert "no energy from rapl: paced" in alone
    assert "idle included" not in alone
    assert "no energy" not in show([make_row(power=Power())])


def test_reasons_for_no_energy_do_not_fill_the_screen() -> None:
    rows = [make_row(f"t{n}", power=Power(source="rapl", note=f"{n} % taken")) for n in range(10, 30)]
    told = [line for line in show(rows).splitlines() if line.startswith("no energy")]
    assert len(told) == 5
    assert "16 more reasons" in told[-1]


def test_flags_are_shown_and_explained_only_where_they_occur() -> None:
    text = show([make_row(flags=("drift", "emulated"), is_emulated=True)])
    assert "drift: the last quarter" in text
    assert "busy" not in text
    assert "pi4 (emulated)" in text
    assert "not known to this release" in show([make_row(flags=("novel",))])


def test_failures_are_listed_with_their_reason() -> None:
    rows = make_rows(
        (make_measurement("a", is_baseline=True), 5.0),
        (make_failure("b", "out of memory", variant="big", variant_id="big"), None),
    )
    text = show(rows)
    assert "1 failed:" in text
    assert "pi4: big: memory: out of memory" in text
    assert "failed" in next(line for line in text.splitlines() if line.startswith("big"))


@pytest.mark.parametrize("width", range(40, 300, 7))
def test_no_number_is_cut_at_any_width(width: int) -> None:
    text = show(two_devices(), width)
    table = [line for line in text.splitlines() if line.startswith(("dense", "channel", "int8", "variant"))]
    assert all(cell_len(line.rstrip()) <= width for line in table)
    assert "…" not in text
    assert "5.00" in text
    assert "2.50×" in text


def texts(rows: list[Row], name: str) -> list[str] | None:
    """The cells of one of the columns on the left, None where there is no such column."""
    found = [column for column in compare_rows(rows).left if column.name == name]
    return [cell.text for cell in found[0].cells] if found else None


def test_sizes_stand_side_by_side_where_they_are_known() -> None:
    plain = make_rows(*make_sweep())
    assert (texts(plain, "size"), texts(plain, "gzip"), texts(plain, "packed")) == (["8.49"] * 3, None, None)
    packed = make_measurement("z", variant="z", variant_id="z", gzip_bytes=2**21, packed_bytes=2**19)
    rows = make_rows(*make_sweep(), (packed, 5.0))
    assert texts(rows, "gzip") == ["-", "-", "-", "2.00"]
    assert texts(rows, "packed") == ["-", "-", "-", "0.50"]
    assert "file MiB   gzip MiB   packed MiB" in show(rows)


def test_sizes_of_small_files_keep_what_tells_them_apart() -> None:
    rows = [make_row(file_bytes=12_000, gzip_bytes=9_000)]
    assert (texts(rows, "size"), texts(rows, "gzip")) == (["0.0114"], ["0.0086"])


def test_a_sparsity_that_fell_short_is_told_beside_what_was_asked() -> None:
    kept = make_measurement("a", sparsity=0.4991, sparsity_target=0.5)
    short = make_measurement("b", variant_id="b", sparsity=0.479, sparsity_target=0.5)
    dense = make_measurement("c", variant_id="c", sparsity=0.0)
    unknown = make_measurement("d", variant_id="d")
    assert texts(make_rows((kept, 5.0), (dense, 5.0)), "sparsity") is None
    rows = make_rows((kept, 5.0), (short, 5.0), (dense, 5.0), (unknown, 5.0))
    assert texts(rows, "sparsity") == ["49.9", "47.9 of 50", "0.0", "-"]


def test_an_unfit_variant_is_told_once_and_apart_from_failures() -> None:
    rows = make_rows(
        (make_measurement("a", is_baseline=True, accuracy_device=None), 5.0),
        *((make_unfit(f"u{n}", device=name), None) for n, name in enumerate(("pi4", "orin"))),
    )
    lines = show(rows).splitlines()
    at = lines.index("1 unfit, not measured:")
    assert lines[at + 1] == "  channel-70: 83.1 % on the host is below min_accuracy 90 %"
    assert not any("failed" in line for line in lines)
    (line,) = [line for line in lines if line.startswith("channel-70")]
    assert line.count("unfit") == 2
    assert "83.1 (-14.9)†" in line


def test_what_an_unfit_variant_was_asked_to_run_with_makes_no_column() -> None:
    rows = make_rows((make_measurement("a", threads=4), 5.0), (make_unfit("b", threads=None), None))
    text = show(rows)
    assert "net · onnxruntime · CPUExecutionProvider · 4 threads · batch 1 · run r1" in text
    assert "threads" not in next(line for line in text.splitlines() if "p50 ms" in line)


def test_a_narrow_table_says_what_it_leaves_out() -> None:
    assert "Left out" not in show(two_devices(), 260)
    narrow = show(two_devices(), 60)
    assert "Left out for want of width: file MiB, params, MACs" in narrow
    assert sum(line.startswith("int8") for line in narrow.splitlines()) == 2


def test_a_long_name_is_cut_before_a_number_is() -> None:
    text = show(make_rows(*make_sweep(), (make_measurement("z", variant="v" * 80, variant_id="z"), 7.0)), 60)
    line = next(line for line in text.splitlines() if line.startswith("vvvv"))
    assert "…" in line
    assert "7.00" in line
    assert cell_len(line) <= 60


def test_a_long_table_is_cut_and_says_how_to_get_all() -> None:
    rows = make_rows(
        *((make_measurement(f"t{n}", variant=f"v{n:03}", variant_id=f"v{n}"), 5.0) for n in range(30))
    )
    text = show(rows, limit=20)
    assert "v019" in text
    assert "v020" not in text
    assert "20 of 30 lines" in text


def test_many_devices_leave_room_for_fewer_lines() -> None:
    rows = make_rows(
        *(
            (make_measurement(f"t{n}-{at}", device=f"d{at:02}", variant=f"v{n:03}", variant_id=f"v{n}"), 5.0)
            for at in range(20)
            for n in range(30)
        )
    )
    text = show(rows)
    assert "v019" in text
    assert "v020" not in text
    assert "20 of 30 lines" in text


def test_hostile_text_is_shown_and_not_obeyed() -> None:
    evil = "[red]x[/] \x1b[2J\x1b]8;;http://evil\x07 \u202edesrever"
    rows = make_rows(
        (make_failure("a", evil + "\nsecond line", variant="[bold]v", board=evil, device="d"), None)
    )
    text = show(rows)
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "\u202e" not in text
    assert "[red]x[/]" in text
    assert "[bold]v" in text
    assert not any(line.startswith("second line") for line in text.splitlines())


def test_no_rows_are_told_in_a_sentence() -> None:
    assert show([]) == "No measurements yet.\n"


def test_the_picture_is_well_formed_and_always_the_same() -> None:
    picture = render_svg(two_devices(), "bench <sweep>", 140)
    assert ET.fromstring(picture).tag.endswith("svg")
    assert picture == render_svg(two_devices(), "bench <sweep>", 140)
    assert "url(" not in picture.replace("url(#", "")
    assert "channel-50" in picture


def test_winners_are_printed_a_line_each() -> None:
    stream, rows = io.StringIO(), two_devices()
    console = Console(file=stream, width=80, color_system=None)
    print_winners(rank_rows(rows, Wishes()), rows, console)
    assert "x86 (emulated), net: int8 is the fastest" in stream.getvalue()


def with_settings(runtime: str, provider: str, **settings: object) -> list[Row]:
    told = {"runtime": runtime, "provider": provider, "runtime_settings": settings}
    return make_rows(*((one.model_copy(update=told), p50) for one, p50 in make_sweep()))


def test_runtimes_become_a_column_and_tell_their_providers() -> None:
    ours = with_settings("onnxruntime", "CPUExecutionProvider", spinning=True, arena=True)
    text = show([*ours, *with_settings("openvino", "CPU", inference_precision="f32")])
    assert "runtime " in text
    assert "provider" not in text
    assert "CPUExecutionProvider" not in text
    assert "spinning" not in text  # all onnxruntime rows have the same, and the others have none
    gpu = with_settings("onnxruntime", "CUDAExecutionProvider", spinning=True, arena=True)
    assert "CUDAExecutionProvider" in show([*ours, *gpu, *with_settings("openvino", "CPU")])


def test_options_that_differ_become_columns() -> None:
    on = with_settings("onnxruntime", "CPUExecutionProvider", spinning=True, arena=True)
    off = with_settings("onnxruntime", "CPUExecutionProvider", spinning=False, arena=True)
    other = with_settings("openvino", "CPU", inference_precision="f32")
    lines = show([*on, *off, *other]).splitlines()
    heading = next(line for line in lines if "spinning" in line)
    assert "arena" not in heading
    dense = [line.split()[:3] for line in lines if line.startswith("dense")]
    assert dense == [
        ["dense", "onnxruntime", "on"],
        ["dense", "onnxruntime", "off"],
        ["dense", "openvino", "-"],
    ]


def test_the_best_speed_up_is_the_best_of_those_with_the_same_baseline() -> None:
    ours = with_settings("onnxruntime", "CPUExecutionProvider")
    other = with_settings("openvino", "CPU")
    slower = [row | {"speedup": row["speedup"] * 2} for row in other[1:]]  # against a slow baseline
    lines = show([*ours, other[0], *slower]).splitlines()
    assert [line.count("×*") for line in lines if line.startswith("int8")] == [1, 1]
