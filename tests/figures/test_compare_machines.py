"""Two machines: ratios of speed-ups with their intervals, what is refused, and how often equal ideas are told apart."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest
from _records import SHAPE, dense, idea, twin_ref
from _submissions import run_info, write

from harness.cli.main import run_cli
from harness.figures.comparable import Difference, of_machine
from harness.figures.compare import compare

STILL = (1.00, 1.01, 0.99, 1.00, 1.005)
INFO = {"sources": {"harness": "1" * 64}, "settings": {"threads": 2}}


def _run(gain, scale=1.0, run="r1"):
    """An idea `gain` times as fast as its twin, on a machine `scale` times as slow."""
    return [idea([scale * t / gain for t in STILL], run=run), dense([scale * t for t in STILL], run=run)]


def _compared(a, b):
    return compare(a, b, names=("A", "B"), differences=[Difference(field="cpu", a="A", b="B")], machines=True)


def test_the_ratio_of_ratios_knows_no_speed_of_a_machine():
    (row,) = _compared(_run(4.0), _run(2.0, scale=7.0)).rows
    assert (row.kind, row.verdict) == ("speed-up", "slower")
    assert row.ratio == pytest.approx(2.0)
    assert 1.8 < row.low < 2.0 < row.high < 2.2
    assert (row.speed_up_a, row.speed_up_b) == (pytest.approx(4.0), pytest.approx(2.0))
    (row,) = _compared(_run(4.0), _run(4.0, scale=7.0)).rows
    assert (row.ratio, row.verdict) == (pytest.approx(1.0), "tie")


def test_most_ideas_may_differ_between_machines():
    """Between two runs of one machine such a spread would be taken for what equal code shows."""
    rng = np.random.default_rng(3)

    def runs(gains):
        out = []
        for n, gain in enumerate(gains, 1):
            params = SHAPE | {"n": n}
            times = [t / gain for t in STILL]
            out.append(idea(times, params=params, twins=[twin_ref(params=params)]))
            out.append(dense(list(STILL), params=params))
        return out

    gains = np.exp(rng.normal(0.7, 0.3, 20))
    found = _compared(runs(gains), runs(gains * np.exp(rng.choice([-0.5, 0.5], 20))))
    assert {row.verdict for row in found.rows} == {"slower", "faster"}
    assert found.speed_up_spread == pytest.approx(0.02 * 2**0.5)


def test_equal_ideas_are_told_apart_in_at_most_one_of_twenty_comparisons():
    """Twelve ideas, rounds that differ by 4 %, and the luck of a run by 2.8 %."""
    rng = np.random.default_rng(11)
    wrong, n = 0, 150
    shapes = [SHAPE | {"n": k} for k in range(1, 13)]

    def one(run):
        out = []
        for params in shapes:
            luck = rng.normal(0, 0.02)
            ratios = np.exp(luck + rng.normal(0, 0.04, 5))
            out.append(idea([0.5 * r for r in ratios], params=params, twins=[twin_ref(params=params)], run=run))
            out.append(dense([1.0] * 5, params=params, run=run))
        return out

    for _ in range(n):
        wrong += any(row.verdict != "tie" for row in _compared(one("r1"), one("r2")).rows)
    assert wrong / n <= 0.08


@pytest.mark.parametrize(
    ("field", "waived"),
    [
        ("cpu", True),
        ("cpu_id", True),
        ("cores_usable", True),
        ("threads", True),
        ("torch threads", True),
        ("jax threads_asked", True),
        ("sources of harness", False),
        ("sources of threads", False),
        ("torch tf32", False),
        ("dtype", False),
        ("shapes of block_sparse", False),
    ],
)
def test_only_what_machines_differ_in_by_nature_is_waived(field, waived):
    assert of_machine(Difference(field=field, a="1", b="2")) is waived


def test_two_machines_need_no_force_and_two_codes_do(tmp_path, capsys):
    a = write(tmp_path / "a", _run(4.0), **INFO)
    b = write(tmp_path / "b", _run(2.0, 7.0), **INFO | {"machine": {"cpu": "B"}, "settings": {"threads": 64}})
    assert run_cli(["compare", str(a), str(b)]) == 2
    assert "not comparable" in capsys.readouterr().err
    assert run_cli(["compare", str(a), str(b), "--machines", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (row,) = found["rows"]
    assert {"case", "ratio", "low", "high", "verdict"} <= set(row)
    assert row["ratio"] == pytest.approx(2.0)
    assert "the idea pays less on B" in found["reads"]
    assert run_cli(["compare", str(a), str(b), "--machines"]) == 0
    assert "Speed-ups against the dense twin" in capsys.readouterr().out
    other = msgspec.json.encode(run_info(machine={"cpu": "B"}, settings={"threads": 2}, sources={"harness": "2" * 64}))
    (b / "run.json").write_bytes(other)
    assert run_cli(["compare", str(a), str(b), "--machines"]) == 2
    error = capsys.readouterr().err
    assert "sources of harness" in error
    assert "cpu" not in error, "what is waived is no reason"


def test_machines_within_one_run_is_one_sentence(tmp_path, capsys):
    a = write(tmp_path / "a", _run(4.0), **INFO)
    assert run_cli(["compare", str(a), "--machines", "--by", "backend=torch,jax"]) == 2
    assert capsys.readouterr().err.startswith("error: --machines compares two machines")
