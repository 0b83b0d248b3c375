"""What is measured first, what is looked at beside what, and which groups prepare at the same time."""

from __future__ import annotations

import dataclasses
from dataclasses import replace

import msgspec
import pytest
from _records import record

from backends.discovery import backends
from harness.planning import batches as planning_batches
from harness.planning import plan
from harness.planning.batches import MOST_ALIVE, batches
from harness.planning.contenders import NEAR, published
from harness.planning.groups import MEMBERS, PROCESS_BYTES, InterleavedGroup, Member, twin_points
from harness.planning.looks import behind_twins, doubting, firsts, looks, neglected_twins, worth
from harness.planning.plan import Ask
from workloads.discovery import workloads


class Known:
    """Expects `times` of formulation/execution, and nothing of what is not there."""

    def __init__(self, **times):
        self.times = times

    def expected(self, planned):
        return self.times.get(f"{planned.case.formulation}_{planned.case.execution}")

    def seconds(self, planned, *, cold, again):
        return 2.0 if cold else 1.0


@pytest.fixture(scope="module")
def planned():
    ask = Ask(preset="quick", workloads=("unstructured_sparse",), backends=("torch", "jax"))
    return plan.cases(ask, workloads()[0], backends()[0])


def names(cases):
    return [(p.case.backend, p.case.workload, p.case.formulation, p.case.execution) for p in cases]


def test_first_comes_what_is_expected_to_be_best_of_ideas_and_principal_twins(planned):
    found = firsts(planned, Known(csr_eager=1.0, bag_compiled=1.02, coo_eager=1.5, nn_eager=2.0, nn_compiled=1.0))
    twins = {t for p in planned if p.headline for t in twin_points(p)[:1]}
    assert {p.point for p in found} == {p.point for p in planned if p.headline} | twins
    assert all(p.repeated for p in found)
    ideas = {(f, e) for _, w, f, e in names(found) if w == "unstructured_sparse"}
    assert ideas == {("csr", "eager")}
    assert {e for _, w, f, e in names(found) if (w, f) == ("dense_matmul", "nn")} == {"compiled"}


def test_where_nothing_is_known_one_formulation_of_every_point_is_first_eager_and_compiled(planned):
    found = firsts(planned, Known())
    assert {p.point for p in found} < {p.point for p in planned if p.repeated}, "secondary twins can wait"
    assert len(found) == 2 * len({(*p.point, p.case.formulation) for p in found})
    assert {p.case.execution for p in found} == {"eager", "compiled"}


def _known(planned, seconds):
    made = record(processes=[seconds], rounds=[1])
    return {(planned.case.key, False): msgspec.structs.replace(made, case=planned.case)}


def test_a_look_is_beside_the_best_that_is_known_of_the_same_point(planned):
    point = next(p for p in planned if p.headline and p.case.backend == "torch").point
    same = [p for p in planned if p.point == point]
    best, known = same[0], _known(same[0], 1.0)
    groups = looks(same, planned, known)
    assert {m.planned.case.key for g in groups for m in g.members} == {p.case.key for p in same}
    assert all(group.members[0].planned is best and len(group.members) <= MEMBERS for group in groups)
    assert all({m.planned.point for m in group.members} == {point} for group in groups)


def test_a_sweep_is_beside_the_best_of_its_twin(planned):
    swept = [p for p in planned if not p.survey and not p.repeated and p.case.backend == "jax"]
    dense = {p.point: p for p in planned if p.case.workload == "dense_matmul" and p.case.backend == "jax"}
    known = {k: r for p in dense.values() for k, r in _known(p, 1.0).items()}
    groups = looks([p for p in swept if p.case.workload == "unstructured_sparse"], planned, known)
    assert groups
    for group in groups:
        first, *rest = [member.planned for member in group.members]
        assert first.case.workload == "dense_matmul"
        assert {p.family for p in rest} == {rest[0].family}
        twin = rest[0].twins[0]
        assert (first.case.params, first.case.mode) == (twin.params, twin.mode)


def test_what_has_a_record_is_not_looked_at_again_and_apart_each_is_alone(planned):
    known = {k: r for p in planned[:5] for k, r in _known(p, 1.0).items()}
    alone = looks(planned, planned, known, together=False)
    assert [len(group.members) for group in alone] == [1] * (len(planned) - 5)


def test_a_look_holds_no_more_than_fits_into_memory(planned):
    same = [p for p in planned if p.point == planned[0].point]
    groups = looks(same, planned, {}, memory_bytes=2 * PROCESS_BYTES)
    assert [len(group.members) for group in groups] == [1] * len(same)


# -- batches -----------------------------------------------------------------------------------------------------------


def group(number, planned, size, backend, device="cpu"):
    case = msgspec.structs.replace(planned.case, backend=backend, device=device)
    return InterleavedGroup(number, tuple(Member(replace(planned, case=case)) for _ in range(size)))


def test_a_batch_has_groups_of_every_server_while_there_is_room(planned, monkeypatch):
    monkeypatch.setattr(planning_batches, "MOST_ALIVE", 16)
    groups = [group(n, planned[0], 4, backend) for n, backend in enumerate(["a", "a", "a", "b", "c", "a"])]
    found = list(batches(groups, {}))
    assert sorted(g.number for batch in found for g in batch) == list(range(6))
    assert [g.server[0] for g in found[0]] == ["a", "b", "c", "a"]
    assert all(sum(len(g.members) for g in batch) <= 16 for batch in found)


def test_a_group_that_is_larger_than_the_room_is_measured_all_the_same(planned):
    groups = [group(0, planned[0], MOST_ALIVE + 1, "a"), group(1, planned[0], 1, "b")]
    assert [[g.number for g in batch] for batch in batches(groups, {})] == [[0], [1]]
    small = [group(n, planned[0], 1, "a") for n in range(3)]
    assert [len(batch) for batch in batches(small, {}, memory_bytes=PROCESS_BYTES)] == [1, 1, 1]


def test_on_an_accelerator_a_group_is_by_itself(planned):
    groups = [group(0, planned[0], 1, "a", "cuda"), group(1, planned[0], 1, "a"), group(2, planned[0], 1, "b", "cuda")]
    assert [[g.number for g in batch] for batch in batches(groups, {})] == [[0], [1], [2]]


def test_worth_is_what_is_promised_over_the_seconds_that_it_takes_with_cold_caches(planned):
    class Told(Known):
        def promise(self, planned):
            return 0.5

    one, two = planned[:2]
    assert worth([one], Told()) == pytest.approx(0.25)
    assert worth([one, two], Told()) == pytest.approx(0.25)


def test_what_multiplies_with_the_zeros_is_likely_the_best_where_the_twin_is_faster_and_nowhere_else(planned):
    class Slow(Known):
        def promise(self, planned):
            return 1e-3

    sparse = next(p for p in planned if twin_points(p))
    dense_again = dataclasses.replace(sparse, multiplies_zeros=True)
    assert doubting([sparse, dense_again], Slow(), {sparse.point: 1.1}) == [dense_again]
    assert doubting([sparse, dense_again], Slow(), {}) == []
    assert doubting([dense_again], Slow(), {sparse.point: 1.04}) == [], "which may be noise"
    fewer = tuple(msgspec.structs.replace(twin, kind="active_width") for twin in sparse.twins)
    assert doubting([dataclasses.replace(dense_again, twins=fewer)], Slow(), {sparse.point: 1.1}) == []


def test_of_a_twin_that_was_tried_by_slow_paths_alone_the_one_that_is_known_to_be_faster_is_wanted(planned):
    """Such as the gate refuses: `slow-twin`."""
    idea = next(p for p in planned if twin_points(p))
    paths = [p for p in planned if p.point == twin_points(idea)[0]]
    figures = {p.case.key: published().closest(p) for p in paths}
    known = sorted((p for p in paths if figures[p.case.key]), key=lambda p: figures[p.case.key])
    fastest, slowest = known[0], known[-1]
    assert figures[slowest.case.key] > NEAR * figures[fastest.case.key]
    cases = [idea, *paths]
    assert neglected_twins(cases, {slowest.case.key}) == [fastest]
    assert neglected_twins(cases, {slowest.case.key, fastest.case.key}) == []
    assert neglected_twins(cases, set()) == []
    assert neglected_twins(paths, {slowest.case.key}) == [], "nobody's twin"


def test_a_point_that_is_slower_than_its_twin_is_worth_as_much_more_as_it_is_slower(planned):
    class Told(Known):
        def promise(self, planned):
            return 0.5

    idea = next(p for p in planned if twin_points(p))
    other, of_idea = (next(p for p in planned if p.point == point) for point in (twin_points(idea)[0], idea.point))
    assert of_idea is idea

    def measured(of_idea_s, of_twin_s):
        times = ((idea, of_idea_s), (other, of_twin_s))
        return {p.case.key: msgspec.structs.replace(record(processes=[s]), case=p.case) for p, s in times if s}

    behind = behind_twins(planned, measured(6.0, 2.0))
    assert behind == {idea.point: pytest.approx(3.0)}
    assert worth([idea], Told(), behind) == pytest.approx(3 * worth([idea], Told()))
    assert worth([other], Told(), behind) == worth([other], Told())
    dense_again = dataclasses.replace(idea, multiplies_zeros=True)
    assert worth([dense_again], Told(), behind) == pytest.approx(2 * worth([idea], Told(), behind))
    assert worth([dense_again], Told()) == worth([idea], Told())
    assert doubting([idea, other], Told(), behind) == [idea]
    assert doubting([idea], Told(), {}) == []
    for times in ((2.0, 6.0), (6.0, None), (None, 2.0)):
        assert behind_twins(planned, measured(*times)) == {}
