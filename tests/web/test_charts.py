"""Charts and pictures: marks as in the summary, files that open elsewhere."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from _published import Reader, failing, published
from _records import SHAPE, dense, idea, record, twin_ref
from _xss import corpus

from harness.cli.formats import FORMATS
from harness.errors import UserError
from harness.web import pictures, report_page
from harness.web.charts import charts
from harness.web.vega import DARK, LIGHT, dressed
from workloads.base import Axis

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
    values = {v["at"]: (v["value"], v["low"], v["high"]) for v in chart.spec["data"]["values"]}
    (found,) = made.summary.break_even
    assert values == {p.value: (1 / p.time_ratio, 1 / p.high, 1 / p.low) for p in found.curve}
    item = {r.params["density"]: r.principal for r in made.summary.rows if r.backend == "jax"}
    assert {d: value for d, (value, *_) in values.items()} == pytest.approx({d: a.speed_up for d, a in item.items()})
    crossing = [layer["data"]["values"] for layer in chart.spec["layer"] if "data" in layer][-1]
    assert [c["x"] for c in crossing] == [found.value]


def test_an_axis_that_is_called_as_a_column_of_the_chart_is_drawn_like_any_other(monkeypatch):
    """A point's place on the axis overwrote nothing of it, and nothing overwrote the place."""
    known = SimpleNamespace(axes={"value": Axis(break_even=True)}, formulations={})
    monkeypatch.setattr("harness.figures.break_even.workloads", lambda: ({idea([1.0]).case.workload: known}, ()))
    sweep = [idea([t] * 3, params={**SHAPE, "value": x}) for x, t in ((0.01, 0.25), (0.16, 4.0))]
    (chart,) = by_group(charts(published([*sweep, dense([1.0] * 3)])))["Break-even"]
    marks = chart.spec["data"]["values"]
    assert [mark["at"] for mark in marks] == [0.01, 0.16]
    assert [mark["value"] for mark in marks] == pytest.approx([4.0, 0.25])
    tips = [tip for layer in chart.spec["layer"] for tip in layer["encoding"].get("tooltip", ())]
    assert {"field": "at", "type": "nominal", "title": "value"} in tips


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


def test_ranks_are_the_summary_s_and_hold_the_place_that_each_idea_is_drawn_at(quick):
    (chart,) = by_group(charts(quick))["Ranks"]
    values = chart.spec["data"]["values"]
    for place in {v["where"] for v in values}:
        slots = sorted((v["slot"], [int(end) for end in v["rank"].split("–")]) for v in values if v["where"] == place)
        assert [slot for slot, _ in slots] == list(range(1, len(slots) + 1))
        assert all(ends[0] <= slot <= ends[-1] for slot, ends in slots)
    moved = {v["what"] for v in values if v["moved"]}
    assert len(moved) == sum(bool(shift.shift) for shift in quick.summary.lottery)


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
