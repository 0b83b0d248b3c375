"""The table of faults counts what passed, and writes nothing where a fault did harm."""

from __future__ import annotations

from collections import Counter

import pytest

from tools import faults
from tools.faults import Fuzzed, Row, added, counted, markdown, summed
from tools.kills import Toll

TESTS = """
import pytest

@pytest.mark.fault("a | bar", "text", times=5)
@pytest.mark.parametrize("n", [1, 2])
def test_twice(n):
    pass

@pytest.mark.fault("skipped", "text")
@pytest.mark.skip
def test_skipped():
    pass

def test_of_no_fault():
    raise AssertionError
"""


@pytest.fixture
def planted(tmp_path):
    path = tmp_path / f"test_{tmp_path.name}.py"  # pytest imports each by its name
    path.write_text(TESTS)
    return path


def test_a_fault_counts_for_each_parameter_and_only_where_it_was_tried(planted):
    assert counted([str(planted)]) == [Row(kind="text", tried="a | bar", times=10)]


def test_a_fault_that_does_harm_stops_the_table(planted, tmp_path, monkeypatch):
    planted.write_text(TESTS.replace("    pass", "    assert n == 1", 1))
    monkeypatch.setattr(faults, "FILE", tmp_path / "faults.json")
    with pytest.raises(SystemExit) as stop:
        faults.main(["--kills", "0", str(planted)])
    assert stop.value.code == 1
    assert not (tmp_path / "faults.json").exists()


def test_the_page_says_what_was_killed_and_shows_each_fault():
    tolls = {3: Toll(kills=Counter(parent=4), runs=1, torn=1), 4: Toll(kills=Counter({"parent": 1, "fork server": 2}))}
    text = markdown(summed([Row(kind="text", tried="a | bar", times=10)], tolls))
    assert text.startswith(
        "7 SIGKILLs at random moments of 1 runs (seeds 3 to 4; fork server 2, parent 5): 1 lines torn, "
    )
    assert text.endswith("| text | a \\| bar | 10 | 0 |")


TOLL = b'{"seed": 9, "kills": {"parent": 2}, "runs": 1, "torn": 0, "lost": 0, "twice": 0, "left": 0}'
FUZZED = b'{"engine": "atheris", "seed": 2, "inputs": {"smtx": 30, "words": 12}, "faults": 0}'


def test_runs_of_the_night_are_added_once():
    before = summed([], {3: Toll(kills=Counter(parent=4), runs=1), 4: Toll()})
    other = FUZZED.replace(b"smtx", b"info").replace(b', "words": 12', b"")
    after = added(before, [TOLL, FUZZED, TOLL, FUZZED, other, other])
    assert (after.seeds, after.kills, after.runs) == ([3, 4, 9], {"parent": 6}, 2)
    assert after.fuzzed[0] == Fuzzed(engine="atheris", seed=2, inputs={"smtx": 30, "words": 12}, faults=0)
    assert [run.inputs for run in after.fuzzed[1:]] == [{"info": 30}]
    text = markdown(after)
    assert "(seeds 3 to 4, 9; parent 6)" in text
    assert (
        "72 hostile and broken inputs, by engine: atheris 72 (seeds 2); by target: info 30, smtx 30, words 12." in text
    )


FLEET = TOLL.replace(b"{", b'{"fleet": true, ', 1).replace(b"parent", b"raylet")


def test_kills_of_fleets_are_told_apart_and_once():
    real = FLEET.replace(b"9", b"10").replace(b"{", b'{"real": true, ', 1)
    after = added(summed([], {9: Toll(kills=Counter(parent=4), runs=1)}), [FLEET, FLEET, real])
    assert (after.seeds, after.kills) == ([9], {"parent": 4})
    said = markdown(after).split("\n\n")[1]
    assert said.startswith("4 SIGKILLs at random moments of what carries a fleet of two Ray nodes (seeds 9 to 10; ")
    assert "raylet 4; 2 of them while it carried runs of NumPy, the others with stand-ins for runs)" in said
    assert said.endswith(", with 2 attempts at runs: 0 lines torn, 0 lost, 0 stored twice, 0 folders left.")


@pytest.mark.parametrize(
    ("line", "said"),
    [(b'{"seed": 9}', "is of no run"), (b"{", "is of no run"), (FUZZED.replace(b"0}", b"1}"), "found 1 faults")],
)
def test_what_is_no_run_and_what_found_a_fault_is_not_added(line, said):
    with pytest.raises(SystemExit, match=said):
        added(summed([], {}), [line])
