"""The page of `bench report` in a real Chromium: it loads nothing, and anybody can use it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from host.ledger.reported import read_reported
from host.ledger.store import Ledger
from host.report.page.rendering import render_report
from tests.made_report import HOSTILE, fill_ledger, ledger_url

CHROMIUM = shutil.which("chromium")
PLOTS = "[data-plot]"
SWITCHES = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-sync",
    "--disable-component-update",
)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium; .ci/run installs it")


@dataclass
class Watched:
    """An open page, with what it complained of and what it asked for beside itself."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def order(self) -> list[str]:
        """The variants and devices of the first table that are shown, from top to bottom."""
        lines = self.page.locator("table.comparison").first.locator("tbody tr:visible")
        return [" ".join(text.split()[:2]) for text in lines.all_inner_texts()]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        yield started
        started.close()


def write_page(folder: Path, names: tuple[str, ...] = ()) -> Path:
    fill_ledger(ledger_url(folder), names)
    with Ledger.open(ledger_url(folder)) as ledger:
        (folder / "report.html").write_text(render_report(read_reported(ledger)), encoding="utf-8")
    return folder / "report.html"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(tmp_path_factory.mktemp("hostile"), HOSTILE)


@contextmanager
def opened(browser: Any, path: Path, **options: Any) -> Iterator[Watched]:
    """The page in a window of its own. At the end nothing was complained of, and nothing asked for."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
    watched = Watched(context.new_page())
    page = watched.page
    page.on("console", lambda told: watched.complaints.append(told.text))
    page.on("pageerror", lambda error: watched.complaints.append(str(error)))

    def dismiss(dialog: Any) -> None:
        watched.complaints.append("dialog")
        dialog.dismiss()

    page.on("dialog", dismiss)

    def route(asked: Any) -> None:
        watched.requests.append(asked.request.url)
        if asked.request.url == path.as_uri():
            asked.continue_()
        else:
            asked.abort()

    page.route("**/*", route)
    page.goto(path.as_uri())
    yield watched
    assert watched.complaints == []
    assert set(watched.requests) <= {path.as_uri()}
    context.close()


def expect_count(page: Any, text: str) -> None:
    """Wait until the filters have done their work."""
    from playwright.sync_api import expect

    expect(page.locator("#count")).to_have_text(text)


def scroll_through(page: Any) -> None:
    """Bring every plot near, so that it is drawn."""
    from playwright.sync_api import expect

    for container in page.locator(PLOTS).all():
        container.scroll_into_view_if_needed()
    expect(page.locator(f"{PLOTS}:empty")).to_have_count(0)


def test_every_plot_is_drawn_and_nothing_is_loaded(browser: Any, plain: Path) -> None:
    with opened(browser, plain) as watched:
        scroll_through(watched.page)
        page = watched.page
        for plot, facets in {
            "accuracy-p50": 3,
            "accuracy-size": 3,
            "accuracy-energy": 1,
            "ecdf": 3,
            "rounds": 3,
            "power": 1,
            "course": 1,
            "celsius": 3,
            "mhz": 3,
            "minutes-throughput": 1,
            "minutes-celsius": 1,
            "memory": 3,
            "axes": 3,
        }.items():
            assert page.locator(f"[data-plot='{plot}'] svg").count() == facets, plot
        assert page.locator("[data-plot='accuracy-p50'] path.flagged").count() == 1
        assert "NaN" not in page.locator("main").inner_html()


def test_power_over_time_has_a_line_for_each_coloured_row(browser: Any, plain: Path) -> None:
    with opened(browser, plain) as watched:
        page = watched.page
        scroll_through(page)
        plot = page.locator("[data-plot='course']")
        coloured = page.locator("#legend li").count()
        assert plot.locator("polyline.load").count() == coloured == 2
        assert plot.locator("polyline.idle").count() == 2 * coloured
        heights = [
            float(place.split(",")[1])
            for place in plot.locator("polyline.load").first.get_attribute("points").split()
        ]
        assert len(heights) == 40
        assert len(set(heights)) == 2  # what is drawn wavers as the values do
        plot.locator(".plot").focus()
        page.keyboard.press("End")
        assert "idle 2.5" in page.locator("#said").inner_text()
        page.get_by_role("checkbox", name="Colour int8 in the plots").first.uncheck()
        scroll_through(page)
        assert plot.locator("polyline.load").count() == coloured - 1


def test_titles_sort_by_mouse_and_by_keyboard(browser: Any, plain: Path) -> None:
    with opened(browser, plain) as watched:
        page = watched.page
        planned = watched.order()
        head = page.locator("th[data-key='p50']").first
        head.get_by_role("button").click()
        assert head.get_attribute("aria-sort") == "ascending"
        assert watched.order()[:2] == ["int8 orin", "channel-50 orin"]
        assert watched.order()[-2:] == planned[-2:]  # what has no latency comes last
        head.get_by_role("button").press("Enter")
        assert head.get_attribute("aria-sort") == "descending"
        assert watched.order()[0] == "dense pi4"
        assert watched.order()[-2:] == planned[-2:]
        page.keyboard.press("Tab")
        page.keyboard.press("Space")
        assert head.get_attribute("aria-sort") is None
        assert page.locator("th[data-key='p90']").first.get_attribute("aria-sort") == "ascending"


def test_filters_choose_rows_and_points(browser: Any, plain: Path) -> None:
    with opened(browser, plain) as watched:
        page = watched.page
        page.locator("#find").focus()
        page.keyboard.type("INT8 pi4")
        expect_count(page, "1 of 11 rows")
        assert watched.order() == ["int8 pi4"]
        scroll_through(page)
        assert page.locator("[data-plot='accuracy-p50'] .mark").count() == 1
        page.get_by_role("button", name="Show all").click()
        expect_count(page, "11 rows")
        page.locator("#flags").select_option("throttled")
        expect_count(page, "1 of 11 rows")
        page.locator("#flags").select_option("")
        page.locator("#most-p50").fill("5")
        expect_count(page, "5 of 11 rows")  # what was not measured keeps no limit
        page.locator("#find").fill("nothing is called so")
        expect_count(page, "0 of 11 rows")
        assert watched.order() == []


def test_a_number_leads_to_where_it_comes_from(browser: Any, plain: Path) -> None:
    with opened(browser, plain) as watched:
        page = watched.page
        page.locator("td.p50 a").first.click()
        block = page.locator("#m0-latency")
        assert block.is_visible()
        assert "1,000 in 5 rounds" in block.inner_text()
        assert "performance" in page.locator("#m0").inner_text()
        box = block.bounding_box()
        assert box is not None
        assert 0 <= box["y"] < 900


def test_arrow_keys_go_through_the_points_of_a_plot(browser: Any, plain: Path) -> None:
    with opened(browser, plain) as watched:
        page = watched.page
        scroll_through(page)
        page.locator("[data-plot='accuracy-p50'] .plot").first.focus()
        page.keyboard.press("ArrowRight")
        assert page.locator("#tip").is_visible()
        first = page.locator("#tip").inner_text()
        page.keyboard.press("ArrowRight")
        assert page.locator("#tip").inner_text() != first
        assert "p50" in page.locator("#said").inner_text()
        page.keyboard.press("Enter")
        assert page.locator("details.origin[open]").count() == 1


def test_ticked_rows_have_a_colour_in_the_plots(browser: Any, plain: Path) -> None:
    from playwright.sync_api import expect

    with opened(browser, plain) as watched:
        page = watched.page
        scroll_through(page)
        legend = page.locator("#legend li")
        before = legend.count()
        page.get_by_role("checkbox", name="Colour int8 in the plots").first.uncheck()
        assert legend.count() == before - 1
        page.locator("[data-plot='ecdf']").scroll_into_view_if_needed()
        expect(page.locator("[data-plot='ecdf'] .line.picked")).to_have_count(3 * (before - 1))


def test_hostile_names_stay_text_in_a_browser(browser: Any, hostile: Path) -> None:
    with opened(browser, hostile) as watched:
        page = watched.page
        scroll_through(page)
        page.locator("[data-plot='accuracy-p50'] .plot").first.focus()
        for _ in range(9):
            page.keyboard.press("ArrowRight")
        page.locator("td.p50 a").first.click()
        assert page.evaluate("window.hacked === undefined")
        assert page.locator("img, iframe, object").count() == 0
        assert page.locator("script").count() == 3
        assert page.get_by_text(HOSTILE[0]).count() > 0
        assert page.locator("bdi, .label").filter(has_text="\U0001f680").count() > 0


def background(page: Any) -> str:
    found: str = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return found


def test_light_and_dark_follow_the_system_and_the_button(browser: Any, plain: Path) -> None:
    with opened(browser, plain, color_scheme="dark") as watched:
        page = watched.page
        dark = background(page)
        button = page.locator("#theme")
        assert button.inner_text() == "Light"
        button.click()
        light = background(page)
        assert light != dark
        page.reload()
        assert background(page) == light  # it is remembered
        page.emulate_media(media="print")
        assert background(page) == "rgb(255, 255, 255)"
    with opened(browser, plain, color_scheme="light") as watched:
        assert background(watched.page) == light


@pytest.mark.parametrize("name", ["plain", "hostile"])
def test_a_phone_needs_no_scrolling_to_the_side(
    browser: Any, name: str, request: pytest.FixtureRequest
) -> None:
    with opened(browser, request.getfixturevalue(name), viewport={"width": 360, "height": 740}) as watched:
        page = watched.page
        scroll_through(page)
        page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert page.locator("table.comparison").first.is_visible()


def test_without_a_script_tables_and_reasons_are_there(browser: Any, plain: Path) -> None:
    with opened(browser, plain, java_script_enabled=False) as watched:
        page = watched.page
        assert len(watched.order()) == 8
        assert page.get_by_text("The plots need this page's own script").is_visible()
        assert not page.locator("form.filters").is_visible()
        assert not page.locator("#theme").is_visible()
        assert page.locator("#failures").get_by_text("killed for memory").is_visible()


def test_paper_has_the_table_and_the_plots_but_no_controls(browser: Any, plain: Path) -> None:
    with opened(browser, plain) as watched:
        page = watched.page
        page.emulate_media(media="print")
        assert page.locator("table.comparison").first.is_visible()
        assert not page.locator("form.filters").is_visible()
        assert not page.locator("nav").is_visible()
        assert len(page.pdf(format="A4")) > 20_000
        assert page.locator("[data-plot='memory'] svg").count() == 3  # drawn for the paper, though never near
