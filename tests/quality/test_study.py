"""The command as a whole, in its smallest preset with NumPy alone: what it prints and keeps, and what its gate says."""

from __future__ import annotations

import json
import shutil
import signal
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from harness.cli.main import run_cli
from harness.quality import columns, forgotten, pictures, worth
from harness.quality.arrivals import target_of, trainings
from harness.quality.facts import Answers, EndToEnd, FactLine, Training, Tuned
from harness.quality.folder import FACTS, load_study
from harness.quality.outcome import outcome_of
from harness.quality.populations import Population
from harness.quality.training import first_at
from harness.quality.validation import validate_study
from harness.records.store import ABOUT
from harness.running.stopping import Stopped
from harness.web import pictures as pictures_of_the_web


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A study of every idea that learns."""
    out = tmp_path_factory.mktemp("study") / "out"
    assert run_cli(["quality", "--preset", "smoke", "--backend", "numpy", "--threads", "1", "--out", str(out)]) == 0
    return out


@pytest.fixture
def copy(made, tmp_path):
    """A copy that may be spoilt, without the run, whose own gate would take its time."""
    return shutil.copytree(made, tmp_path / "copy", ignore=shutil.ignore_patterns("steps"))


def again(capsys, *arguments):
    """The exit code, what was printed, and what was said beside it."""
    code = run_cli(arguments)
    told = capsys.readouterr()
    return code, told.out, told.err


def test_every_learner_is_tuned_on_the_same_grid_and_counted_to_its_twins_target(made):
    facts = load_study(made).facts
    tuned = [f for f in facts.values() if isinstance(f, Tuned)]
    assert [f.learner for f in tuned] == ["dense_mlp", "local_update", "forward_forward", "sparse_training"]
    assert len({(*f.rates, len(f.seeds), f.steps) for f in tuned}) == 1
    counted = trainings(facts, "count")
    target = target_of(trainings(facts, "target")["dense_mlp"])
    assert {f.target for f in counted.values()} == {target}
    assert all(len(f.seeds) == 4 for f in counted.values())


def test_end_to_end_takes_the_steps_that_were_counted_without_a_framework(made):
    runs = [f for f in load_study(made).facts.values() if isinstance(f, EndToEnd)]
    assert {run.learner for run in runs} == {"dense_mlp", "local_update", "forward_forward", "sparse_training"}
    for run in runs:
        assert run.status == "ok"
        assert run.apart < 1e-3
        arrived = first_at(run.correct, run.target)
        assert (arrived is None) == (run.counted is None)
        assert arrived is None or abs(arrived - run.counted) <= 1


def test_json_is_the_rows_and_what_is_forgotten_and_nothing_is_trained_again(made, capsys):
    before = (made / FACTS).read_bytes()
    code, out, err = again(capsys, "quality", "--out", str(made), "--resume", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert [*found] == ["rows", "forgets"]
    assert [tuple(row) for row in found["rows"]] == [worth.PUBLISHED] * 4
    assert [tuple(row) for row in found["forgets"]] == [forgotten.PUBLISHED] * 4
    assert all(row["baseline"] == "dense_mlp" and row["seeds"] == 4 for row in found["rows"])
    assert (made / FACTS).read_bytes() == before


def test_both_draws_are_answered_by_dense_and_compressed_models(made):
    answers = [f for f in load_study(made).facts.values() if isinstance(f, Answers)]
    assert {f.draw for f in answers} == {"long_tailed", "balanced"}
    assert len(answers) == 2 * (4 + 4)  # two halves with and without an exit, and four levels
    outcome = outcome_of(made)
    assert len(outcome.forgets) == 8
    assert all(floor.alarms <= 0.05 * floor.tests for floor in outcome.floors)


def test_a_report_shows_what_ideas_are_worth_beside_speed_up_and_tax(made, capsys):
    code, out, _ = again(capsys, "report", str(made))
    assert code == 0
    worth = out[out.index("What each idea is worth") :]
    heads = worth.partition("local_update")[0].split()
    assert {"speed-up", "tax", "steps", "quality", "tail"} <= {*heads}
    assert all(len(line) <= 80 for line in worth.splitlines())
    code, out, _ = again(capsys, "report", str(made), "--format", "json")
    assert [*json.loads(out)["quality"][0]] == ["rows", "forgets"]
    code, out, _ = again(capsys, "report", str(made), "--format", "csv")
    head, *lines = out.splitlines()
    assert "steps_ratio,steps_ratio_low" in head
    assert "tail_recall_change" in head
    assert any(line.startswith("local_update") or ",local_update," in line for line in lines)


def row(workload="unstructured_sparse", run="elsewhere", **params):
    """As much of a report's row as is asked for."""
    against = SimpleNamespace(
        speed_up=1.5, speed_up_low=1.4, speed_up_high=1.6, rounds=3, verdict=None, ratio_steady=None
    )
    return SimpleNamespace(
        workload=workload, params=params, mode="forward", backend="numpy", run=run, principal=against, label="density"
    )


def test_what_is_forgotten_stands_beside_the_speed_up_of_the_same_density(made):
    outcomes = [outcome_of(made)]
    known = columns.forgotten_of(row(m=64, density=0.1), outcomes)
    assert (known.method, known.level, known.draw) == ("magnitude pruning", "density 0.1", "long_tailed")
    assert columns.forgotten_of(row(density=0.11), outcomes) is None
    assert columns.forgotten_of(row("block_sparse", density=0.1), outcomes) is None
    assert columns.forgotten_of(row("early_exit"), outcomes) is None  # no axis says which level it is
    figures = columns.figures(row(density=0.1), outcomes)
    assert figures["tail_recall_change"] == known.tail_recall_change
    assert figures["steps_ratio"] is None
    assert {*figures} == {*columns.figures(row("stream"), outcomes)}


def test_a_picture_has_a_point_a_level_and_the_other_the_time_to_quality(made):
    outcomes = [outcome_of(made)]
    forgets, time = pictures.charts([row(density=0.1), row(density=0.7)], outcomes)
    (value,) = forgets.spec["data"]["values"]
    assert value["speed"] == 1.5
    assert value["low"] <= value["tail"] <= value["high"]
    assert {v["who"].split(",")[0] for v in time.spec["data"]["values"]} == {
        "dense_mlp",
        "local_update",
        "forward_forward",
        "sparse_training",
    }
    assert "0/4 arrived" in str(time.spec)
    for chart in (forgets, time):
        assert "<svg" in pictures_of_the_web.converter().vegalite_to_svg(pictures_of_the_web.static(chart))


# -- the gate ----------------------------------------------------------------------------------------------------------


def codes(folder):
    return {refusal.code for refusal in validate_study(folder).refusals if not refusal.where.startswith("steps/")}


SMALL = {"few-seeds", "few-models"}  # a smoke study is no more than that


def test_a_study_is_refused_for_its_size_alone_where_nothing_is_wrong_with_it(made):
    assert codes(made) == SMALL


ENDED = "end to end local_update numpy 30000"


def change(folder, key, **more):
    """Replace fields of a fact; with `edit`, of what it holds."""
    lines = [msgspec.json.decode(text, type=FactLine) for text in (folder / FACTS).read_bytes().splitlines()]
    changed = [
        msgspec.structs.replace(line, fact=msgspec.structs.replace(line.fact, **more)) if line.fact.key == key else line
        for line in lines
    ]
    assert changed != lines
    (folder / FACTS).write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in changed))


def test_fewer_than_three_trainings_end_to_end_in_a_framework_are_refused(copy):
    lines = (copy / FACTS).read_bytes().splitlines(keepends=True)
    (copy / FACTS).write_bytes(b"".join(text for text in lines if not _ended(text, "local_update")))
    assert codes(copy) == SMALL | {"few-trainings", "incomplete"}


def _ended(text, learner):
    fact = msgspec.json.decode(text, type=FactLine).fact
    return isinstance(fact, EndToEnd) and fact.learner == learner


def training(folder, key="count local_update"):
    found = load_study(folder).facts[key]
    assert isinstance(found, Training)
    return found


def test_accuracies_are_those_of_the_networks_trained_again(copy):
    stated = training(copy).test_correct
    change(copy, "count local_update", test_correct=[stated[0] + 1, *stated[1:]])
    assert codes(copy) == SMALL | {"accuracy", "incomplete"}


def test_other_weights_than_were_written_are_seen(copy):
    np.savez(copy / load_study(copy).facts[ENDED].weights, w0=np.zeros(3))
    assert codes(copy) == SMALL | {"weights", "incomplete"}


def test_a_step_count_that_is_a_little_less_is_seen(copy):
    """The target is seen one evaluation sooner, and everything else fits."""
    known = training(copy)
    number, at = next((n, first_at(c, known.target)) for n, c in enumerate(known.correct) if first_at(c, known.target))
    sooner = [[*c] for c in known.correct]
    sooner[number][at - 2] = known.target
    change(copy, known.key, correct=sooner)
    found = {r.where for r in validate_study(copy).refusals if r.code == "trained-again"}
    assert found == {f"count local_update, seed {known.seeds[number]}"}


def test_networks_of_another_size_than_the_presets_are_not_trained_again(copy):
    text = (copy / ABOUT).read_text()
    (copy / ABOUT).write_text(text.replace('"hidden": 32', '"hidden": 4000'))
    assert "preset" in codes(copy)


@pytest.mark.parametrize(
    ("key", "more", "code"),
    [
        ("count local_update", {"target": 1}, "target"),
        ("count local_update", {"rate": 0.77}, "rate"),
        ("count local_update", {"seeds": [0, 0, 1, 2]}, "seeds"),
        ("count local_update", {"correct": [[1]] * 4}, "counts"),
        ("count local_update", {"steps": 10**9}, "counts"),
        ("target dense_mlp", {"test_correct": [1, 2, 3, 4]}, "accuracy"),
        ("tuned local_update", {"reached": [[1], [1]]}, "trained-again"),
        (ENDED, {"counted": 1}, "trained-again"),
        (ENDED, {"weights": None}, "weights"),
        (ENDED, {"weights": None, "test_correct": None}, "weights"),
        ("tuned local_update", {"rates": [0.5, 0.6]}, "unequal"),
        ("tuned local_update", {"disagreement": 0.1}, "another-step"),
        (ENDED, {"every": 7}, "unequal"),
        (ENDED, {"chunks_s": [-1.0]}, "counts"),
        (ENDED, {"test_correct": 3}, "accuracy"),
        (ENDED, {"seed": 0}, "seeds"),
        ("long_tailed quantisation int8", {"says": ["0" * 540] * 4 + ["x" * 540]}, "answers"),
        ("long_tailed quantisation int8", {"counts": [1] * 10}, "draw"),
        ("long_tailed quantisation int8", {"seeds": [1000, 1001, 1002, 1003, 1004]}, "seeds"),
    ],
)
def test_what_cannot_be_is_refused(copy, key, more, code):
    change(copy, key, **more)
    assert code in codes(copy) - SMALL


def test_validate_says_so_and_an_unreadable_study_is_a_refusal(copy, capsys):
    code, out, _ = again(capsys, "validate", str(copy))
    assert code == 1
    assert "refused [few-seeds]" in out
    (copy / ABOUT).write_text("{")
    code, out, _ = again(capsys, "validate", str(copy))
    assert code == 1
    assert "refused [unreadable]" in out


def test_a_study_is_not_gone_on_with_otherwise_than_it_was_asked_for(made, capsys):
    code, _, err = again(capsys, "quality", "--out", str(made), "--resume", "--seed", "5")
    assert code == 2
    assert "seed (0 in the run, 5 now)" in err


def test_an_interrupted_study_keeps_what_it_has_and_goes_on(tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    whole = Population.compressed

    def until_stopped(self, level):
        if level.method == "N:M":
            raise Stopped(signal.SIGINT)
        return whole(self, level)

    monkeypatch.setattr(Population, "compressed", until_stopped)
    named = "unstructured_sparse,nm_sparse"
    code, _, err = again(capsys, "quality", "--preset", "smoke", "--workload", named, "--out", str(out))
    assert code == 130
    assert f"quality --resume --out {out}" in err
    before = (out / FACTS).read_bytes()
    assert [f.level for f in load_study(out).facts.values()] == ["first", "second", "density 0.1"]
    monkeypatch.undo()
    code, text, err = again(capsys, "quality", "--resume", "--out", str(out))
    assert code == 0, err
    assert (out / FACTS).read_bytes().startswith(before)
    assert {f.level for f in load_study(out).facts.values()} == {"first", "second", "density 0.1", "2:4"}
    assert "2:4" in text


# -- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--preset", "full"], "there is no preset 'full'"),
        (["--workload", "local_updat"], "did you mean local_update"),
        (["--workload", "dense_mlp"], "there is no idea that learns or compresses 'dense_mlp'"),
        (["--backend", "nump"], "did you mean numpy"),
        (["--resume"], "name it by --out DIR"),
        (["--resume", "--out", "nowhere"], "there is no study in nowhere to go on with"),
        (["--threads", "100000"], "--threads 100000 is more than"),
        (["--preset", "smoke", "--workload", "structured_pruned"], "has no level of structured_pruned"),
    ],
)
def test_bad_input_gets_a_sentence(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = again(capsys, "quality", *arguments)
    assert code == 2
    assert out == ""
    assert err.startswith("error: ")
    assert said in err
    assert not list(tmp_path.iterdir())


def test_a_study_of_one_method_trains_nothing_else(capsys, tmp_path):
    out = tmp_path / "out"
    code, text, _ = again(
        capsys, "quality", "--preset", "smoke", "--workload", "unstructured_sparse", "--out", str(out)
    )
    assert code == 0
    assert "What compression forgets" in text
    assert "Time and energy" not in text
    assert {type(f) for f in load_study(out).facts.values()} == {Answers}
