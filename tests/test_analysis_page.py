"""The page of an analysis: whole, harmless, and the same for the same numbers."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from host.analyzing import Findings, Pictures, describe_filters
from host.compress.analysis import compare_outputs, judge_outputs
from host.report.analysis_page import MATRIX_CLASSES, MOST_CLASSES, format_bytes, format_points, render_page
from host.report.analysis_summary import print_analysis
from host.report.charts import choose_ticks
from host.report.pictures import draw_filters, draw_image
from host.specs.analysis import Analysis, AnalyzedFile, Sizes
from host.specs.artifact import PackedParts, Step
from tests.parsed_page import Parsed

HOSTILE = ("<script>alert(1)</script>", '"><img src=//evil.example/x>', "a\x1b[31m\u202eb & {{ 7 * 7 }}")


def make_findings(
    names: tuple[str, ...] = HOSTILE, *, images: int = 60, has_dense: bool = True, is_right: bool = False
) -> Findings:
    """Findings on random outputs, with everything that a page can show."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, len(names), images)
    outputs = rng.normal(size=(images, len(names))).astype(np.float32)
    if is_right:
        outputs[np.arange(images), labels] = 9
    before = rng.normal(size=outputs.shape).astype(np.float32)
    filters, dense_filters = (rng.normal(size=(count, 3, 3, 3)).astype(np.float32) for count in (5, 8))
    dense = describe(before, labels, names, "dense", dense_filters)
    variant = describe(outputs, labels, names, HOSTILE[0], filters)
    analysis = Analysis(
        model="made",
        architecture="torchvision:made",
        data="npz",
        is_dense=False,
        variant=variant,
        dense=dense if has_dense else None,
        changes=compare_outputs(outputs, before, labels, len(names)) if has_dense else None,
        steps=tuple(
            Step(sparsity=0.2 * n, params=9, params_nonzero=9, macs=9, accuracy=0.9 - 0.02 * n, is_kept=n < 3)
            for n in (1, 2, 3)
        ),
        notes=(HOSTILE[1],),
    )
    pixels = rng.integers(0, 256, (len(variant.quality.misclassified), 3, 8, 8), dtype=np.uint8)
    return Findings(analysis, Pictures(tuple(pixels), filters, dense_filters if has_dense else None))


def describe(
    outputs: np.ndarray, labels: np.ndarray, names: tuple[str, ...], label: str, filters: np.ndarray
) -> AnalyzedFile:
    return AnalyzedFile(
        variant=label,
        variant_id="0123",
        sha256="0" * 64,
        precision="int8",
        params=1000,
        params_nonzero=500,
        macs=2000,
        sparsity=0.5,
        sparsity_target=0.5,
        sizes=Sizes(
            file=4000,
            gzip=3000,
            packed=1000,
            packed_parts=PackedParts(values=700, indices=200, scales=50, rest=50),
        ),
        first_filters=describe_filters(filters),
        quality=judge_outputs(outputs, labels, names),
    )


def test_a_page_is_well_formed_and_loads_nothing() -> None:
    page = render_page(make_findings(("cat", "dog", "frog")), "numbers.json")
    parsed = Parsed(page)
    assert "http:" not in page
    assert "https:" not in page
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in parsed.elements}
    assert all(str(image["src"]).startswith("data:image/png;base64,") for image in parsed.find("img"))
    assert "url(" not in page
    assert "@import" not in page
    assert any("default-src 'none'" in str(meta.get("content")) for meta in parsed.find("meta"))
    assert render_page(make_findings(("cat", "dog", "frog")), "numbers.json") == page


def test_hostile_names_stay_text() -> None:
    page = render_page(make_findings(), "<b>.json")
    parsed = Parsed(page)
    assert not parsed.find("script")
    assert "<b>.json" in parsed.text
    assert all(str(image["src"]).startswith("data:") for image in parsed.find("img"))
    assert HOSTILE[0] in parsed.text
    assert HOSTILE[1] in parsed.text
    assert "{{ 7 * 7 }}" in parsed.text
    assert "\x1b" not in page
    assert "\u202e" not in page


def test_figures_have_text_alternatives_and_tables_have_captions_and_headers() -> None:
    page = render_page(make_findings(("cat", "dog", "frog")), "numbers.json")
    parsed = Parsed(page)
    assert all(image["alt"] for image in parsed.find("img"))
    ids = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for picture in parsed.find("svg"):
        assert picture["role"] == "img"
        assert set(str(picture["aria-labelledby"]).split()) <= set(ids)
    assert len(parsed.find("table")) == len(parsed.find("caption")) == page.count("</caption>")
    assert all(cell.get("scope") in ("col", "row") for cell in parsed.find("th"))


def test_rolled_back_steps_are_marked() -> None:
    page = render_page(make_findings(), "numbers.json")
    assert page.count('class="cross"') == 2  # one in each of the two charts
    assert "rolled back" in page


def test_the_count_of_removed_filters_is_told() -> None:
    assert "3 of 8 filters were removed." in render_page(make_findings(), "numbers.json")


def test_a_page_without_dense_compares_nothing() -> None:
    text = Parsed(render_page(make_findings(has_dense=False), "numbers.json")).text
    assert "Against dense" not in text
    assert "The dense model is not built" in text


def test_a_model_without_errors_has_a_page() -> None:
    text = Parsed(render_page(make_findings(("a", "b"), is_right=True), "numbers.json")).text
    assert "Every test image is classified correctly." in text
    assert "Most confident errors" not in text


def test_a_thousand_classes_do_not_blow_the_page() -> None:
    names = tuple(f"class {index}" for index in range(1000))
    page = render_page(make_findings(names, images=5000), "numbers.json")
    parsed = Parsed(page)
    assert len(page) < 500_000
    matrix = next(part for part in page.split("<table") if 'class="matrix' in part)
    assert matrix.count("<tr>") == MATRIX_CLASSES + 1
    assert f"The {MOST_CLASSES} worst of 1,000 classes" in parsed.text


def read_picture(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def test_an_image_keeps_its_resolution_and_is_shown_larger() -> None:
    pixels = np.arange(3 * 32 * 32, dtype=np.int64).astype(np.uint8).reshape(3, 32, 32)
    picture = draw_image(pixels)
    assert (picture.width, picture.height) == (96, 96)
    np.testing.assert_array_equal(read_picture(picture.uri), pixels.transpose(1, 2, 0))


def test_grey_floats_are_bytes_of_one_channel() -> None:
    pixels = np.array([[[0.0, 1.0], [0.5, 2.0]]], dtype=np.float32)
    np.testing.assert_array_equal(read_picture(draw_image(pixels).uri), [[0, 255], [128, 255]])


def test_a_large_image_is_shrunk() -> None:
    picture = draw_image(np.zeros((3, 400, 800), dtype=np.uint8))
    assert read_picture(picture.uri).shape == (96, 192, 3)
    assert (picture.width, picture.height) == (96, 48)


@pytest.mark.parametrize("inputs", [1, 3, 4])
def test_filters_are_stretched_from_least_to_largest(inputs: int) -> None:
    filters = np.stack([np.full((inputs, 3, 3), 0.1), np.linspace(-1, 1, inputs * 9).reshape(inputs, 3, 3)])
    sheet = read_picture(draw_filters(filters.astype(np.float32)).uri)
    first, second = sheet[:27, :27], sheet[:27, 30:57]
    assert (first[..., :3] == 128).all()
    assert (second[..., :3].min(), second[..., :3].max()) == (0, 255)
    assert (sheet[:, 27:30, 3] == 0).all()


def test_ticks_are_round_and_hold_the_values() -> None:
    assert choose_ticks(86.1, 89.9) == (86, 87, 88, 89, 90)
    assert choose_ticks(0, 100)[0] == 0
    assert choose_ticks(0, 100)[-1] == 100


def test_changes_and_sizes_are_written_as_people_do() -> None:
    assert [format_points(value) for value in (0.012, -0.012, -0.0001, None)] == ["+1.2", "−1.2", "0.0", "-"]
    assert [re.sub(r"\s", " ", format_bytes(size)) for size in (12, 2048, 3 << 20)] == [
        "12 B",
        "2 KiB",
        "3 MiB",
    ]


def test_the_summary_is_short_and_plain() -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=100, color_system=None)
    print_analysis(make_findings().analysis, Path("results") / "page.html", console)
    told = stream.getvalue()
    assert len(told.splitlines()) < 30
    for words in ("accuracy", "Worst classes", "Top confusions", "Calibration error", "results/page.html"):
        assert words in told
    assert "\x1b" not in told
