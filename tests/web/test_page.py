"""The page and the pictures: figures as in the summary, texts that cannot become markup, one file within its size."""

from __future__ import annotations

import json
import re

import msgspec
import pytest
from _published import Reader, failing, published, unpacked
from _records import dense, idea, record
from _xss import corpus
from markupsafe import escape

from harness.report.wording import speed_up_cell, tax_cell, time_cell
from harness.web import palette, pictures, record_details, report_page, templates
from harness.web.charts import charts
from harness.web.packed import packed

# -- the page ----------------------------------------------------------------------------------------------------------


def test_the_page_of_a_quick_run_is_one_file_within_three_megabytes_that_names_no_address(quick_page):
    assert len(quick_page.encode()) <= 3_000_000
    reader = Reader(quick_page)
    for name, attributes in reader.tags:
        for key in ("src", "href", "action", "data", "srcset"):
            target = attributes.get(key)
            assert target is None or target.startswith(("#", "data:,")), (name, target)


def test_every_figure_of_the_summary_stands_in_the_page_in_the_words_of_the_other_formats(quick, quick_page):
    text = quick_page.split('<script type="application/json"')[0]
    for row in quick.summary.rows:
        for cell in (time_cell(row), tax_cell(row.principal), speed_up_cell(row.principal)):
            for piece in re.findall(r"[\d.]+ ?[mµn]?s\b|[\d.]+×|\[[^\]]+\]", cell):
                assert piece in text


def test_the_answer_in_words_stands_before_the_tables(quick, quick_page):
    assert len(quick.summary.answer) > 2
    for sentence in quick.summary.answer:
        assert quick_page.index(str(escape(sentence))) < quick_page.index('id="lottery"')


def test_a_failed_record_says_what_to_do():
    data = unpacked(Reader(report_page.html(published(failing()))).scripts["records"])
    assert any("to do: " in record.get("explained", "") for record in data["records"])


def test_many_ideas_stand_together_by_what_they_leave_out_as_in_the_terminal():
    """A line above each group says what; of few ideas there is none."""
    names = ("block_sparse", "capsule_conv", "decision_forest", "spiking", "kaleidoscope", "early_exit", "nm_sparse",
             "capsule_routing", "selective_scan")  # fmt: skip
    records = [idea([0.5, 0.51, 0.49], workload=name, params={"m": 8}) for name in names]
    made = [*records, dense([1.0, 1.01, 0.99])]
    page = report_page.html(published(made))
    lottery = page[page.index('id="matrix"') : page.index('id="figures"')]
    found = re.findall(r'<tr class="band"><th[^>]*>([^<]*)</th>|<th scope="row">(\w+)', lottery.replace("<wbr>", ""))
    lines = [band or name for band, name in found]
    assert lines[:3] == ["leaves out zeros", "block_sparse", "nm_sparse"]
    assert lines[3:6] == ["leaves out scalar units", "capsule_conv", "capsule_routing"]
    assert sorted(name for name in lines if name in names) == sorted(names)
    assert '<tr class="band"><th' not in report_page.html(published([*records[:3], made[-1]]))


def test_the_numbers_that_a_column_sorts_by_are_the_summary_s_own(quick, quick_page):
    values = {attributes.get("data-value") for attributes in Reader(quick_page).all("td")}
    for row in (*quick.summary.rows, *quick.summary.dense):
        assert str(row.time_s) in values
        assert row.principal is None or str(row.principal.tax) in values


def test_a_cell_opens_the_record_of_its_best_path(quick, quick_page):
    reader = Reader(quick_page)
    data = unpacked(reader.scripts["records"])
    numbers = {int(a["data-open"]) for a in reader.all("button") if "data-open" in a}
    best = {(r.workload, r.backend, r.point, r.path) for r in (*quick.summary.rows, *quick.summary.dense)}
    index = record_details.Index(quick.records)
    opened = {tuple(index.table[n][name] for name in ("workload", "backend", "point", "path")) for n in numbers}
    assert best <= opened
    assert all(data["records"][n]["time"]["samples"] for n in numbers)


def test_the_same_records_give_the_same_bytes():
    records = failing()
    assert report_page.html(published(records)) == report_page.html(published(records))


def test_where_nothing_ran_the_cell_is_empty_and_says_why_and_never_0():
    text = report_page.html(published(failing()))
    cell = next(c for c in re.findall(r"<td data-entry.*?</td>", text, re.DOTALL) if "unsupported" in c)
    assert 'data-value=""' in cell
    assert "<b>–</b>" in cell
    assert "tax-" not in cell.split("data-f-")[0] + cell.split("<button")[1]
    row = next(
        r for r in re.findall(r"<tr data-entry.*?</tr>", text, re.DOTALL) if ">torch<" in r and "unsupported" in r
    )
    assert row.count('data-value=""') == 6  # time, speed-up, tax, memory, energy, share
    assert ">0<" not in row


def test_energy_keeps_its_bounds_and_its_source():
    assert re.search(r"12\.0 mJ modelled<small>\[5\.0, 30\.0\]</small>", report_page.html(published(failing())))


def test_no_records_is_a_page_with_a_sentence():
    text = report_page.html(published([]))
    assert "nothing was measured" in text
    assert Reader(text).all("table") == []


def test_no_text_of_a_record_becomes_markup_or_ends_its_script():
    """Every field that a record leaves free holds each of the hostile texts once."""
    records = []
    for text in corpus():
        facts = {"backend": text, "device": text, "run": text, "formulation": text, "reason": text}
        records.append(idea([1e-3, 2e-3], **facts, params={text: 1, "density": 0.1}, fallback=text))
        records.append(record(text, None, **facts, status="error", params={"m": text}))
    records = [msgspec.structs.replace(r, settings={r.case.backend: r.case.backend}) for r in records]
    tame = [idea([1e-3, 2e-3], backend=f"b{n}", run="r", formulation="f", reason="x") for n in range(len(corpus()))]
    hostile, plain = Reader(report_page.html(published(records))), Reader(report_page.html(published(tame)))
    # Only our own elements: nothing that the tame page lacks, no handler, and as many scripts.
    assert {name for name, _ in hostile.tags} <= {name for name, _ in plain.tags}
    assert len(hostile.all("script")) == len(plain.all("script")) == 5
    ours = {name for _, attributes in plain.tags for name in attributes} | {"data-f-run"}
    assert {name for _, attributes in hostile.tags for name in attributes} <= ours
    held = unpacked(hostile.scripts["records"])["records"]
    assert {r["reason"] for r in held} == set(corpus())


def test_scripts_of_the_page_never_make_markup_of_text():
    for name in ("table.js", "report.js"):
        script = templates.asset(name)
        for way in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "DOMParser",
        ):
            assert way not in script, f"{name} uses {way}"


def test_no_text_of_a_record_stands_in_an_expression_of_a_chart():
    """Expressions are code to the library, however well their strings are quoted."""
    records = []
    for text in corpus():
        facts = {"backend": text, "device": text, "run": text, "formulation": text, "rounds": [1, 2]}
        for density in (0.1, 0.5):
            params = {text: text, "density": density}
            records.append(idea([1e-3, 2e-3], **facts, params=params, execution="compiled", flop=int(1000 * density)))
        records.append(dense([1e-3, 1e-3], **facts))
    made = charts(published(records))
    assert {chart.group for chart in made} >= {"Tax", "Roofline", "Break-even", "Compilation", "Samples"}

    def expressions(node, name=""):
        if isinstance(node, dict):
            for key, value in node.items():
                yield from () if key == "values" else expressions(value, key)
        elif isinstance(node, list):
            for value in node:
                yield from expressions(value, name)
        elif isinstance(node, str) and name in ("expr", "signal", "update", "test", "init"):
            yield node

    for chart in {chart.group: chart for chart in made}.values():
        found = list(expressions(pictures.converter().vegalite_to_vega(pictures.static(chart))))
        assert found
        assert not [text for text in found if "__xss" in text or "__proto__" in text], chart.name


# -- what all pages share ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", corpus())
def test_embedded_data_read_back_the_same_and_hold_nothing_that_ends_a_script(text):
    shown = str(templates.embed({"a": text}))
    assert not re.search(r"[<>&\u2028\u2029]", shown)
    assert json.loads(shown) == {"a": text}


def test_an_asset_that_would_end_its_own_element_is_refused():
    with pytest.raises(ValueError, match="end of its own element"):
        templates.inline("x = '</SCRIPT>'")
    assert templates.inline("x < 1") == "x < 1"


def test_the_policy_runs_the_named_texts_only():
    made = templates.policy(scripts=("a()",), styles=("b{}",))
    assert "default-src 'none'" in made
    assert "unsafe" not in made
    assert "http" not in made
    # printf 'a()' | openssl sha256 -binary | base64
    assert re.search(r"script-src 'sha256-[A-Za-z0-9+/]{43}='; style-src 'sha256-[A-Za-z0-9+/]{43}='", made)
    assert "script-src 'none'" in templates.policy()
    assert "script-src 'self'" in templates.policy(own_files=True)


def test_a_tax_of_1_is_neutral_and_unknown_has_no_colour():
    assert palette.tax_level(None) is None
    assert [palette.tax_level(t) for t in (0.1, 1.0, 2.0, 100.0)] == [0, 3, 5, 8]


@pytest.mark.parametrize(
    ("fills", "inks"),
    [(palette.TAX_LIGHT, palette.TAX_INK_LIGHT), (palette.TAX_DARK, palette.TAX_INK_DARK)],
    ids=["light", "dark"],
)
def test_numbers_can_be_read_on_every_colour_of_the_scale(fills, inks):
    def luminance(colour):
        digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
        parts = [int(digits[k : k + 2], 16) / 255 for k in (0, 2, 4)]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for fill, ink in zip(fills, inks, strict=True):
        high, low = sorted((luminance(fill), luminance(ink)), reverse=True)
        assert (high + 0.05) / (low + 0.05) >= 4.5, (fill, ink)  # WCAG 2.2, 1.4.3


# -- the records behind the cells --------------------------------------------------------------------------------------


def test_samples_are_thinned_only_as_far_as_the_budget_asks():
    records = [idea([[1e-3 + 1e-6 * k for k in range(500)]], backend=f"b{n}") for n in range(4)]
    index = record_details.Index(records)
    whole = record_details.details(index, budget=10_000_000)
    assert whole["samples_kept"] is None
    assert [len(samples) for samples in whole["records"][0]["time"]["samples"]] == [500]
    less = record_details.details(index, budget=8_000)
    assert less["samples_kept"] in (200, 60, 20)
    assert len(msgspec.json.encode(packed(less))) <= 8_000


@pytest.mark.parametrize("samples", [[0.0367311, 0.0370079], [9.999e-8, 1.0], [0.0, 2.5e-3], [5e-324, 1e308]])
def test_samples_keep_four_digits_of_the_fastest(samples):
    index = record_details.Index([idea([samples])])
    time = record_details.details(index, budget=10_000_000)["records"][0]["time"]
    shown = [count * time["unit_s"] for count in time["samples"][0]]
    assert all(type(count) is int and count <= 10**15 for count in time["samples"][0])
    if max(samples) < 1e10 * min(s for s in samples if s):
        assert shown == pytest.approx(samples, rel=5e-4)


def test_packed_data_are_what_they_were():
    data = {
        "a": [{"x": 1, "y": "a text"}, {"x": None, "y": "a text"}, {"__proto__": [], "y": [[0, 1.5], True]}],
        "b": {},
    }
    assert unpacked(msgspec.json.encode(packed(data))) == data
    assert packed(data)["texts"] == ["a text"], "kept once"
    assert unpacked(msgspec.json.encode(packed([32685.88306, 1234567.0, 1e-7 / 3]))) == [32685.9, 1234567.0, 3.33333e-8]


def test_the_page_of_the_stored_run_has_every_sample(quick, quick_page):
    held = unpacked(Reader(quick_page).scripts["records"])
    assert held["samples_kept"] is None
    timed = [r.time for r in quick.records if not r.control]
    counts = [[len(samples) for samples in time.samples_s] if time else None for time in timed]
    assert [r["time"] and [*map(len, r["time"]["samples"])] for r in held["records"]] == counts


def test_thinned_samples_keep_their_order_and_both_ends():
    assert record_details.thinned([3.0, 1.0, 2.0], None) == [3.0, 1.0, 2.0]
    assert record_details.thinned(list(range(100)), 3) == [0, 50, 99]
    assert record_details.thinned(list(range(100)), 0) == []


def test_a_page_of_many_samples_stays_within_its_size():
    many = [
        idea([[1.23456789e-3 + 1e-9 * k for k in range(8000)]] * 3, backend=f"b{n}", rounds=[1, 2, 3])
        for n in range(60)
    ]
    text = report_page.html(published(many))
    assert len(text.encode()) <= 6_000_000
    assert unpacked(Reader(text).scripts["records"])["samples_kept"] is not None


def test_a_long_reason_is_cut_and_says_by_how_much():
    assert record_details.excerpt("x" * 5000) == "x" * 4000 + "… (1000 more characters in the record)"
    assert record_details.excerpt("short") == "short"
    assert record_details.excerpt(None) is None
