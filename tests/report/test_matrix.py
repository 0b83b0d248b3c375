"""The matrix that a report begins with: what a cell says, what stands below it, and that nothing in it is broken."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from _records import dense, idea, record, twin_ref

from harness.figures.summary import summarise
from harness.records.store import load
from harness.report.constants import constants, twins_line
from harness.report.matrix import Figures, Grid, laid_out, matrix
from harness.report.terminal import terminal
from harness.report.wording import Where

RESULTS = Path(__file__).resolve().parents[2] / "results"
BACKENDS = ("jax", "tensorflow", "torch")


def _matrix(records, width=80, **options):
    summary = summarise(records, **options)
    return matrix(summary, Where([*summary.rows, *summary.dense]), width)


def _pair(times=(0.5, 0.51, 0.49), twin=(1.0, 1.01, 0.99), **facts):
    return [idea(list(times), **facts), dense(list(twin), backend=facts.get("backend", "numpy"))]


def _row(lines, name):
    return next(line for line in lines if line.strip().startswith(name)).split()


def test_a_cell_has_the_speed_up_and_the_tax():
    lines = _matrix(_pair(), noise=0.01)
    assert lines[1].split() == ["numpy"]
    assert lines[2].split() == ["idea", "speed-up", "tax"]
    assert _row(lines, "unstructured_sparse") == ["unstructured_sparse", "forward", "2.00×", "5.00"]


def test_a_tie_is_marked_and_the_mark_explained():
    lines = _matrix(_pair((1.0, 1.02, 0.97)), noise=0.01)
    assert _row(lines, "unstructured_sparse")[2] == "≈1.00×"
    assert "≈ is a tie." in lines


def test_what_cannot_be_told_from_noise_is_marked():
    """One process and no A/A control: nobody knows what this machine makes of nothing."""
    lines = _matrix(_pair((0.5,), (1.0,)))
    assert _row(lines, "unstructured_sparse")[2] == "?2.00×"
    assert "? cannot be told from noise here." in lines


@pytest.mark.parametrize("status", ["wrong", "crash", "oom", "timeout", "error", "unsupported"])
def test_a_failure_is_its_outcome_in_a_word(status):
    lines = _matrix([*_pair(), idea(status=status, reason="why", backend="torch"), dense([1.0] * 3, backend="torch")])
    assert _row(lines, "unstructured_sparse")[-1] == status
    assert any("a word says why there is no figure" in line for line in lines)


def test_an_idea_without_its_twin_and_one_that_was_not_measured_say_so():
    records = [*_pair(), idea([0.5] * 3, backend="torch"), idea([0.5] * 3, backend="jax", mode="train_step")]
    lines = _matrix(records, noise=0.01)
    assert _row(lines, "unstructured_sparse forward")[2:] == ["–", "2.00×", "5.00", "no", "twin"]
    assert _row(lines, "unstructured_sparse train_step")[2:] == ["no", "twin", "–", "–"]
    assert any("– was not measured" in line for line in lines)


def test_several_headline_points_stand_below_their_idea():
    shapes = [{"m": 8, "k": 8, "n": n} for n in (4, 5)]
    records = [
        r for s in shapes for r in (idea([0.5] * 3, params=s, twins=[twin_ref(params=s)]), dense([1.0] * 3, params=s))
    ]
    lines = _matrix(records, noise=0.01)
    start = lines.index("unstructured_sparse forward")
    assert [line.split()[0] for line in lines[start + 1 : start + 3]] == ["n=4", "n=5"]


def test_points_of_a_sweep_are_no_rows():
    sweep = {"m": 8, "k": 8, "n": 5}
    records = [*_pair(), idea([0.5] * 3, params=sweep, twins=[twin_ref(params=sweep)], headline=False)]
    lines = _matrix(records, noise=0.01, all_points=True)
    assert not any("n=5" in line for line in lines)


def test_a_sentence_reads_one_cell_with_the_twins_name():
    text = " ".join(" ".join(_matrix(_pair(), noise=0.01)).split())
    assert "unstructured_sparse forward on numpy is 2.00 times as fast as its" in text
    assert "dense twin, dense_matmul (same shape)," in text


def test_axes_that_never_change_and_the_twins_are_named_below():
    rows = summarise([*_pair(), *_pair(backend="torch")]).rows
    assert constants(rows) == "constant in all rows: float32, cpu; m=8, k=8, n=4 of unstructured_sparse."
    assert twins_line(rows) == "dense twins: dense_matmul (same shape) of unstructured_sparse."


def test_an_axis_on_which_ideas_agree_is_named_once_and_one_that_varies_not_at_all():
    def at(workload, **params):
        return record(workload, [1.0] * 3, params=params, twins=[twin_ref("itself", workload, params)])

    rows = summarise(
        [at("a", density=0.1, n=1, b=1.0), at("a", density=0.1, n=2, b=1.0), at("b", density=0.1, n=2), at("c", b=2.0)]
    ).rows
    assert (
        constants(rows) == "constant in all rows: float32, cpu; density=0.1 of a and b; b=1 of a; n=2 of b; b=2 of c."
    )
    assert twins_line(rows) == "dense twins: a, b and c are their own."
    assert constants([]) == twins_line([]) == ""


def test_a_real_run_is_the_answer_and_the_matrix_first_with_all_that_was_asked_for():
    text = terminal(summarise(load(RESULTS / "quick-cpu").records), 80)
    answer, _, matrix = text.partition("\n\n")
    assert answer.startswith("Of 6 ideas, ")
    first = matrix.splitlines()[:16]
    assert all(name in first[1] for name in BACKENDS)
    for name in ("block_sparse", "capsule_conv", "capsule_routing", "dense_cnn", "forward_forward", "local_update"):
        assert any(line.startswith(name) for line in first)
    said = " ".join(text.split())
    assert "density=0.1, pattern=magnitude of block_sparse and unstructured_sparse" in said
    assert "cases: ok 624 · unsupported 72." in said
    assert "break-even: unstructured_sparse n=128 forward is faster than dense below density 0.15" in said
    assert "the A/A noise of" in said
    assert "power: a difference of" in said
    assert "Dense twins" not in text
    assert len(matrix.splitlines()) < 60


def test_all_is_the_matrix_and_everything_below_it():
    records = load(RESULTS / "quick-cpu").records
    text = terminal(summarise(records, all_points=True), 80)
    brief = terminal(summarise(records), 80)
    answer = brief.partition("\n\n")[0]
    assert text.startswith(answer)
    assert answer.startswith("Of 6 ideas, ")
    for title in ("Ideas against their dense twin", "Dense twins", "What ran where", "ceiling: cpu float32"):
        assert title in text


def test_what_was_compiled_for_a_chip_has_a_matrix_of_its_own():
    text = terminal(summarise(load(RESULTS / "quick-tpu-aot-v5e").records), 80)
    assert text.startswith("Compiled for, not run: estimated tax, and tax by cycles\n")
    assert "by cycles" in text.splitlines()[2]
    assert "≥3.48" in text
    assert "nothing of it was run" in text


# -- the layout --------------------------------------------------------------------------------------------------------


def _grid(places, rows=(("an_idea forward", ""),)):
    cells = {(r, p): [Figures(f"{r}.{p}0×", "1.00")] for r in range(len(rows)) for p in range(len(places))}
    return Grid(("speed-up", "tax"), list(rows), list(places), cells)


@pytest.mark.parametrize("many", [1, 3, 4, 7, 12, 40])
@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_many_backends_stand_in_blocks_within_the_width_and_no_cell_is_lost_or_broken(many, width):
    grid = _grid([f"backend{k} cuda:{k}" for k in range(many)], [("an_idea forward", ""), ("other train_step", "")])
    lines = laid_out(grid, width)
    assert max(map(len, lines)) <= width
    words = [word for line in lines for word in line.split()]
    for k in range(many):
        assert words.count(f"backend{k}") == 1
        assert words.count(f"0.{k}0×") == words.count(f"1.{k}0×") == 1


def test_long_names_are_wrapped_between_words_and_a_longer_one_has_lines_of_its_own():
    name = "an_idea_whose_name_is_longer_than_the_column_that_is_there forward"
    lines = laid_out(_grid(["torch", "jax", "tensorflow"], [(name, "axis=1, other=2")]), 80)
    words = [word for line in lines for word in line.split()]
    assert all(word in words for word in (*name.split(), "axis=1,", "other=2"))
    assert max(map(len, lines)) <= 80
    assert "1.00" in lines[-1] or "1.00" in lines[-2]


def test_a_backend_with_a_long_name_widens_its_column_and_an_endless_one_is_cut():
    long, endless = "a_backend_with_a_name_of_forty_characters", "b" * 200
    lines = laid_out(_grid([long, endless]), 80)
    assert max(map(len, lines)) <= 80
    assert any(long in line for line in lines)
    assert any("bbb…" in line for line in lines)


def test_two_figures_of_one_place_stand_below_each_other():
    """Two seeds of one case."""
    grid = _grid(["torch"])
    grid.cells[0, 0].append(Figures("", "", "timeout"))
    assert [line.split()[-1] for line in laid_out(grid, 80)[-2:]] == ["1.00", "timeout"]


def test_a_hostile_name_does_not_reach_the_terminal():
    hostile = "\x1b[2J\u202eback"
    records = [msgspec.structs.replace(r, run="r") for r in (*_pair(backend=hostile), *_pair())]
    assert not set("\x1b\u202e") & set(terminal(summarise(records), 80))


# What the dense path has that these leave out, in the order in which the matrix comes to it.
GROUPED = {
    "leaves out zeros": ["block_sparse", "nm_sparse", "sparse_training", "unstructured_sparse"],
    "leaves out scalar units": ["capsule_conv", "capsule_routing"],
    "leaves out multiplications": ["decision_forest", "table_product"],
    "leaves out independence of the steps in time": ["selective_scan"],
}


def _of_ideas(names, **facts):
    records = [idea([0.5, 0.51, 0.49], workload=name, params={"m": 8}, **facts) for name in names]
    return [*records, dense([1.0, 1.01, 0.99], **facts)]


@pytest.mark.parametrize("width", [80, 120])
def test_many_ideas_stand_together_by_what_they_leave_out_of_the_dense_path(width):
    alternating = sorted(name for several in GROUPED.values() for name in several)
    lines = _matrix(_of_ideas(alternating), width, noise=0.01)
    names = {*GROUPED, *alternating}
    found = [name for line in lines for name in names if line == name or line.startswith(f"{name} forward")]
    assert found == [name for group, ideas in GROUPED.items() for name in (group, *ideas)]
    assert all(len(line) <= width for line in lines)
    for name in GROUPED:
        assert lines[lines.index(name) - 1] == ""
    assert _row(lines, "selective_scan")[-2:] == ["2.00×", "5.00"]


def test_few_ideas_stand_as_they_were_asked_for():
    few = ["block_sparse", "capsule_conv", "unstructured_sparse"]
    lines = _matrix(_of_ideas(few), noise=0.01)
    assert [line.split()[0] for line in lines if " forward" in line][:3] == few
    assert not any(line.startswith("leaves out") for line in lines)
