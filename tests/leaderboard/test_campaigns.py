"""A campaign's page: ideas down, machines across, shifts by ranks worked by hand, and whose ranks are left out."""

from __future__ import annotations

import pytest
from _records import SHAPE, dense, idea, twin_ref
from _site import Links
from _submissions import taken, write

from harness.leaderboard.build import build
from harness.leaderboard.campaigns import CAMPAIGN, MOST_MACHINES, campaigns, member_of
from harness.leaderboard.links import campaign_page
from harness.leaderboard.standings import leaderboard

SAME = {"sources": {"harness": "a" * 64}}
STILL = (1.0, 1.001, 0.999)


def _run(gains, run):
    """An idea for each gain over its twin, told apart by an axis."""
    out = []
    for n, gain in enumerate(gains, 1):
        params = SHAPE | {"n": n}
        out.append(idea([t / gain for t in STILL], params=params, twins=[twin_ref(params=params)], run=run))
        out.append(dense(list(STILL), params=params, run=run))
    return out


def _campaign(tmp_path, machines):
    """`machines`: name → several (gains, facts), a run each, in the folder of a campaign."""
    (tmp_path / CAMPAIGN).write_text("{}")
    read = []
    for k, (name, several) in enumerate(machines.items()):
        for j, (gains, facts) in enumerate(several):
            run = f"{name}{j}"
            known = {"started_at": f"2026-11-{1 + j:02}T0{k % 10}:00:00Z", "machine": {"cpu": name}, **SAME}
            item = taken(f"{k:x}{j:x}", _run(gains, run), **known | facts)
            read.append((tmp_path / "runs" / name / run, item))
    (found,) = campaigns(read, leaderboard([item for _, item in read], [], {}).submissions)
    return found


def test_ideas_shift_between_machines_by_the_gap_of_their_ranks(tmp_path):
    found = _campaign(tmp_path, {"a": [((4.0, 3.0, 2.0), {})], "b": [((2.0, 3.0, 4.0), {})]})
    assert [machine.name for machine in found.machines] == ["a", "b"]
    assert [row.shift for row in found.rows] == [2, 0, 2]
    first = found.rows[0]
    assert [str(cell.rank) for cell in first.cells] == ["1", "3"]
    assert [round(cell.entry.against.speed_up, 3) for cell in first.cells] == [4.0, 2.0]
    assert first.ranked == 3


def test_ideas_that_cannot_be_told_apart_shift_by_nothing_that_is_known(tmp_path):
    found = _campaign(tmp_path, {"a": [((2.0, 2.0), {})], "b": [((2.0, 2.0), {})]})
    assert [row.shift for row in found.rows] == [None, None]


def test_a_machine_of_other_sources_is_shown_and_not_ranked(tmp_path):
    other = {"sources": {"harness": "b" * 64}}
    machines = {"a": [((4.0, 2.0), {})], "b": [((4.0, 2.0), {})], "odd": [((2.0, 4.0), other)]}
    found = _campaign(tmp_path, machines)
    assert [machine.alike for machine in found.machines] == [True, True, False]
    assert [row.shift for row in found.rows] == [0, 0]
    assert [cell.rank is not None for cell in found.rows[0].cells] == [True, True, False]


def test_an_idea_that_a_machine_lacks_has_no_rank_and_an_empty_place(tmp_path):
    found = _campaign(tmp_path, {"a": [((4.0, 3.0, 2.0), {})], "b": [((4.0, 3.0), {})]})
    assert found.rows[2].cells[1] is None
    assert [row.ranked for row in found.rows] == [2, 2, 2]
    assert (found.rows[2].shift, found.rows[2].cells[0].rank) == (None, None)


def test_the_newest_run_of_a_machine_stands_and_an_earlier_one_fills_what_it_lacks(tmp_path):
    found = _campaign(tmp_path, {"a": [((4.0, 3.0), {}), ((5.0,), {})], "b": [((4.0, 3.0), {})]})
    assert [round(row.cells[0].entry.against.speed_up, 3) for row in found.rows] == [5.0, 3.0]


def test_machines_beyond_what_a_page_bears_are_counted(tmp_path):
    found = _campaign(tmp_path, {f"m{k:02}": [((2.0, 3.0), {})] for k in range(MOST_MACHINES + 2)})
    assert (len(found.machines), found.unseen) == (MOST_MACHINES, 2)
    assert all(len(row.cells) == MOST_MACHINES for row in found.rows)


def test_a_folder_is_of_a_campaign_by_where_it_lies_alone(tmp_path):
    run = tmp_path / "runs" / "a" / "r1"
    run.mkdir(parents=True)
    assert member_of(run) is None, "no campaign.json"
    (tmp_path / "elsewhere").write_text("{}")
    (tmp_path / CAMPAIGN).symlink_to(tmp_path / "elsewhere")
    assert member_of(run) is None, "a link"
    (tmp_path / CAMPAIGN).unlink()
    (tmp_path / CAMPAIGN).write_text("not read, so whatever it says")
    assert member_of(run) == (tmp_path, "a")
    assert member_of(tmp_path / "other" / "a" / "r1") is None
    assert member_of(tmp_path / "runs" / "a") is None


@pytest.mark.parametrize("name", ["a<script>", "b"])
def test_the_site_has_its_page_with_links_to_submissions(tmp_path, open_gate, name):
    place = tmp_path / "in" / "campaign"
    place.mkdir(parents=True)
    (place / CAMPAIGN).write_text("{}")
    for k, (machine, gains) in enumerate(((name, (4.0, 2.0)), ("z", (2.0, 4.0)))):
        write(place / "runs" / machine / "r", _run(gains, f"r{k}"), machine={"cpu": machine}, **SAME)
    write(tmp_path / "in" / "alone", _run((3.0,), "r9"))
    assert build([tmp_path / "in"], tmp_path / "site") == 0
    (page,) = (tmp_path / "site").glob("campaign-*.html")
    text = page.read_text()
    assert "<script>" not in text.replace('<script src="table.js" defer>', "")
    assert "rank 1 of 2" in text
    assert [row.count("submission-") for row in text.partition('id="machines"')[2].split("<tr>")[2:]] == [1, 1]
    assert text.count("submission-") >= 4
    assert campaign_page(page.stem.removeprefix("campaign-")) in (tmp_path / "site" / "index.html").read_text()
    there = {path.name for path in (tmp_path / "site").iterdir()}
    assert {link.partition("#")[0] for link in Links(text).found} - {"data:,", ""} <= there


def test_a_site_without_campaigns_says_nothing_of_them(tmp_path, open_gate):
    write(tmp_path / "in" / "a", _run((2.0,), "r1"))
    build([tmp_path / "in"], tmp_path / "site")
    assert "Campaign" not in (tmp_path / "site" / "index.html").read_text()
