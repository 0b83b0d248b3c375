"""Who leads, who ties, what is never compared: the leaderboard's figures on submissions whose numbers are chosen."""

from __future__ import annotations

import math
import random

import msgspec
import pytest
from _records import dense, idea, joules, record, twin_ref
from _submissions import HARDWARE, compiled, pair, taken

from harness.leaderboard.boards import WIDEST, why_unranked
from harness.leaderboard.feed import sentences
from harness.leaderboard.site_cells import standing_cells
from harness.leaderboard.standings import counted, leaderboard
from harness.leaderboard.submission import MOST_ENTRIES, Refused, machine_of
from harness.stats.equivalence import span
from workloads.discovery import workloads

PRESETS = {"quick": {"unstructured_sparse": frozenset({("k=8,m=8,n=4", "forward")})}}


def board_of(*submissions, refused=(), presets=PRESETS):
    return leaderboard(submissions, refused, presets)


def said(rank):
    return None if rank is None else str(rank)


def ranks_of(board, workload="unstructured_sparse", at=0):
    standings = board.boards[workload][at].standings
    return {s.machine.facts["cpu"]: (said(s.speed_up_rank), said(s.tax_rank)) for s in standings}


def machine(name):
    return {"cpu": name}


FAST, MIDDLE, SLOW = (0.20, 0.21, 0.19), (0.50, 0.51, 0.49), (1.50, 1.51, 1.49)


def test_the_largest_speed_up_and_the_lowest_tax_lead():
    item = taken("a", pair(SLOW), machine=machine("slow"))
    two = taken("b", pair(FAST), machine=machine("fast"))
    three = taken("c", pair(MIDDLE), machine=machine("middle"))
    board = board_of(item, two, three)
    assert ranks_of(board) == {"fast": ("1", "1"), "middle": ("2", "2"), "slow": ("3", "3")}
    assert next(s.machine.facts["cpu"] for s in board.boards["unstructured_sparse"][0].standings) == "fast"


def test_overlapping_intervals_share_both_ranks():
    item = taken("a", pair((0.29, 0.30, 0.31)), machine=machine("a"))
    two = taken("b", pair((0.30, 0.31, 0.32)), machine=machine("b"))
    assert set(ranks_of(board_of(item, two)).values()) == {("1–2", "1–2")}


def test_a_difference_inside_the_noise_of_the_runs_is_a_tie():
    calm = [taken(d, pair(t, noise=0.01), machine=machine(d)) for d, t in (("a", (0.2,) * 3), ("b", (0.25,) * 3))]
    loud = [taken(d, pair(t, noise=0.20), machine=machine(d)) for d, t in (("a", (0.2,) * 3), ("b", (0.25,) * 3))]
    assert ranks_of(board_of(*calm)) == {"a": ("1", "1"), "b": ("2", "2")}
    assert ranks_of(board_of(*loud)) == {"a": ("1–2", "1–2"), "b": ("1–2", "1–2")}


def test_an_entry_too_unsure_to_place_has_no_rank_and_is_no_part_of_the_others():
    """It might have any rank, so that a few loud runs could widen every rank of a board."""
    unsure = taken("a", pair((0.01, 0.1, 0.9)), machine=machine("unsure"))
    item, two = (taken(d, pair(t), machine=machine(d)) for d, t in (("b", FAST), ("c", SLOW)))
    board = board_of(unsure, item, two)
    assert ranks_of(board) == {"b": ("1", "1"), "c": ("2", "2"), "unsure": (None, None)}
    why = board.boards["unstructured_sparse"][0].standings[-1].why
    assert why is not None
    assert why.startswith("too unsure")
    assert WIDEST == 4


def test_one_process_without_a_control_has_no_rank():
    single = taken("a", pair((0.2,), (1.0,)), machine=machine("single"))
    assert why_unranked(single.entries[0], single.noise) == (
        "one process and no A/A control: nothing says how sure it is"
    )
    assert why_unranked(single.entries[0], 0.1) is None


def test_what_failed_is_shown_without_a_rank():
    records = [idea(None, status="oom", reason="out of memory"), dense([1.0, 1.0])]
    board = board_of(taken("a", records, machine=machine("small")), taken("b", pair(FAST), machine=machine("large")))
    assert ranks_of(board) == {"large": ("1", "1"), "small": (None, None)}


def test_energy_is_ranked_within_its_source_only():
    def with_energy(digest, gross, source):
        records = [
            idea(FAST, energy=joules(gross, gross * 0.9, gross * 1.1, source=source)),
            dense((1.0, 1.0, 1.0), energy=joules(1.0, 0.9, 1.1, source=source)),
        ]
        return taken(digest, records, machine=machine(digest))

    several = [("a", 1.0, "counter"), ("b", 3.0, "counter"), ("c", 0.1, "modelled"), ("d", 9.0, "sampled")]
    board = board_of(*(with_energy(*item) for item in several))
    energy = board.boards["unstructured_sparse"][0].energy
    found = {source: [(s.machine.facts["cpu"], said(s.rank)) for s in standing] for source, standing in energy.items()}
    assert found == {"counter": [("a", "1"), ("b", "2")], "modelled": [("c", "1")], "sampled": [("d", "1")]}


def test_what_was_compiled_and_not_run_has_no_rank_even_where_it_claims_a_time():
    records = [*pair((1e-6,) * 3, device="tpu-aot:v5e"), *compiled()]
    board = board_of(taken("a", records, machine=machine("a")), taken("b", pair(SLOW), machine=machine("b")))
    item = board.boards["unstructured_sparse"][0]
    assert [(s.machine.facts["cpu"], said(s.speed_up_rank)) for s in item.standings] == [("b", "1")]
    assert [e.device for _, e in board.estimates["unstructured_sparse"]] == ["tpu-aot:v5e"]
    assert all(o.device == "cpu" for several in board.overall.values() for o in several)
    assert not board.boards["unstructured_sparse"][0].energy


def test_of_estimates_the_newest_of_each_framework_and_chip_is_shown_whoever_compiled_it():
    old = taken("a", compiled(), machine=machine("a"), started_at="2026-11-01T00:00:00Z")
    new = taken("b", compiled(), machine=machine("b"), started_at="2026-11-02T00:00:00Z")
    other = taken("c", compiled(device="tpu-aot:v4"), started_at="2026-11-01T00:00:00Z")
    board = board_of(new, old, other)
    assert not board.boards
    found = board.estimates["unstructured_sparse"]
    assert [(digest[0], e.device, e.tax) for digest, e in found] == [
        ("c", "tpu-aot:v4", pytest.approx(20)),
        ("b", "tpu-aot:v5e", pytest.approx(20)),
    ]


@pytest.mark.parametrize(
    "other",
    [
        {"cpu": "Processor B"},
        {"architecture": "aarch64"},
        {"cores_physical": 4},
        {"cores_logical": 8},
        {"cores_usable": 2},
        {"memory_bytes": 32 * 2**30},
        {"virtual_machine": True},
        {"accelerators": "one of these"},
        {"gpu_0": "another"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_different_hardware_is_never_one_machine(other):
    assert machine_of(HARDWARE).slug != machine_of(HARDWARE | other).slug


def test_another_system_or_load_is_the_same_hardware():
    assert machine_of(HARDWARE).slug == machine_of(HARDWARE | {"os": "Linux 7", "load_1min": 9.0}).slug


def test_the_accelerator_that_the_cases_ran_on_is_hardware():
    def on(digest, gpu, device="cuda:0"):
        records = [
            msgspec.structs.replace(r, settings={} if gpu is None else {"gpu": gpu}) for r in pair(FAST, device=device)
        ]
        return taken(digest, records)

    several = [on("a", "card A"), on("b", "card B"), on("c", None), on("d", None, "cpu"), on("e", "card A")]
    titles = [element.machine.title.partition("16 GiB")[2] for element in several]
    assert titles == [" · card A", " · card B", " · cuda without a name", "", " · card A"]
    assert len({item.machine.slug for item in several}) == 4


def test_points_are_in_the_order_of_their_numbers():
    shapes = [{"m": 8, "k": 8, "n": n} for n in (16, 8, 128, 1)]
    records = [r for s in shapes for r in pair(FAST, params=s, twins=[twin_ref(params=s)])]
    boards = board_of(taken("a", records)).boards["unstructured_sparse"]
    assert [board.point.rpartition("=")[2] for board in boards] == ["1", "8", "16", "128"]


def test_equal_hardware_is_shown_together_and_every_submission_stays():
    old = taken("a", pair(FAST, run="r1"), started_at="2026-11-01T10:00:00Z")
    new = taken("b", pair(SLOW, run="r2"), started_at="2026-11-02T10:00:00Z")
    board = board_of(new, old)
    assert [[s.short for s in several] for several in board.machines.values()] == [[old.short, new.short]]
    standing = board.boards["unstructured_sparse"][0].standings
    assert [s.submission for s in standing] == [new.digest]  # the newest stands for it, not the best, not a mean
    assert standing[0].entry.against.speed_up == pytest.approx(1 / 1.5)


def test_the_same_bytes_twice_are_one_submission():
    item = taken("a", pair(FAST))
    assert len(board_of(item, item).submissions) == 1


def test_two_submissions_that_claim_one_run_are_marked():
    board = board_of(taken("a", pair(FAST)), taken("b", pair(SLOW)), taken("c", pair(SLOW, run="r9")))
    marked = {submission.short[0]: submission.marks for submission in board.submissions}
    assert marked == {
        "a": ["another submission claims the same run: bbbbbbbb"],
        "b": ["another submission claims the same run: aaaaaaaa"],
        "c": [],
    }


def test_a_disturbed_run_is_marked_in_its_rows_and_in_the_feed():
    notes = ["the machine disturbed the run: other processes kept 1.69 cores busy"]
    board = board_of(
        taken("a", pair(FAST), notes=notes), taken("b", pair(SLOW, run="r9"), run="r9", machine=machine("b"))
    )
    standings = [s for b in board.boards["unstructured_sparse"] for s in b.standings]
    shown = {s.submission[0]: next(c.small for c in standing_cells(s) if "submission" in c.small) for s in standings}
    assert shown == {"a": "submission aaaaaaaa, disturbed", "b": "submission bbbbbbbb"}
    said = {s.short[0]: sentences(s, board.changes[s.digest]) for s in board.submissions}
    assert {name: "The machine disturbed this run." in words for name, words in said.items()} == {"a": True, "b": False}


def test_the_order_of_submissions_changes_nothing():
    several = [
        taken(
            d, pair((t, t * 1.1, t * 0.9), run=d, noise=0.05), machine=machine(d), started_at=f"2026-11-0{k}T00:00:00Z"
        )
        for k, (d, t) in enumerate((("a", 0.3), ("b", 0.2), ("c", 0.9), ("d", 0.5)), 1)
    ]
    refused = [Refused(name="x", reasons=["no"]), Refused(name="x", reasons=["never"])]
    first = msgspec.json.encode(board_of(*several, refused=refused).boards)
    shuffled = several[:]
    random.Random(0).shuffle(shuffled)
    again = board_of(*shuffled, refused=refused[::-1])
    assert msgspec.json.encode(again.boards) == first
    assert again.refused == [Refused(name="x", reasons=["never", "no"])]


def test_a_dense_computation_against_itself_is_on_no_board():
    twin = twin_ref("itself", "dense_cnn", params={"m": 8})
    calibration = record("dense_cnn", [1.0, 1.0], params={"m": 8}, twins=[twin])
    assert board_of(taken("a", [*pair(FAST), calibration])).boards.keys() == {"unstructured_sparse"}


def test_over_all_ideas_each_counts_once_whatever_its_points():
    """A: speed-ups 2 and 8 (mean 4) at two points, B: 1; over both ideas √(4·1) = 2, tax ∛-free: √(√(5·1.25)·10)."""
    points = [{"m": 8, "k": 8, "n": n} for n in (1, 2)]
    records = [
        *pair((0.5,) * 3, params=points[0], twins=[twin_ref(params=points[0])]),
        *pair((0.125,) * 3, params=points[1], twins=[twin_ref(params=points[1])]),
        idea((1.0,) * 3, workload="block_sparse", params={"m": 3, "k": 3, "n": 3}, twins=[twin_ref(params={"m": 3})]),
        dense((1.0,) * 3, params={"m": 3}),
    ]
    presets = {
        "quick": {
            "unstructured_sparse": frozenset({("k=8,m=8,n=1", "forward"), ("k=8,m=8,n=2", "forward")}),
            "block_sparse": frozenset({("k=3,m=3,n=3", "forward")}),
        }
    }
    whole = taken("a", records, machine=machine("whole"))
    part = taken("b", records[:4], machine=machine("part"))
    found = board_of(part, whole, presets=presets).overall["quick", "float32"]
    assert [(o.machine.facts["cpu"], o.ideas, o.of, said(o.speed_up_rank)) for o in found] == [
        ("whole", 2, 2, "1"),
        ("part", 1, 2, None),  # better in what it has, but a mean over fewer ideas is another figure
    ]
    assert found[0].speed_up == pytest.approx(2.0)
    assert found[0].tax == pytest.approx(math.sqrt(math.sqrt(5 * 1.25) * 10))


def test_what_counts_over_all_is_taken_from_the_workloads():
    presets = counted(workloads()[0].values())
    assert "smoke" not in presets
    assert set(presets["quick"]) >= {"unstructured_sparse", "capsule_routing", "local_update"}
    assert "dense_cnn" not in presets["quick"]  # calibration: 1 by definition
    assert all(points for ideas in presets.values() for points in ideas.values())


def test_history_says_what_got_faster_and_slower_and_who_took_a_lead():
    first = taken("a", pair(MIDDLE, run="r1"), started_at="2026-11-01T00:00:00Z")
    rival = taken("b", pair(SLOW, run="r2"), started_at="2026-11-02T00:00:00Z", machine=machine("rival"))
    better = taken("c", pair(FAST, run="r3"), started_at="2026-11-03T00:00:00Z", machine=machine("rival"))
    changes = board_of(better, first, rival).changes
    assert changes[first.digest].leads == []
    assert changes[first.digest].against is None
    assert changes[rival.digest].leads == []
    assert len(changes[better.digest].leads) == 1
    assert (changes[better.digest].faster, changes[better.digest].slower) == (1, 0)
    assert changes[better.digest].against == rival.digest
    assert changes[better.digest].best is not None
    assert changes[better.digest].best[0] == pytest.approx(0.2 / 1.5)


def test_a_span_is_the_interval_and_no_narrower_than_the_noise():
    assert span(2.0, 1.9, 2.1, 0.25) == (1.6, 2.5)
    assert span(2.0, 1.0, 4.0, 0.25) == (1.0, 4.0)
    assert span(2.0, None, None, None) is None
    assert span(None, None, None, 0.1) is None


def test_a_submission_of_very_many_rows_is_cut_and_says_so():
    shapes = [{"m": 8, "k": 8, "n": n} for n in range(1, MOST_ENTRIES + 4)]
    records = [r for s in shapes for r in pair((0.2, 0.2), (1.0, 1.0), params=s, twins=[twin_ref(params=s)])]
    item = taken("a", records)
    assert (len(item.entries), item.unseen) == (MOST_ENTRIES, 3)
