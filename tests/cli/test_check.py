"""`check` passes a good file, and tells a planted fault of each kind with what, where and what to do."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from _command import call

pytestmark = pytest.mark.slow

HELPERS = Path(__file__).parents[1] / "helpers"
GOOD = (HELPERS / "checked_workload.py").read_text()

SQUARES = "    squares = x * x\n"
# A fault by name: what is replaced in the good file, by what, and the words of the sentence; %L is the line of it.
FAULTS = {
    "wrong_numbers": (SQUARES, "    squares = x * x * 1.001\n", "disagrees with the reference: norm is off by"),
    "wrong_reference": ("x**2).sum", "x**2).mean", "suspect the reference"),
    "wider_dtype": (SQUARES, "    squares = x * np.ones((1, 1))\n", "output norm is float64 in a case of float32"),
    "formula": ("lambda p: 2 * p.rows", "lambda p: 2.5 * p.rows", "useful_flop of checked is"),
    "own_dice": ("rng.standard_normal((", "np.random.default_rng().standard_normal((", "differs between two calls"),
    "kept_result": (SQUARES, "    kept.append(x * x)\n    squares = kept[0]\n", "gives the first result again"),
    "own_operand": (SQUARES, "    x *= 1\n    x += 1\n    squares = (x - 1) * (x - 1)\n", "changes its operands"),
    "raises": (SQUARES, "    squares = x * missing\n", "FILE:%L: by_sum of checked (eager) raises NameError"),
    "crash": (SQUARES, "    os.abort()\n", "crash: killed by SIGABRT while trying by_sum"),
    "sleeper": (SQUARES, "    time.sleep(60)\n", "timeout: not done after 5 s, while trying by_sum"),
    "no_twin": ('"dense_matmul"', '"dense_matmull"', "FILE:%L: twin dense_matmull of checked is defined by no file"),
    "does_not_load": ("kept = []", "kept = missing", "FILE:%L: it does not load: NameError: name 'missing'"),
    "no_python": ("kept = []", "kept = [", "it does not load: SyntaxError"),
    "ends_at_import": ("kept = []", "os._exit(3)", "FILE: it does not load: crash: exited with code 3"),
    "runs_nowhere": (
        SQUARES,
        "    from backends.ops import Unsupported\n\n    raise Unsupported('not here')\n",
        "formulation by_sum runs on no framework here",
    ),
}


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What is said of a good file and of each planted fault, by NumPy alone, in one command; and its exit code."""
    folder = tmp_path_factory.mktemp("checked")
    for name, (old, new, _) in FAULTS.items():
        assert old in GOOD
        (folder / f"{name}.py").write_text(GOOD.replace(old, new, 1))
    out = call("check", *(folder / f"{name}.py" for name in FAULTS), "--backend", "numpy", "--timeout", "5s")
    assert out.returncode == 1, out.stderr
    assert "Traceback" not in out.stderr
    return folder, out.stdout.splitlines()


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_told_with_its_place(told, name):
    folder, lines = told
    old, _, words = FAULTS[name]
    file = folder / f"{name}.py"
    line = GOOD[: GOOD.index(old)].count("\n") + 1
    expected = words.replace("FILE", str(file)).replace("%L", str(line))
    about = [said for said in lines if str(file) in said]
    assert any(expected in said for said in about), about
    assert all(said.startswith("fault: ") for said in about)


def test_a_good_file_passes_on_every_framework(tmp_path):
    file = Path(shutil.copy(HELPERS / "checked_workload.py", tmp_path))
    out = call("check", file)
    assert out.returncode == 0, out.stdout
    assert "ok: workload checked" in out.stdout
    assert f"run --workload-file {file}" in out.stderr


def test_what_is_traced_again_at_every_call_is_told(tmp_path):
    pytest.importorskip("jax")
    file = Path(shutil.copy(HELPERS / "retracing.py", tmp_path))
    twin = 'twins=lambda params, mode: [Twin("same", "retracing", params, mode)]'
    text = file.read_text().replace("twins=lambda params, mode: ()", twin).replace("Point, Work", "Point, Twin, Work")
    file.write_text(text)
    out = call("check", file, "--backend", "jax")
    assert out.returncode == 1
    assert "again of retracing" in out.stdout
    assert "is traced again by a second call" in out.stdout
    assert "once of retracing" not in out.stdout


BACKEND = """from dataclasses import replace

from backends.numpy_backend import BACKEND as NUMPY
from backends.numpy_ops import NumpyOps


class Ops(NumpyOps):
    def exp(self, x):
        return super().exp(x) * 1.01


BACKEND = replace(NUMPY, name="mine", title="Mine", open=Ops)
"""


def test_a_backend_whose_operation_is_wrong_is_told(tmp_path):
    file = tmp_path / "mine_backend.py"
    file.write_text(BACKEND)
    out = call("check", file)
    assert out.returncode == 1
    assert f"{file}: Mine on cpu: exp differs from NumPy's by" in out.stdout
    assert "workloads are tried once its operators are right" in out.stderr
    assert "Mine: " not in out.stderr, "none is tried"


def test_a_backend_that_ends_the_process_when_it_is_read_is_told(tmp_path):
    file = tmp_path / "mine_backend.py"
    file.write_text("import os\n\nos._exit(4)\n")
    out = call("check", file)
    assert out.returncode == 1
    assert f"{file}: it does not load: crash: exited with code 4" in out.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("/nowhere.py",), "/nowhere.py is not there or no file"),
        ((HELPERS / "checked_workload.py", "--backend", "numpi"), "no backend 'numpi'; did you mean numpy?"),
    ],
)
def test_what_cannot_be_checked_is_a_sentence(arguments, words):
    out = call("check", *arguments)
    assert out.returncode == 2
    assert words in out.stderr
