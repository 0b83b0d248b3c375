"""The report as a person uses it: a real browser opens the page from disk, sorts, filters, opens records, draws."""

from __future__ import annotations

import time
from pathlib import Path

import _browser
import msgspec
import pytest
from _browser import DESKTOP, PHONE, browser, complaints, planted, resize, screenshot, sideways, wait
from _records import dense, idea, record, twin_ref
from _xss import corpus
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from harness.figures.summary import summarise
from harness.records.store import load
from harness.report.published import Published
from harness.web import report_page

pytestmark = pytest.mark.browser

QUICK = Path(__file__).resolve().parents[2] / "results" / "quick-cpu"
CHARTS = "[...document.querySelectorAll('figure.chart .canvas')]"


@pytest.fixture(scope="session", autouse=True)
def chromium():
    """The browser, installed where it can be; without one these tests are skipped with the reason."""
    reason = _browser.missing()
    if reason:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def report(tmp_path_factory):
    run = load(QUICK)
    made = Published(summary=summarise(run.records), records=run.records, runs=[run.info])
    file = tmp_path_factory.mktemp("report") / "report.html"
    file.write_text(report_page.html(made), encoding="utf-8")
    return file.as_uri()


@pytest.fixture(scope="session")
def driver(chromium):
    with browser() as opened:
        yield opened


@pytest.fixture
def opened(driver, report):
    """The quick report, freshly loaded at desktop size in light; a test ends with no complaint in the console."""
    resize(driver, DESKTOP)
    _browser.colours(driver, dark=False)
    driver.get(report)
    yield driver
    assert complaints(driver) == []


def texts(driver, selector):
    return driver.execute_script(
        "return [...document.querySelectorAll(arguments[0])]"
        ".filter(e => e.checkVisibility()).map(e => e.innerText.trim())",
        selector,
    )


def column(driver, number):
    """What the visible rows of all figures sort by in a column, from the top; None where unknown."""
    values = driver.execute_script(
        "return [...document.querySelectorAll('#all tbody tr')].filter(r => !r.hidden)"
        ".map(r => r.cells[arguments[0]].dataset.value ?? r.cells[arguments[0]].textContent)",
        number,
    )
    return [None if value == "" else value for value in values]


def heading(driver, table, name):
    return next(b for b in driver.find_elements(By.CSS_SELECTOR, f"#{table} thead button") if b.text.startswith(name))


def filtered(driver, name, value):
    Select(driver.find_element(By.CSS_SELECTOR, f"form.filters select[name={name}]")).select_by_visible_text(value)


def draw_all(driver):
    driver.execute_script("for (const d of document.querySelectorAll('details.group')) d.open = true")
    for figure in driver.find_elements(By.CSS_SELECTOR, "figure.chart"):
        driver.execute_script("arguments[0].scrollIntoView()", figure)
        number = figure.get_attribute("data-chart")
        wait(driver, f"document.querySelector('[data-chart=\"{number}\"] .canvas').dataset.drawn !== undefined")


# -- opening -----------------------------------------------------------------------------------------------------------


def test_the_page_opens_from_disk_and_is_ready_before_any_chart_is_drawn(opened, capsys):
    assert opened.current_url.startswith("file://")
    ready = wait(opened, "performance.getEntriesByType('navigation')[0].loadEventEnd")
    with capsys.disabled():
        print(f"\nthe report of a quick run is usable {ready / 1000:.2f} s after it was asked for")
    assert ready < 60_000  # a speed is judged in benchmarks; this only catches a page that hangs
    assert opened.execute_script("return typeof window.vegaEmbed") == "undefined"
    assert len(texts(opened, "#matrix tbody tr")) > 5


def test_the_page_asks_for_nothing_but_itself(opened):
    draw_all(opened)
    assert opened.execute_script("return performance.getEntriesByType('resource').map(r => r.name)") in ([], ["data:,"])


# -- sorting and filtering ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["time", "speed-up", "tax", "memory", "energy", "share"])
def test_a_heading_sorts_by_numbers_up_then_down_with_the_unknown_last(opened, name):
    number = [text.startswith(name) for text in texts(opened, "#all thead th")].index(True)
    for direction, reverse in (("ascending", False), ("descending", True)):
        heading(opened, "all", name).click()
        values = column(opened, number)
        known = [float(value) for value in values if value is not None]
        assert len(known) > 10
        assert known == sorted(known, reverse=reverse)
        assert values[len(known) :] == [None] * (len(values) - len(known))
        head = opened.find_elements(By.CSS_SELECTOR, "#all thead th")[number]
        assert head.get_attribute("aria-sort") == direction


def test_every_column_of_both_tables_has_a_button_and_only_one_is_sorted_by(opened):
    for table in ("all", "matrix"):
        for button in opened.find_elements(By.CSS_SELECTOR, f"#{table} thead th button"):
            button.send_keys(Keys.ENTER)
        assert len(opened.find_elements(By.CSS_SELECTOR, f"#{table} th")) >= 4
        assert len(opened.find_elements(By.CSS_SELECTOR, f"#{table} th[aria-sort]")) == 1


def test_the_lottery_table_sorts_by_the_tax_of_a_place(opened):
    heading(opened, "matrix", "torch").click()
    taxes = [float(t) for t in opened.execute_script(
        "const k = [...document.querySelectorAll('#matrix thead th')].findIndex(h => h.innerText.startsWith('torch'));"
        "return [...document.querySelectorAll('#matrix tbody tr')].map(r => r.cells[k].dataset.value)"
    )]  # fmt: skip
    assert taxes == sorted(taxes)
    assert len(set(taxes)) > 5


def test_filters_leave_what_was_asked_for_in_both_tables_and_clear_brings_the_rest_back(opened):
    everything = len(column(opened, 0))
    filtered(opened, "idea", "block_sparse")
    filtered(opened, "backend", "torch")
    assert set(column(opened, 0)) == {"block_sparse"}
    assert set(column(opened, 2)) == {"torch"}
    assert [text.split()[0] for text in texts(opened, "#matrix thead th")] == ["idea", "torch"]
    assert all(text.startswith("block_sparse") for text in texts(opened, "#matrix tbody th"))
    count = opened.find_element(By.CSS_SELECTOR, "output[data-count=all]").text
    assert count == f"{len(column(opened, 0))} of {everything} entries"
    opened.find_element(By.CSS_SELECTOR, "form.filters button[type=reset]").click()
    wait(opened, f"document.querySelector('output[data-count=all]').textContent === '{everything} entries'")
    assert len(column(opened, 0)) == everything


@pytest.mark.parametrize(("name", "value"), [("device", "cpu"), ("dtype", "float32")])
def test_device_and_dtype_can_be_asked_for_although_one_of_each_has_no_column(opened, name, value):
    everything = len(column(opened, 0))
    filtered(opened, name, value)
    assert name not in texts(opened, "#all thead th")
    assert len(column(opened, 0)) == everything > 10


def test_an_outcome_can_be_asked_for(opened):
    everything = len(column(opened, 0))
    filtered(opened, "outcome", "tie")
    assert 0 < len(column(opened, 0)) < everything
    assert all("tie" in text for text in texts(opened, "#all tbody tr"))


def test_words_are_searched_in_rows(opened):
    opened.find_element(By.NAME, "q").send_keys("Train_step TORCH")
    wait(opened, "document.querySelector('output[data-count=all]').textContent.includes(' of ')")
    rows = texts(opened, "#all tbody tr")
    assert rows
    assert all("train_step" in row and "torch" in row for row in rows)


# -- the record of a cell ----------------------------------------------------------------------------------------------


def test_a_cell_opens_its_record_with_samples_and_escape_closes_it(opened):
    cell = opened.find_element(By.CSS_SELECTOR, "#matrix td button.cell")
    cell.click()
    dialog = opened.find_element(By.ID, "record")
    wait(opened, "document.querySelector('dialog .canvas')?.dataset.drawn !== undefined")
    for words in ("Samples", "Against its dense twins", "Verdict", "Settings", "Environment", "paths tried here"):
        assert words in dialog.text
    for summary in dialog.find_elements(By.CSS_SELECTOR, "summary"):
        summary.click()
    assert "threads" in dialog.text
    ActionChains(opened).send_keys(Keys.ESCAPE).perform()
    assert not dialog.is_displayed()
    assert opened.switch_to.active_element == cell


def test_a_row_opens_its_record_and_the_button_closes_it(opened):
    opened.find_element(By.CSS_SELECTOR, "#all tbody tr td:nth-child(6)").click()
    dialog = opened.find_element(By.ID, "record")
    assert dialog.is_displayed()
    opened.find_element(By.ID, "close").click()
    assert not dialog.is_displayed()


def test_another_path_of_the_same_row_is_one_click_away_with_its_reason(opened):
    """Of the paths of a sparse product in JAX some are unsupported, in the framework's words."""
    filtered(opened, "outcome", "unsupported")
    opened.find_element(By.CSS_SELECTOR, "#matrix tbody tr:not([hidden]) td:not(.filtered) button.cell").click()
    buttons = opened.find_elements(By.CSS_SELECTOR, "dialog .paths button")
    assert len(buttons) > 1
    failed = next(button for button in buttons if "unsupported" in button.text)
    opened.execute_script("arguments[0].click()", failed)
    dialog = opened.find_element(By.ID, "record")
    assert "Reason (" in dialog.text
    assert dialog.find_element(By.TAG_NAME, "pre").text


def test_the_page_can_be_walked_by_keyboard_alone(opened):
    """From the top: the skip link, the filters, a heading that sorts by Enter, a cell that opens by Enter."""
    seen = []
    for _ in range(40):
        ActionChains(opened).send_keys(Keys.TAB).perform()
        focused = opened.switch_to.active_element
        seen.append(focused.get_attribute("class") or focused.tag_name)
        if seen[0:1] == ["skip"] and len(seen) == 1:
            assert focused.is_displayed()
        if "cell" in seen[-1]:
            break
    assert seen[0] == "skip"
    assert "select" in seen
    assert "scroll fit" in seen
    outline = "return getComputedStyle(document.activeElement).outlineStyle"
    assert opened.execute_script(outline) != "none"
    ActionChains(opened).send_keys(Keys.ENTER).perform()
    dialog = opened.find_element(By.ID, "record")
    assert dialog.is_displayed()
    ActionChains(opened).send_keys(Keys.TAB).perform()
    assert opened.execute_script("return document.activeElement.closest('dialog') !== null")
    ActionChains(opened).send_keys(Keys.ESCAPE).perform()
    assert not dialog.is_displayed()
    heading(opened, "all", "tax").send_keys(Keys.ENTER)
    assert opened.find_elements(By.CSS_SELECTOR, "#all th[aria-sort=ascending]")


# -- charts ------------------------------------------------------------------------------------------------------------


def test_every_chart_is_drawn_when_it_comes_into_view(opened):
    assert opened.execute_script(f"return {CHARTS}.filter(c => c.dataset.drawn !== undefined).length") == 0
    draw_all(opened)
    sizes = opened.execute_script(f"return {CHARTS}.map(c => c.querySelector('canvas')?.width ?? 0)")
    assert len(sizes) >= 15
    assert min(sizes) > 300
    blank = opened.execute_script(
        f"return {CHARTS}.filter(c => {{ const k = c.querySelector('canvas');"
        "const d = k.getContext('2d').getImageData(0, 0, k.width, k.height).data;"
        "return !d.some((v, i) => i % 4 === 3 && v > 0); }).length"
    )
    assert blank == 0


def test_a_mark_says_what_it_is_and_opens_its_record(opened):
    """The first cell of the heat map."""
    opened.execute_script("document.querySelector('#charts').scrollIntoView()")
    wait(opened, f"{CHARTS}[0].dataset.drawn !== undefined")
    canvas = opened.find_element(By.CSS_SELECTOR, "figure.chart canvas")
    ActionChains(opened).move_to_element(canvas).pause(0.2).move_by_offset(3, 3).perform()
    tip = wait(opened, "document.getElementById('tip').hidden ? '' : document.getElementById('tip').innerText")
    assert "tax" in tip
    assert "×" in tip
    ActionChains(opened).click().perform()
    assert opened.find_element(By.ID, "record").is_displayed()


def test_dark_mode_turns_the_page_and_its_charts_dark(opened):
    background = "return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
    assert min(opened.execute_script(background)) > 200
    opened.execute_script("document.querySelector('#charts').scrollIntoView()")
    wait(opened, f"{CHARTS}[0].dataset.drawn !== undefined")
    _browser.colours(opened, dark=True)
    wait(opened, f"{CHARTS}[0].classList.contains('dark')")
    assert max(opened.execute_script(background)) < 60


# -- width -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [DESKTOP, PHONE, (320, 640)], ids=["desktop", "phone", "small phone"])
def test_the_page_never_scrolls_sideways_and_looks_like_this(opened, size, tmp_path):
    resize(opened, size)
    opened.refresh()
    draw_all(opened)
    assert sideways(opened) == 0
    names = opened.execute_script(f"return {CHARTS}.map(c => c.getAttribute('aria-label'))")
    assert all(len(name) > 40 for name in names), names  # what a screen reader says
    assert (
        wait(opened, "document.querySelector('figure.wide canvas').width") >= 600
    )  # names on both sides leave room for the lines; it scrolls in its own box
    opened.execute_script("scrollTo(0, 0)")
    screenshot(opened, tmp_path / f"report-{size[0]}.png", whole=True)
    assert (tmp_path / f"report-{size[0]}.png").stat().st_size > 20_000
    opened.find_element(By.CSS_SELECTOR, "#matrix td button.cell").click()
    box = opened.find_element(By.ID, "record").rect
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= size[0]


# -- untrusted input ---------------------------------------------------------------------------------------------------


def test_no_text_of_a_record_runs_in_the_page(driver, tmp_path):
    """Each hostile text in every free field; every record opened, every chart drawn and pointed at, every filter."""
    records = []
    for text in corpus():
        facts = {"backend": text, "device": text, "run": text, "formulation": text, "rounds": [1, 2]}
        params = {text: text, "density": 0.1}
        records.append(idea([1e-3, 2e-3], **facts, params=params, fallback=text, least_bytes=7, execution="compiled"))
        records.append(idea([3e-3, 4e-3], **facts, params=params | {"density": 0.5}, flop=500))
        records.append(dense([1e-3, 1e-3], **facts))
        bad = {"status": "error", "reason": text, "failure_class": "other", "twins": [twin_ref()]}
        records.append(record(text, None, **facts, params={"m": text}, **bad))
    records = [
        msgspec.structs.replace(r, settings={r.case.backend: r.case.backend}, environment={r.run: r.run})
        for r in records
    ]
    info = load(QUICK).info
    runs = [
        msgspec.structs.replace(
            info, run=text, machine={"cpu": text, text: text}, versions={text: text}, command=[text]
        )
        for text in corpus()
    ]
    file = tmp_path / "hostile.html"
    summary = summarise(records, all_points=True)
    file.write_text(report_page.html(Published(summary=summary, records=records, runs=runs)), encoding="utf-8")
    resize(driver, DESKTOP)
    driver.get(file.as_uri())
    draw_all(driver)
    for mark in driver.find_elements(By.CSS_SELECTOR, "figure.chart canvas")[:6]:
        ActionChains(driver).move_to_element(mark).pause(0.05).perform()
    driver.set_script_timeout(120)
    driver.execute_script(
        "document.querySelector('main').hidden = true;"  # what is not laid out opens faster, and runs all the same
        "for (const b of document.querySelectorAll('#matrix button.cell')) {"
        "  b.click();"
        "  for (const d of document.querySelectorAll('dialog details')) d.open = true;"
        "  document.getElementById('close').click();"
        "}"
        "for (const s of document.querySelectorAll('form.filters select')) {"
        "  for (const o of s.options) { s.value = o.value; s.dispatchEvent(new Event('input', {bubbles: true})); }"
        "}"
    )
    time.sleep(0.5)
    assert driver.current_url == file.as_uri()
    assert planted(driver) == []
    assert (
        driver.execute_script("return document.querySelectorAll('main script, dialog script, img, iframe').length") == 0
    )
    assert complaints(driver) == []


def test_the_policy_stops_a_script_that_is_not_ours(driver, tmp_path, report):
    """The same page with a script planted in it: the browser refuses to run it, and says so."""
    text = Path(report.removeprefix("file://")).read_text(encoding="utf-8")
    for planted_text in ("<script>window.__xss = [1]</script>", '<img src="x" onerror="window.__xss = [2]">'):
        file = tmp_path / "planted.html"
        file.write_text(text.replace("<main>", f"<main>{planted_text}", 1), encoding="utf-8")
        driver.get(file.as_uri())
        time.sleep(0.2)
        assert planted(driver) == []
        assert any("Content Security Policy" in message for message in complaints(driver))
