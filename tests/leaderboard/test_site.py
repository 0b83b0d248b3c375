"""The site from folders of strangers: what it shows, what it refuses, and that nothing of theirs runs or leaves it."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

import pytest
from _records import dense, idea, twin_ref
from _site import Links, contents
from _submissions import FAST, compiled, dies_on_s2, name_only, pair, three, write

import harness.leaderboard.build as command
from harness.cli.main import run_cli
from harness.errors import UserError
from harness.leaderboard import site, submissions
from harness.leaderboard.build import build, taken_in
from harness.leaderboard.links import idea_page
from harness.leaderboard.submission import Refused
from harness.leaderboard.submissions import find, read

REAL = Path(__file__).resolve().parents[2] / "results" / "quick-cpu"


# -- what it shows -----------------------------------------------------------------------------------------------------


def test_the_same_records_make_the_same_bytes_wherever_they_lie_and_whatever_their_order(tmp_path, open_gate):
    three(tmp_path / "in")
    assert build([tmp_path / "in"], tmp_path / "site") == 0
    elsewhere = tmp_path / "else" / "where"
    for number, name in enumerate(("c", "deep/b", "a")):
        shutil.copytree(tmp_path / "in" / name, elsewhere / f"{number}")
    order = [elsewhere / "1", elsewhere / "0", elsewhere / "2"]
    assert build(order, tmp_path / "again" / "other") == 0
    first, second = contents(tmp_path / "site"), contents(tmp_path / "again" / "other")
    assert first == second
    assert not any(str(tmp_path).encode() in content for content in first.values())


def test_a_site_of_ours_is_replaced_whole(tmp_path, open_gate):
    three(tmp_path / "in")
    build([tmp_path / "in"], tmp_path / "site")
    (tmp_path / "site" / "stale.html").write_text("old")
    build([tmp_path / "in" / "a"], tmp_path / "site")
    assert not (tmp_path / "site" / "stale.html").exists()
    assert len(list((tmp_path / "site").glob("submission-*.html"))) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "site"]  # nothing half made is left beside it


def test_another_folder_is_never_overwritten(tmp_path, open_gate, capsys):
    three(tmp_path / "in")
    precious = tmp_path / "home"
    precious.mkdir()
    (precious / "thesis.tex").write_text("years")
    assert run_cli(["leaderboard", str(tmp_path / "in"), "-o", str(precious)]) == 2
    said = capsys.readouterr().err
    assert "holds something else than a site of ours" in said
    assert said.count("\n") == 1
    assert contents(precious) == {"thesis.tex": b"years"}


def test_a_site_that_cannot_be_finished_leaves_the_old_one(tmp_path, open_gate, monkeypatch):
    three(tmp_path / "in")
    build([tmp_path / "in"], tmp_path / "site")
    before = contents(tmp_path / "site")
    monkeypatch.setattr(site, "pages", lambda *_: (_ for _ in ()).throw(RuntimeError("full")))
    with pytest.raises(RuntimeError):
        build([tmp_path / "in"], tmp_path / "site")
    assert contents(tmp_path / "site") == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "site"]


def test_every_link_of_every_page_leads_to_something_in_the_site(tmp_path, open_gate):
    three(tmp_path / "in")
    build([tmp_path / "in"], tmp_path / "site")
    pages = {p.name: Links(p.read_text()) for p in (tmp_path / "site").glob("*.html")}
    assert len(pages) > 8
    for name, page in pages.items():
        assert page.found, name
        for address in page.found:
            parts = urlsplit(address)
            if parts.scheme == "data":
                continue
            assert not parts.scheme, address
            assert not parts.netloc, address
            target = unquote(parts.path) or name
            assert (tmp_path / "site" / target).is_file(), f"{name} → {address}"
            assert not parts.fragment or parts.fragment in pages[target].ids, f"{name} → {address}"


def test_each_submission_and_each_machine_has_its_page(tmp_path, open_gate):
    three(tmp_path / "in")
    build([tmp_path / "in"], tmp_path / "site")
    assert len(list((tmp_path / "site").glob("submission-*.html"))) == 3
    machines = {p.name: p.read_text() for p in (tmp_path / "site").glob("machine-*.html")}
    assert len(machines) == 2
    both = next(text for text in machines.values() if "<h1>B " in text)
    assert len(set(re.findall(r"submission-\w+\.html", both))) == 2
    page = (tmp_path / "site" / "idea-unstructured_sparse.html").read_text()
    assert "5.00×" in page  # 1.0 s over 0.2 s
    assert "2.00×" in page  # the tax: 0.2 over W = 0.1


def test_the_feed_is_atom_with_dates_of_the_records_and_stable_names(tmp_path, open_gate):
    three(tmp_path / "in")
    build([tmp_path / "in"], tmp_path / "site")
    atom = "{http://www.w3.org/2005/Atom}"
    feed = ElementTree.fromstring((tmp_path / "site" / "feed.xml").read_bytes())
    entries = feed.findall(f"{atom}entry")
    assert feed.findtext(f"{atom}updated") == "2026-11-03T00:00:00Z"
    assert [e.findtext(f"{atom}updated")[:10] for e in entries] == ["2026-11-03", "2026-11-02", "2026-11-01"]
    names = [e.findtext(f"{atom}id") for e in entries]
    assert len(set(names)) == 3
    assert all(name.startswith("urn:uuid:") for name in names)
    assert all((tmp_path / "site" / e.find(f"{atom}link").get("href")).is_file() for e in entries)
    write(tmp_path / "in" / "d", pair(FAST, run="r4"), started_at="2026-11-04T00:00:00Z", machine={"cpu": "D"})
    build([tmp_path / "in"], tmp_path / "site")
    later = ElementTree.fromstring((tmp_path / "site" / "feed.xml").read_bytes()).findall(f"{atom}entry")
    assert [e.findtext(f"{atom}id") for e in later[1:]] == names


def test_an_idea_has_all_its_entries_as_json(tmp_path, open_gate):
    three(tmp_path / "in")
    build([tmp_path / "in"], tmp_path / "site")
    rows = json.loads((tmp_path / "site" / "idea-unstructured_sparse.json").read_bytes())
    assert [(r["speed_up_rank_low"], r["speed_up_rank_high"]) for r in rows] == [(1, 1), (2, 2)]
    assert [r["speed_up"] for r in rows] == pytest.approx([5.0, 1 / 1.5])


def test_the_projects_own_records_are_shown_or_refused_with_reasons(tmp_path, capsys):
    """Through the real gate: what it says of the stored run is what the site says."""
    from harness.gate.validate import validate

    report = validate(REAL)
    assert run_cli(["leaderboard", str(REAL.parent), "-o", str(tmp_path / "site")]) == 0
    shown = list((tmp_path / "site").glob("submission-*.html"))
    assert bool(shown) == (not report.refusals)
    refused = (tmp_path / "site" / "refused.html").read_text()
    assert ("None." in refused) == (not report.refusals)
    assert str(REAL.parent) not in refused


# -- what it refuses ---------------------------------------------------------------------------------------------------


def test_a_refused_submission_is_listed_with_its_reasons_and_stops_nobody(tmp_path, open_gate, capsys):
    three(tmp_path / "in")
    (tmp_path / "in" / "a" / "records.jsonl").write_bytes(b'{"schema": 1}\n\xff\xfe\n')
    (tmp_path / "in" / "x").mkdir()
    (tmp_path / "in" / "x" / "run.json").write_text("{" * 100_000)
    (tmp_path / "in" / "x" / "records.jsonl").write_text("")
    assert build([tmp_path / "in"], tmp_path / "site") == 0
    refused = (tmp_path / "site" / "refused.html").read_text()
    assert refused.count("<section>") == 2
    assert "line 1 was left out" in refused
    assert "line 2 was left out" in refused
    assert str(tmp_path) not in refused
    assert len(list((tmp_path / "site").glob("submission-*.html"))) == 2
    assert capsys.readouterr().err.count("refused: ") == 2


def test_links_in_a_submission_are_never_followed(tmp_path, open_gate):
    secret = write(tmp_path / "secret", pair(FAST, run="r9"))
    folder = three(tmp_path / "in")
    (folder / "whole").symlink_to(secret)
    (folder / "part").mkdir()
    (folder / "part" / "run.json").symlink_to(secret / "run.json")
    (folder / "part" / "records.jsonl").symlink_to(secret / "records.jsonl")
    build([folder], tmp_path / "site")
    refused = (tmp_path / "site" / "refused.html").read_text()
    assert "it is a link" in refused
    assert "run.json: it is a link" in refused
    assert not any(b"r9" in content for name, content in contents(tmp_path / "site").items() if "submission" in name)


def test_a_pipe_is_not_waited_for(tmp_path, open_gate):
    folder = tmp_path / "in" / "pipe"
    folder.mkdir(parents=True)
    os.mkfifo(folder / "run.json")
    os.mkfifo(folder / "records.jsonl")
    found = find([tmp_path / "in"])
    assert read(*found.folders[0]) == Refused(
        name="pipe", reasons=["run.json: it is not a file; submit what `hwlottery run` wrote"]
    )


def test_what_is_too_large_is_not_opened(tmp_path, open_gate, monkeypatch):
    three(tmp_path / "in")
    monkeypatch.setitem(submissions.MOST_BYTES, "records.jsonl", 100)
    item = read(tmp_path / "in" / "a", "a")
    assert isinstance(item, Refused)
    assert "at most 100 are read" in item.reasons[0]


def test_what_lies_too_deep_is_refused(tmp_path, open_gate):
    deep = tmp_path / "in"
    for _ in range(submissions.MOST_DEPTH + 2):
        deep = deep / "d"
    write(deep, pair(FAST))
    write(tmp_path / "in" / "a", pair(FAST))
    found = find([tmp_path / "in"])
    assert [name for _, name in found.folders] == ["a"]
    assert "folders deep" in found.refused[0][1].reasons[0]


def test_too_many_files_or_submissions_are_one_sentence(tmp_path, open_gate, monkeypatch):
    three(tmp_path / "in")
    monkeypatch.setattr(submissions, "MOST_SUBMISSIONS", 2)
    with pytest.raises(UserError, match="3 submissions are more than the 2"):
        find([tmp_path / "in"])
    monkeypatch.setattr(submissions, "MOST_LOOKED_AT", 2)
    with pytest.raises(UserError, match="more than 2 files and folders"):
        find([tmp_path / "in"])


@pytest.mark.parametrize("made", [False, True])
def test_a_folder_without_submissions_is_one_sentence(tmp_path, capsys, made):
    if made:
        (tmp_path / "in").mkdir()
    assert run_cli(["leaderboard", str(tmp_path / "in"), "-o", str(tmp_path / "site")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert not (tmp_path / "site").exists()


def test_the_site_may_lie_among_the_submissions(tmp_path, open_gate):
    three(tmp_path / "in")
    build([tmp_path / "in"], tmp_path / "in" / "site")
    before = contents(tmp_path / "in" / "site")
    build([tmp_path / "in"], tmp_path / "in" / "site")
    assert contents(tmp_path / "in" / "site") == before


HOSTILE_NAMES = [
    "..",
    "../../../tmp/owned",
    "/etc/passwd",
    "a\x00b",
    "n" * 5000,
    "con",
    "index.html",
    ".hwlottery-site",
    "%2e%2e%2f",
    "<b>",
    "a/b\\c",
    "",
    " ",
    "\u202e",
]


def test_no_name_of_a_submission_becomes_a_path(tmp_path, open_gate):
    for number, name in enumerate(HOSTILE_NAMES):
        shape = {"m": 8, name: 8}
        records = [
            idea(
                FAST, run=name, workload=name, params=shape, twins=[twin_ref(params=shape)], backend=name, device=name
            ),
            dense([1.0, 1.0, 1.0], run=name, params=shape, backend=name, device=name),
        ]
        facts = {"cpu": name, "gpu": name}
        write(tmp_path / "in" / f"s{number}", records, machine=facts, settings={"preset": name}, versions={name: name})
    build([tmp_path / "in"], tmp_path / "out" / "site")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "out"]
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["site"]
    files = [p for p in (tmp_path / "out" / "site").rglob("*") if p.name != site.MARKER]
    assert all(p.is_file() and re.fullmatch(r"[a-z0-9_-]+\.(html|json|xml|css|js)", p.name) for p in files)
    assert len(list((tmp_path / "out" / "site").glob("submission-*.html"))) == len(HOSTILE_NAMES)


def test_page_names_are_words_or_digests():
    assert idea_page("block_sparse") == "idea-block_sparse.html"
    for name in HOSTILE_NAMES:
        assert re.fullmatch(r"idea-([a-z0-9_]{1,40}|[0-9a-f]{24})\.html", idea_page(name))


# -- reading in other processes ----------------------------------------------------------------------------------------


def test_many_submissions_are_read_by_several_processes_in_their_order(tmp_path):
    folders = [(write(tmp_path / "in" / f"s{k}", pair(FAST, run=f"r{k}")), f"s{k}") for k in range(command.FEW + 2)]
    found = list(taken_in(folders, tmp_path, reader=name_only))
    assert [item.reasons[0] for item in found] == [f"s{k}" for k in range(command.FEW + 2)]
    assert os.getpid() not in {int(found_one.name) for found_one in found}


def test_no_worker_is_forked_where_another_thread_may_hold_a_lock(monkeypatch):
    monkeypatch.setattr("threading.active_count", lambda: 2)
    with command._first_pool(1) as pool:
        assert pool._mp_context.get_start_method() == "forkserver"


@pytest.mark.skipif(not command._forks(), reason="pages are written by one process here")
@pytest.mark.filterwarnings("ignore:os.fork")  # of JAX, where another test of this process has imported it
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("dies", [False, True])
def test_a_site_written_by_several_processes_is_the_same_even_where_one_dies(tmp_path, open_gate, monkeypatch, dies):
    three(tmp_path / "in")
    build([tmp_path / "in"], tmp_path / "one")
    monkeypatch.setattr(command, "MANY_PAGES", 1)
    monkeypatch.setattr(command, "_cores", lambda: 2)
    parts, whole = [], site.pages

    def pages(board, titles, part, parts_):
        parts.append(part)
        if dies and os.getpid() != parent:
            os._exit(1)
        return whole(board, titles, part, parts_)

    parent = os.getpid()
    monkeypatch.setattr(site, "pages", pages)
    build([tmp_path / "in"], tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert parts == ([0, 1] if dies else [0]), "what a process did not write is written here"


def test_a_submission_that_kills_its_reader_is_refused_and_the_others_are_read(tmp_path):
    folders = [(tmp_path / f"s{k}", f"s{k}") for k in range(command.FEW + 2)]
    found = list(taken_in(folders, tmp_path, reader=dies_on_s2))
    assert [found_one.reasons[0] for found_one in found if found_one.name != "s2"] == ["s0", "s1", "s3", "s4", "s5"]
    assert "ended the process" in next(item.reasons[0] for item in found if item.name == "s2")


# -- across chips ------------------------------------------------------------------------------------------------------


def test_what_was_compiled_for_several_chips_has_a_page_and_for_one_chip_none(tmp_path, open_gate):
    """Of all submissions together: a compiler says the same on every machine."""
    write(tmp_path / "in" / "a", compiled("tpu-aot:v5e"))
    build([tmp_path / "in"], tmp_path / "site")
    assert not (tmp_path / "site" / "chips.html").exists()
    assert "chips.html" not in (tmp_path / "site" / "index.html").read_text()
    write(tmp_path / "in" / "b", compiled("gpu-aot:H100"), started_at="2026-11-02T00:00:00Z", run="r1")
    build([tmp_path / "in"], tmp_path / "site")
    page = (tmp_path / "site" / "chips.html").read_text()
    assert "v5e" in page
    assert "H100" in page
    assert "20.0× (1)" in page
    assert 'href="chips.html"' in (tmp_path / "site" / "index.html").read_text()
