"""The page and the pictures: figures as in the summary, texts that cannot become markup, one file within its size."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from _records import dense, host_memory, idea, joules, record, twin_ref
from _xss import corpus

from harness.cli.formats import FORMATS
from harness.errors import UserError
from harness.figures.summary import summarise
from harness.records.store import load
from harness.report.published import Published
from harness.report.wording import speed_up_cell, tax_cell, time_cell
from harness.web import palette, pictures, record_details, report_page, templates
from harness.web.charts import charts
from harness.web.vega import DARK, LIGHT, dressed

QUICK = Path(__file__).resolve().parents[2] / "results" / "quick-cpu"


def published(records, runs=()):
    return Published(summary=summarise(records), records=records, runs=runs)


def failing():
    """Two backends: on one the idea runs, on the other it is unsupported in an unpleasant text; densities swept."""
    memory, energy = host_memory(2**20), joules(0.012, 0.005, 0.030, "modelled")
    out = []
    for density, seconds in ((0.1, 0.5e-3), (0.3, 1.4e-3)):
        params = {"m": 8, "k": 8, "n": 4, "density": density}
        rest = {"params": params, "backend": "jax", "rounds": [1, 2, 3], "execution": "compiled", "least_bytes": 500}
        times = [seconds, seconds * 1.1, seconds * 1.2]
        out.append(idea(times, memory=memory, energy=energy, flop=int(1000 * density), **rest))
    reason = "</script><b>no</b> " * 400
    out.append(
        record(
            status="unsupported",
            reason=reason,
            failure_class="not_implemented",
            backend="torch",
            params={"m": 8, "k": 8, "n": 4, "density": 0.1},
            twins=[twin_ref()],
            flop=100,
        )
    )
    twin = {"rounds": [1, 2, 3], "memory": memory, "energy": energy}
    return out + [dense([1.0e-3, 1.05e-3, 1.1e-3], backend=backend, **twin) for backend in ("jax", "torch")]


class Reader(HTMLParser):
    """What a page holds: its tags with attributes, the text of its scripts by id, the cells of its tables."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.scripts, self._script = [], {}, None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "script":
            self._script = dict(attributes).get("id", f"#{len(self.scripts)}")
            self.scripts[self._script] = ""

    def handle_endtag(self, tag):
        if tag == "script":
            self._script = None

    def handle_data(self, data):
        if self._script is not None:
            self.scripts[self._script] += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def quick():
    run = load(QUICK)
    return Published(summary=summarise(run.records), records=run.records, runs=[run.info])


@pytest.fixture(scope="module")
def quick_page(quick):
    return report_page.html(quick)


# -- the page ----------------------------------------------------------------------------------------------------------


def test_the_page_of_a_quick_run_is_one_file_within_six_megabytes_that_names_no_address(quick_page):
    assert len(quick_page.encode()) <= 6_000_000
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


def test_the_numbers_that_a_column_sorts_by_are_the_summary_s_own(quick, quick_page):
    values = {attributes.get("data-value") for attributes in Reader(quick_page).all("td")}
    for row in (*quick.summary.rows, *quick.summary.dense):
        assert str(row.time_s) in values
        assert row.principal is None or str(row.principal.tax) in values


def test_a_cell_opens_the_record_of_its_best_path(quick, quick_page):
    reader = Reader(quick_page)
    data = json.loads(reader.scripts["records"])
    numbers = {int(a["data-open"]) for a in reader.all("button") if "data-open" in a}
    best = {(r.workload, r.backend, r.point, r.path) for r in (*quick.summary.rows, *quick.summary.dense)}
    index = record_details.Index(quick.records)
    opened = {tuple(index.table[n][name] for name in ("workload", "backend", "point", "path")) for n in numbers}
    assert best <= opened
    assert all(data["records"][n]["time"]["samples_s"] for n in numbers)


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
    held = json.loads(hostile.scripts["records"])["records"]
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
    assert whole["records"][0]["time"]["samples_s"] == records[0].time.samples_s
    less = record_details.details(index, budget=20_000)
    assert less["samples_kept"] in (200, 60, 20)
    assert len(msgspec.json.encode(less)) <= 20_000


def test_thinned_samples_keep_their_order_and_both_ends():
    assert record_details.thinned([3.0, 1.0, 2.0], None) == [3.0, 1.0, 2.0]
    assert record_details.thinned(list(range(100)), 3) == [0, 50, 99]
    assert record_details.thinned(list(range(100)), 0) == []


def test_a_page_of_many_samples_stays_within_its_size():
    many = [
        idea([[1.23456789e-3 + 1e-9 * k for k in range(4000)]] * 3, backend=f"b{n}", rounds=[1, 2, 3])
        for n in range(60)
    ]
    text = report_page.html(published(many))
    assert len(text.encode()) <= 6_000_000
    assert json.loads(Reader(text).scripts["records"])["samples_kept"] is not None


def test_a_long_reason_is_cut_and_says_by_how_much():
    assert record_details.excerpt("x" * 5000) == "x" * 4000 + "… (1000 more characters in the record)"
    assert record_details.excerpt("short") == "short"
    assert record_details.excerpt(None) is None


# -- charts ------------------------------------------------------------------------------------------------------------


def by_group(made):
    groups = {}
    for chart in made:
        groups.setdefault(chart.group, []).append(chart)
    return groups


def test_a_quick_run_has_every_picture(quick):
    groups = by_group(charts(quick))
    assert list(groups) == [
        *("Tax", "Roofline", "Break-even", "Time, memory, energy", "Compilation", "Ranks", "Samples"),
    ]
    assert {chart.name for chart in groups["Time, memory, energy"]} == {"time-memory", "time-energy"}


def test_the_group_map_says_the_tax_of_every_row_and_words_where_there_is_none():
    (chart,) = by_group(charts(published(failing())))["Tax"]
    said = {(v["what"], v["where"]): (v["text"], v["level"]) for v in chart.spec["data"]["values"]}
    summary = published(failing()).summary
    assert len(said) == len(summary.rows) == 3
    assert [text for text, level in said.values() if level is None] == ["unsupported"]


def test_break_even_curves_have_the_summary_s_speed_ups_intervals_and_crossing():
    made = published(failing())
    (chart,) = by_group(charts(made))["Break-even"]
    values = {v["density"]: (v["value"], v["low"], v["high"]) for v in chart.spec["data"]["values"]}
    item = {r.params["density"]: r.principal for r in made.summary.rows if r.backend == "jax"}
    assert values == {d: (a.speed_up, a.speed_up_low, a.speed_up_high) for d, a in item.items()}
    (found,) = made.summary.break_even
    crossing = [layer["data"]["values"] for layer in chart.spec["layer"] if "data" in layer][-1]
    assert [c["x"] for c in crossing] == [found.value]


def test_the_roofline_has_every_ok_case_and_the_measured_ceilings(quick):
    (chart,) = by_group(charts(quick))["Roofline"]
    ok = [r for r in quick.records if r.status == "ok" and not r.control and r.case.workload != "stream"]
    assert len(chart.spec["data"]["values"]) == len(ok)
    roofs = chart.spec["layer"][1]["data"]["values"]
    peak = next(c for c in quick.summary.ceilings if c.working_set_bytes is None)
    assert max(roof["rate"] for roof in roofs) == pytest.approx(peak.per_s)
    streams = [c.per_s for c in quick.summary.ceilings if c.working_set_bytes is not None]
    slopes = {round(r["rate"] / r["intensity"] / max(streams), 6) for r in roofs if r["ceiling"].startswith("memory")}
    assert 1.0 in slopes


def test_ranks_are_the_summary_s_and_tied_ideas_stand_side_by_side(quick):
    (chart,) = by_group(charts(quick))["Ranks"]
    values = chart.spec["data"]["values"]
    for place in {v["where"] for v in values}:
        slots = sorted((v["slot"], v["rank"]) for v in values if v["where"] == place)
        assert [slot for slot, _ in slots] == list(range(1, len(slots) + 1))
        assert [rank for _, rank in slots] == sorted(rank for _, rank in slots)
        assert all(rank <= slot for slot, rank in slots)


def test_a_report_of_one_place_has_no_ranks():
    assert "Ranks" not in by_group(charts(published(failing())))


def test_colours_are_put_in_and_data_are_left_alone():
    spec = {"mark": {"color": "@ink"}, "data": {"values": [{"a": "@ink"}]}, "range": ["@tax-0", "@hue-0"]}
    for theme in (LIGHT, DARK):
        made = dressed(spec, theme)
        assert made["mark"]["color"] == theme.colours["@ink"]
        assert made["data"] == spec["data"]
        assert all(colour.startswith("#") for colour in made["range"])


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_every_colour_that_a_chart_names_exists(quick, theme):
    for chart in charts(quick):
        bare = json.loads(json.dumps(dressed(chart.spec, theme)))

        def words(node):
            if isinstance(node, dict):
                for name, value in node.items():
                    yield from () if name == "values" else words(value)
            elif isinstance(node, list):
                for value in node:
                    yield from words(value)
            elif isinstance(node, str):
                yield node

        assert not [word for word in words(bare) if word.startswith("@")]


# -- pictures ----------------------------------------------------------------------------------------------------------


def test_pictures_are_a_file_a_chart_and_the_same_bytes_each_time():
    made = published(failing())
    first = FORMATS["svg"].render(made)
    assert set(first) == {f"{chart.name}.svg" for chart in charts(made)}
    assert first == FORMATS["svg"].render(made)
    for name, content in first.items():
        assert content.startswith(b"<svg"), name
        assert b"<script" not in content
    assert b"unsupported" in first["tax.svg"]


def test_png_and_pdf_are_what_they_say():
    made = published(failing())
    chart = next(chart for chart in charts(made) if chart.name == "tax")
    spec = pictures.static(chart)
    assert bytes(pictures.converter().vegalite_to_png(spec))[:8] == b"\x89PNG\r\n\x1a\n"
    assert bytes(pictures.converter().vegalite_to_pdf(spec))[:5] == b"%PDF-"


def test_names_of_files_hold_nothing_of_a_record_that_leaves_the_folder():
    made = published([idea([1e-3], rounds=[1], backend="jax"), dense([1e-3], rounds=[1], backend="jax")])
    names = [chart.name for chart in charts(made)]
    hostile = [record("../../etc/" + text, [1e-3], rounds=[1], twins=[twin_ref()]) for text in corpus()]
    names += [chart.name for chart in charts(published([*hostile, dense([1e-3], rounds=[1], backend="numpy")]))]
    assert all(re.fullmatch(r"[a-z0-9_-]+", name) for name in names), names
    assert len(set(names[2:])) >= len(corpus())


def test_no_chart_is_one_sentence():
    with pytest.raises(UserError, match="there is no chart to draw"):
        pictures.svg(published([record(status="error", reason="x")]))


def test_a_missing_library_is_one_sentence_with_what_to_install():
    """In a process of its own, where the package cannot be imported."""
    code = (
        "import sys; sys.modules['vl_convert'] = None\n"
        "from harness.errors import UserError\nfrom harness.web import pictures\n"
        "try: pictures.converter()\nexcept UserError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert done.stdout == (
        'charts need vl-convert-python, which is not installed; try: python -m pip install -e ".[report]"\n'
    )


def test_a_page_shows_no_character_that_cannot_be_seen():
    """The record itself, as data, is kept as it was measured."""
    hidden = "over\u202eback\u200b\u0007\ufeff"
    page = report_page.html(published([idea([1e-3, 2e-3], formulation=hidden, reason=hidden), dense([1e-3, 2e-3])]))
    read = Reader(page)
    shown = page.replace(read.scripts["records"], "").replace(read.scripts["drawings"], "")
    assert "over\ufffdback\ufffd\ufffd\ufffd" in shown
    assert not set("\u202e\u200b\u0007\ufeff") & set(shown.replace(read.scripts["library"], ""))
