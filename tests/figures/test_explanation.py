"""Every stored message is explained by one rule; an unknown one says so; scripts show the failure upstream."""

from __future__ import annotations

import importlib.util
import json
import shlex
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from _command import call

from backends.counting.counting_ops import CountingOps
from backends.ops import Ops
from harness.errors import UserError
from harness.figures.explanation import UNKNOWN, explained, explanations, reproduction, rule_of, script_for
from harness.figures.explanation_rules import GRAPH_BREAK, RULES
from harness.records.store import load
from harness.worker import outcome

RESULTS = Path(__file__).resolve().parents[2] / "results"
STORED = {path.parent.name: load(path.parent).records for path in sorted(RESULTS.glob("*/records.jsonl"))}
FAILED = [r for records in STORED.values() for r in records if r.status not in ("ok", "estimated")]

# Of rules of which no stored run has a case: the words as the harness or the framework says them.
ELSEWHERE = {
    "torch-packed-filters": "PyTorch lays filters out ahead by oneDNN only: float32, on the CPU",
    "torch-graph-break": f"For more details about this graph break, please visit: {GRAPH_BREAK}gb0059.html",
    "jax-tracer": "TracerBoolConversionError: Attempted boolean conversion of traced array with shape bool[]",
    "xla-error-code": "XlaRuntimeError: INTERNAL: E3002: Mosaic failed to compile TPU kernel",
    "numpy-sparse-format": "SciPy is offered here with the formats csr and bsr, not coo",
    "operation-not-written": str(Ops._unsupported(CountingOps(), "einsum")),
    "timeout": outcome.of_timeout(60, "measuring")[2],
    "out-of-memory": outcome.of_exit(-9, "measuring", [], True)[2],
    "killed-by-a-signal": outcome.of_exit(-11, "making the first call", [], False)[2],
    "model-without-a-rate": "no figure: gather×16 does not give gather.rows_per_s",
    "model-not-validated": "no figure: the class small products has not been held to measured times of numpy",
    "work-not-counted": "the formulation takes a branch by a value, and its branches are not the same work",
    "values-disagree": "y is off by 0.5 of its largest value, 1e-05 allowed",
}


def test_every_failed_case_that_is_stored_is_explained():
    assert len(FAILED) > 300
    unknown = {record.reason for record in FAILED if rule_of(record.reason or "") is None}
    assert unknown == set()
    for name, records in STORED.items():
        found = explanations(records)
        failed = [r for r in records if r.status not in ("ok", "estimated") and not r.control]
        assert sum(e.cases for e in found) == len(failed), name
        for explanation in found:
            assert None not in (explanation.rule, explanation.what, explanation.do)
            assert "{" not in explanation.line
            assert explanation.why.startswith(("not_implemented: ", "type: ", "memory: ", "other: "))
            assert "\n" not in explanation.line


def test_each_rule_is_of_a_stored_message_or_of_words_that_are_said_and_no_two_take_the_same():
    messages = dict.fromkeys(record.reason for record in FAILED)
    seen = set()
    for message in [*messages, *ELSEWHERE.values()]:
        takers = [rule.name for rule in RULES if rule.pattern.search(message)]
        assert len(takers) == 1, (message, takers)
        seen |= set(takers)
    assert seen == {rule.name for rule in RULES}
    assert {name: rule_of(message).name for name, message in ELSEWHERE.items()} == {name: name for name in ELSEWHERE}


def test_no_rule_takes_what_it_does_not_know():
    for message in ("", "error", "RuntimeError: a new one", "unsupported", "not implemented", "ValueError: 12 s"):
        assert rule_of(message) is None


def test_an_unknown_message_says_so_and_names_the_smallest_case_again():
    record = msgspec.structs.replace(FAILED[0], reason="RuntimeError: a new one")
    (found,) = explanations([record])
    assert (found.what, found.rule, found.link) == (UNKNOWN, None, None)
    assert "RuntimeError: a new one" in found.why
    assert found.do.endswith(reproduction(record.case))
    with pytest.raises(UserError, match="hwlottery run --preset smoke --workload="):
        script_for([record], record.case.workload)


def test_the_command_that_is_named_is_one_that_runs():
    case = next(r.case for r in FAILED if r.case.backend == "jax" and r.case.device == "cpu")
    program, *words = shlex.split(reproduction(case))
    assert program == "hwlottery"
    if importlib.util.find_spec("jax") is None:
        pytest.skip("JAX is not installed")
    assert call(*words, "--dry-run").returncode == 0


def test_words_name_one_failure():
    records = STORED["standard-cpu"]
    assert "to_sparse_bsr" in script_for(records, "block_sparse/bsr train_step torch eager")
    with pytest.raises(UserError, match="different failures; add words of one"):
        script_for(records, "torch eager")
    with pytest.raises(UserError, match="no failed case here has the words"):
        script_for(records, "nothing")
    with pytest.raises(UserError, match="nothing fails upstream"):
        script_for(records, "unstructured_sparse/bag jax eager train_step")


def test_links_into_pytorchs_registry_are_what_it_has_there():
    spec = importlib.util.find_spec("torch")
    if spec is None:
        pytest.skip("torch is not installed")
    registry = json.loads((Path(spec.origin).parent / "_dynamo" / "graph_break_registry.json").read_text())
    linked = [rule for rule in RULES if (rule.link or "").startswith(GRAPH_BREAK) and "{" not in rule.link]
    assert len(linked) == 2
    for rule in linked:
        entry = registry[rule.link.removeprefix(GRAPH_BREAK).removesuffix(".html").upper()][0]
        assert rule.pattern.search(f"{entry['Gb_type']}; {entry['Explanation']}"), rule.name


RUN_ALL = """
import json, sys
for script in json.load(sys.stdin):
    try:
        exec(script, {})
        print(json.dumps("nothing failed"))
    except Exception as error:
        print(json.dumps(f"{type(error).__name__}: {error}"))
"""


@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_scripts_show_the_same_message_in_the_frameworks_own_terms(framework):
    """Each rule's script fails with words that the same rule knows, and uses nothing of ours."""
    if importlib.util.find_spec(framework) is None:
        pytest.skip(f"{framework} is not installed")
    rules = [rule for rule in RULES if rule.script and f"import {framework}" in rule.script]
    assert len(rules) >= 4
    for rule in rules:
        assert "harness" not in rule.script
        assert len(rule.script.splitlines()) <= 7
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL],
        input=json.dumps([rule.script for rule in rules]),
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
    )
    said = [json.loads(line) for line in done.stdout.splitlines()]
    for rule, message in zip(rules, said, strict=True):
        # the harness keeps the line that says it, torch.compile's without the name of its exception
        lines = [message, *(line.strip() for line in message.splitlines())]
        lines += [line.partition(": ")[2] for line in lines]
        assert any(rule.pattern.search(line) for line in lines), (rule.name, message[:500])


def test_the_command_line(tmp_path):
    folder = RESULTS / "quick-cpu"
    rows = json.loads(call("explain", folder, "--json").stdout)
    assert [*rows[0]] == ["message", "what", "where", "why", "do", "link", "rule"]
    lines = call("explain", folder).stdout.splitlines()
    assert len(lines) == len(rows)
    assert lines[0].startswith("a sparse tensor in a compiled function in unstructured_sparse/")
    piped = subprocess.run(
        [sys.executable, "-m", "harness", "explain", "-"],
        input="RuntimeError: a new one\n\nRuntimeError: a new one\n",
        capture_output=True,
        text=True,
        check=True,
        cwd=RESULTS.parent,
    )
    assert piped.stdout.startswith(UNKNOWN)
    assert len(piped.stdout.splitlines()) == 1
    assert call("explain", "-", folder).returncode == 2
    assert "is not a results folder" in call("explain", tmp_path).stderr


def test_a_line_without_cases_has_no_place():
    assert explained("TensorFlow has no sampled dense-dense product").line.startswith(
        "a product at the non-zeros of a matrix only: not_implemented: "
    )
