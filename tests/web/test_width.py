"""The pages use the width of a screen: on a desk no table is cut off, on a phone the page never scrolls sideways."""

from __future__ import annotations

from pathlib import Path

import _browser
import pytest
from _browser import PHONE, browser, screenshot, sideways

from harness.cli.main import run_cli
from harness.figures.summary import summarise
from harness.records.store import load
from harness.report.published import Published
from harness.web import report_page

pytestmark = pytest.mark.browser

RESULTS = Path(__file__).resolve().parents[2] / "results"
DESK = (1400, 900)
SCROLLBAR = 15  # pixels that the browser of the tests hides and others show
CUT_OFF = (
    "for (const d of document.querySelectorAll('details')) d.open = true;"
    "return [...document.querySelectorAll('.scroll')].filter(s => s.scrollWidth > s.clientWidth)"
    ".map(s => `${s.getAttribute('aria-label')}: ${s.scrollWidth} of ${s.clientWidth}`)"
)


@pytest.fixture(scope="module", autouse=True)
def _chromium():
    if why := _browser.missing():
        pytest.skip(why)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    run = load(RESULTS / "quick-cpu")
    made = Published(summary=summarise(run.records), records=run.records, runs=[run.info])
    file = tmp_path_factory.mktemp("width") / "report.html"
    file.write_text(report_page.html(made), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("width") / "site"
    runs = [str(RESULTS / name) for name in ("quick-cpu", "standard-cpu", "quick-tpu-aot-v5e")]
    assert run_cli(["leaderboard", *runs, "-o", str(folder)]) == 0
    return folder


@pytest.mark.parametrize("size", [DESK, (DESK[0] - SCROLLBAR, DESK[1]), (1920, 1080)], ids=["1400", "1385", "1920"])
def test_no_table_of_the_report_is_cut_off_on_a_desk(report, size, tmp_path):
    with browser(size) as driver:
        driver.get(report.as_uri())
        assert len(driver.find_elements("css selector", ".scroll")) >= 5
        assert driver.execute_script(CUT_OFF) == []
        assert sideways(driver) == 0
        screenshot(driver, tmp_path / f"report-{size[0]}.png", whole=True)


def test_no_table_of_the_site_is_cut_off_on_a_desk(site, tmp_path):
    pages = sorted(site.glob("*.html"))
    assert len(pages) > 10
    with browser((DESK[0] - SCROLLBAR, DESK[1])) as driver:
        cut = {}
        for page in pages:
            driver.get(page.as_uri())
            cut[page.name] = driver.execute_script(CUT_OFF)
            assert sideways(driver) == 0, page.name
        assert {name: tables for name, tables in cut.items() if tables} == {}
        driver.get((site / "index.html").as_uri())
        screenshot(driver, tmp_path / "index-1400.png", whole=True)


def test_a_table_that_is_cut_off_is_seen(report):
    """The check can say no: the same page on a narrow screen, where a table scrolls in its box."""
    with browser(PHONE) as driver:
        driver.get(report.as_uri())
        assert any(text.startswith("All figures") for text in driver.execute_script(CUT_OFF))
        assert sideways(driver) == 0
        assert driver.execute_script(  # a name is broken between its words, if at all
            "return [...document.querySelectorAll('#matrix tbody th')].every(h => h.scrollWidth <= h.clientWidth)"
        )


def test_what_is_the_same_in_all_rows_has_no_column_and_is_named_once(report):
    text = report.read_text()
    assert "constant in all rows: float32, cpu;" in text
    assert "dense twins: dense_matmul (same shape) of" in text
    head = text.partition('id="all"')[2].partition("</thead>")[0]
    assert "backend" in head
    assert "device" not in head
    assert "dtype" not in head
