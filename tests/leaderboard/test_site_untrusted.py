"""The site from hostile folders, in a parser and in a browser: nothing of theirs runs."""

from __future__ import annotations

import json
import random
import re
import shutil
from pathlib import Path

import msgspec
import pytest
from _records import dense, idea, twin_ref
from _site import Links
from _submissions import FAST, compiled, pair, run_info, three, write
from _xss import corpus
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import harness.leaderboard.build as command
from harness.leaderboard import site, submissions
from harness.leaderboard.build import build
from harness.leaderboard.submission import Refused, Submission
from harness.leaderboard.submissions import read

REAL = Path(__file__).resolve().parents[2] / "results" / "quick-cpu"


SLOWLY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=8,
)


@SLOWLY
@given(data=st.data())
def test_whatever_stands_in_a_file_it_is_shown_or_refused(tmp_path, open_gate, data):
    """A value anywhere in a valid submission is replaced, or bytes of the file are."""
    folder = tmp_path / "fuzz"
    shutil.rmtree(folder, ignore_errors=True)
    records = [msgspec.to_builtins(r) for r in pair(FAST, noise=0.1)]
    info = msgspec.to_builtins(run_info())
    target = data.draw(st.sampled_from([info, *records]))
    for _ in range(data.draw(st.integers(0, 5))):
        inner = [k for k in _keys(target) if isinstance(target[k], dict | list) and target[k]]
        if not inner:
            break
        target = target[data.draw(st.sampled_from(inner))]
    target[data.draw(st.sampled_from(_keys(target)))] = data.draw(JSON)
    folder.mkdir()
    text = json.dumps(info).encode(), b"".join(json.dumps(r).encode() + b"\n" for r in records)
    for name, content in zip(("run.json", "records.jsonl"), text, strict=True):
        raw = bytearray(content)
        for at, byte in data.draw(st.lists(st.tuples(st.integers(0, len(raw) - 1), st.integers(0, 255)), max_size=2)):
            raw[at] = byte
        (folder / name).write_bytes(bytes(raw))
    item = command.take_in(folder, "fuzz", tmp_path)
    assert isinstance(item, Submission | Refused)
    if isinstance(item, Refused):
        assert item.reasons
        assert not any(str(tmp_path) in reason for reason in item.reasons)
    board = command.leaderboard([item] if isinstance(item, Submission) else [], [], {})
    assert {name for name, _ in site.pages(board, {})} >= {"index.html", "feed.xml", "history.html"}
    for _, content in site.pages(board, {}):
        content.decode()


def _keys(value):
    return list(range(len(value))) if isinstance(value, list) else list(value)


@SLOWLY
@given(name=st.text(min_size=1, max_size=60).filter(lambda t: "/" not in t and "\x00" not in t))
def test_whatever_a_folder_is_called_the_feed_and_the_pages_can_be_read(open_gate, name):
    refused = Refused(name=submissions.plain(name), reasons=[submissions.plain(name)])
    text = dict(site.pages(command.leaderboard([], [refused], {}), {}))["refused.html"].decode()
    body = Links(text)
    assert body.found
    assert text.count("<script") == 1


def hostile(folder):
    """Every text of the corpus in every field that takes a text, a few submissions deep."""
    texts = corpus()
    rng = random.Random(0)
    for number in range(4):
        pick = iter(rng.sample(texts, len(texts)) * 20)
        shape = {"m": 8, next(pick): 4}
        where = {"backend": next(pick), "device": next(pick), "dtype": next(pick), "params": shape}
        run = next(pick)
        records = [
            idea(
                FAST,
                run=run,
                workload=next(pick),
                formulation=next(pick),
                fallback=next(pick),
                twins=[twin_ref(next(pick), params=shape)],
                **where,
            ),
            dense((1.0, 1.0, 1.0), run=run, formulation=next(pick), **where),
            idea(None, run=run, status="crash", reason=next(pick), workload=next(pick), formulation=next(pick)),
        ]
        refused = next(pick)
        records += [
            idea(None, run=run, status="unsupported", reason=refused, device="tpu-aot:v5e", workload=next(pick)),
            *compiled(device=f"tpu-aot:{next(pick)}", run=run, formulation=next(pick), workload=next(pick)),
        ]
        texts_of = {"settings": {next(pick): next(pick)}, "environment": {next(pick): next(pick)}}
        records = [msgspec.structs.replace(r, **texts_of, started_at=next(pick)) for r in records]
        info = {
            "machine": {"cpu": next(pick), "gpu": next(pick), "os": next(pick), f"gpu_{next(pick)}": next(pick)},
            "versions": {next(pick): next(pick), "torch": next(pick)},
            "settings": {"preset": next(pick), next(pick): next(pick)},
            "sources": {next(pick): next(pick)},
            "notes": texts,
            "command": texts,
            "started_at": f"2026-11-0{number + 1}T00:00:00Z",
        }
        write(folder / f"s{number}", records, **info)
    write(folder / "bad", pair(FAST), notes=texts)
    with (folder / "bad" / "records.jsonl").open("ab") as file:
        for text in texts:
            file.write(json.dumps({"schema": text, text: text}).encode() + b"\n")
    for number, text in enumerate(texts):
        name = re.sub("[/\x00]", "_", text).encode()[:200].decode(errors="ignore")
        (folder / f"{number}{name}").symlink_to("/etc")
    return folder


def test_no_text_of_a_submission_runs_in_a_browser(tmp_path, open_gate):
    import _browser

    if why := _browser.missing():
        pytest.skip(why)
    build([hostile(tmp_path / "in")], tmp_path / "site")
    pages = sorted((tmp_path / "site").glob("*.html"))
    assert sum("submission-" in p.name for p in pages) == 4
    assert sum("window.__xss" in p.read_text() for p in pages) >= 10  # the corpus is there, as text
    with _browser.browser() as driver:
        for page in pages:
            driver.get(page.as_uri())
            driver.execute_script("for (const d of document.querySelectorAll('details')) d.open = true")
            for button in driver.find_elements("css selector", "th button")[:6]:
                driver.execute_script("arguments[0].click()", button)
            assert _browser.planted(driver) == [], page.name
            assert driver.execute_script("return document.scripts.length") == 1, page.name
            assert driver.execute_script("return document.querySelectorAll('img,iframe,base,svg').length") == 0
            assert _browser.complaints(driver) == [], page.name
            assert _browser.sideways(driver) == 0, page.name


def test_what_would_run_without_the_escaping_is_seen(tmp_path):
    """The same browser, a page that lets the corpus through: the check can say no."""
    import _browser

    if why := _browser.missing():
        pytest.skip(why)
    page = tmp_path / "page.html"
    page.write_text("<!doctype html><meta charset=utf-8>" + corpus()[0])
    with _browser.browser() as driver:
        driver.get(page.as_uri())
        assert _browser.planted(driver) != []


@pytest.mark.parametrize("size", ["DESKTOP", "PHONE"])
def test_the_site_of_real_records_is_used_in_a_browser(tmp_path, open_gate, size):
    """Sorts, filters and follows links, on a desk and on a phone, with no complaint and no scrolling sideways."""
    import _browser

    if why := _browser.missing():
        pytest.skip(why)
    build([REAL, three(tmp_path / "in")], tmp_path / "site")
    with _browser.browser(getattr(_browser, size)) as driver:
        driver.get((tmp_path / "site" / "index.html").as_uri())
        _browser.screenshot(driver, tmp_path / f"{size}-index.png")
        driver.find_element("link text", "unstructured_sparse").click()
        last = driver.find_elements("css selector", "table.sortable")[-1]  # of the made-up point, m=8
        head = last.find_element("css selector", "thead th:nth-child(8) button")
        first = "return arguments[0].querySelector('tbody td:nth-child(8)').dataset.value"
        driver.execute_script("arguments[0].click()", head)  # time, ascending
        rising = float(driver.execute_script(first, last))
        driver.execute_script("arguments[0].click()", head)
        assert float(driver.execute_script(first, last)) > rising
        driver.find_element("link text", "Machines").click()
        driver.find_element("css selector", "input[type=search]").send_keys("processor 16")
        _browser.wait(driver, "document.querySelectorAll('#machines tbody tr:not([hidden])').length === 1")
        driver.find_element("css selector", "#machines tbody tr:not([hidden]) a").click()
        _browser.wait(driver, "document.querySelector('h1').textContent.startsWith('Processor A')")
        driver.get(next((tmp_path / "site").glob(f"submission-{submission_digest(REAL)[:32]}.html")).as_uri())
        rows = "document.querySelectorAll('#idea-rows tbody tr:not([hidden])').length"
        every = driver.execute_script(f"return {rows}")
        driver.find_element("css selector", "input[type=search]").send_keys("capsule_routing torch")
        _browser.wait(driver, f"{rows} === 1")
        assert every > 20
        _browser.screenshot(driver, tmp_path / f"{size}-submission.png")
        for page in ("index", "history", "refused", "submit", "machines", "idea-block_sparse"):
            driver.get((tmp_path / "site" / f"{page}.html").as_uri())
            assert _browser.sideways(driver) == 0, page
            assert _browser.complaints(driver) == [], page


def submission_digest(folder):
    item = read(folder, "it")
    assert not isinstance(item, Refused)
    return item[0].digest
