"""`run --matrix FILE`: named by content, said to the user, measured right, and never as another matrix."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from backends.discovery import backends
from backends.ops import Device
from harness.cli.main import run_cli
from harness.cli.matrices import chosen
from harness.errors import UserError
from harness.gate.known import Known
from harness.gate.record_rules import check
from harness.measuring.correctness import judge
from harness.planning.request import RunRequest
from harness.records.store import load
from workloads.common.matrix import MatrixError, Source
from workloads.common.matrix_names import FILES
from workloads.common.matrix_names import at_hand as hand_on
from workloads.common.matrix_names import load as at_hand
from workloads.discovery import workloads

WORKLOADS = workloads()[0]
OPS = backends()[0]["numpy"].open(Device("cpu"))
SAMPLES = Path(__file__).resolve().parents[3] / "shared" / "dlmc"
SMALL = ("run", "--backend", "numpy", "--preset", "smoke")
BLOCKS = np.kron([[1.0, 0, 0], [0, 2, 0]], [[1.0, 2], [3, 4]])
DENSE = np.array([[1.5, 0, -2, 0], [0, 0, 0, 0], [0, 3, 0, 4]])


@pytest.fixture(autouse=True)
def no_files(tmp_path, monkeypatch):
    """What a test puts at hand is gone after it."""
    monkeypatch.setenv(FILES, "")
    monkeypatch.setenv("HWLOTTERY_CACHE", str(tmp_path / "cache"))


def saved(file, dense):
    file.parent.mkdir(exist_ok=True)
    sparse.save_npz(file, sparse.csr_array(np.asarray(dense, float)))
    return str(file)


def points(*files, n=(2,), **options):
    request = RunRequest(matrices=files, preset="smoke", axes={"n": n} if n else {}, **options)
    return chosen(request, WORKLOADS)


def product(workload, params, formulation):
    definition = WORKLOADS[workload]
    params = definition.check(params)
    x = definition.inputs(params, 0)
    made = definition.formulations["forward"][formulation]
    result = made.step(OPS, params)(*made.prepare(OPS, x, params))
    found = made.restore([OPS.to_numpy(o) for o in result], x, params)
    expected = definition.reference(x, params, "forward")
    assert judge(found, expected, x, 1e-10).agrees
    return x, found["y"]


def test_a_matrix_is_multiplied_with_its_own_values(tmp_path):
    found, said = points(saved(tmp_path / "a.npz", DENSE))
    assert found.keys() == {"unstructured_sparse"}
    params = found["unstructured_sparse"][0].params
    assert re.fullmatch(r"matrix:[0-9a-f]{16}:a\.npz", params["pattern"])
    x, y = product("unstructured_sparse", params, "csr")
    assert np.allclose(y, DENSE @ x["b"])
    assert "3×4 with 4 non-zeros (density 0.333), its own values; runs as unstructured_sparse" in said[0]


def test_a_matrix_of_blocks_runs_as_both_and_that_is_said(tmp_path):
    found, said = points(saved(tmp_path / "a.npz", BLOCKS), n=(3, 5))
    assert {name: len(p) for name, p in found.items()} == {"unstructured_sparse": 2, "block_sparse": 2}
    params = found["block_sparse"][0].params
    assert (params["block"], params["density"]) == (2, pytest.approx(2 / 6))
    x, y = product("block_sparse", params, "bsr")
    assert np.allclose(y, BLOCKS @ x["b"])
    assert "full blocks of 2×2" in said[0]
    assert "runs as unstructured_sparse, block_sparse" in said[0]


def test_a_pattern_gets_values(tmp_path):
    (tmp_path / "a.smtx").write_text("3, 4, 5\n0 2 2 5\n1 3 0 2 3\n")
    found, said = points(str(tmp_path / "a.smtx"))
    params = found["unstructured_sparse"][0].params
    assert params["pattern"].startswith("pattern:")
    x, _ = product("unstructured_sparse", params, "csr")
    assert x["a_indices"].tolist() == [1, 3, 0, 2, 3]
    assert "no values, so that these are drawn" in said[0]
    (tmp_path / "b.smtx").write_text("4, 4, 8\n0 2 4 6 8\n0 1 0 1 2 3 2 3\n")
    params = points(str(tmp_path / "b.smtx"))[0]["block_sparse"][0].params
    x, _ = product("block_sparse", params, "bsr")
    assert x["a"].shape == (2, 2, 2)
    assert x["a"].all()


def test_widths_are_those_of_the_preset_where_none_is_asked_for(tmp_path):
    found, _ = points(saved(tmp_path / "a.npz", BLOCKS), n=())
    for name, made in found.items():
        assert {p.params["n"] for p in made} == {p.params["n"] for p in WORKLOADS[name].presets["smoke"]}


def name_of(file):
    return points(file)[0]["unstructured_sparse"][0].params["pattern"]


def test_a_matrix_has_one_name_under_two_homes_and_no_home_stands_in_it(tmp_path):
    """By content and file name; one value, one place, one side and having values make another name."""
    first, second = (saved(tmp_path / home / "x.npz", DENSE) for home in ("alice", "bob"))
    assert name_of(first) == name_of(second)
    others = [DENSE * 1.0000001, DENSE[::-1], np.pad(DENSE, ((0, 1), (0, 0))), np.pad(DENSE, ((0, 0), (0, 1)))]
    names = {name_of(saved(tmp_path / "carol" / "x.npz", other)) for other in others} | {name_of(first)}
    sparse.save_npz(tmp_path / "x.npz", sparse.csr_array(DENSE).astype(bool))
    names.add(name_of(str(tmp_path / "x.npz")))
    assert len({name.split(":")[1] for name in names}) == 6
    assert not any("/" in name or "alice" in name for name in names)


def test_the_kind_of_file_is_no_part_of_the_matrix(tmp_path):
    file = saved(tmp_path / "a.npz", DENSE)
    columns = "\n".join(map(str, DENSE.T.ravel()))
    (tmp_path / "b.mtx").write_text(f"%%MatrixMarket matrix array real general\n3 4\n{columns}\n")
    assert name_of(file).split(":")[1] == name_of(str(tmp_path / "b.mtx")).split(":")[1]
    found, said = points(file, str(tmp_path / "b.mtx"))
    assert len(found["unstructured_sparse"]) == 1
    assert "holds the same matrix as matrix:" in said[1]


def test_what_is_not_at_hand_or_changed_is_told(tmp_path):
    file = saved(tmp_path / "a.npz", DENSE)
    found, _ = points(file)
    params, workload = found["unstructured_sparse"][0].params, WORKLOADS["unstructured_sparse"]
    for gone in ("matrix:0123456789abcdef:a.npz", "smtx:/a/b.smtx", "smtx:0123456789abcdef:b.smtx"):
        with pytest.raises(MatrixError, match="--matrix FILE"):
            workload.inputs(workload.check({**params, "pattern": gone}), 0)
    with pytest.raises(ValueError, match="the axes say 4×4"):
        workload.inputs({**params, "m": 4}, 0)
    with pytest.raises(ValueError, match="block 2"):
        WORKLOADS["block_sparse"].inputs({**params, "block": 2}, 0)
    saved(tmp_path / "a.npz", 2 * DENSE)
    with pytest.raises(MatrixError, match="has another content meanwhile"):
        at_hand(params["pattern"])


@pytest.mark.parametrize("name", ["x\udcff\n.npz", "a:b;c.npz", "ü" * 100 + ".npz"])
def test_any_file_name_can_be_written_to_a_record(tmp_path, name):
    file = saved(tmp_path / name, DENSE)
    found = name_of(file)
    found.encode()
    assert found.isprintable()
    assert len(found) < 110
    assert len(at_hand(found).pattern.indices) == 4


def test_more_files_than_can_be_handed_on_are_told():
    with pytest.raises(MatrixError, match="more than one run can hand on"):
        hand_on([(f"matrix:{i:016x}:a", Source(Path("/somewhere/a.npz"))) for i in range(5000)])


def test_a_value_that_a_dtype_does_not_hold_is_told_before_anything_runs(tmp_path):
    file = saved(tmp_path / "a.npz", DENSE * 1e6)
    assert points(file, dtypes=("float32", "bfloat16", "float64"))[0]
    with pytest.raises(UserError, match=r"has 4e\+06 as its largest value, and float16 holds"):
        points(file, dtypes=("float32", "float16"))
    with pytest.raises(UserError, match="and float32 holds"):
        points(saved(tmp_path / "a.npz", DENSE * 1e-60))


def test_what_no_chosen_workload_runs_is_told(tmp_path):
    plain, whole = saved(tmp_path / "a.npz", DENSE), saved(tmp_path / "b.npz", BLOCKS)
    assert points(whole, workloads=("block_sparse",))[0].keys() == {"block_sparse"}
    with pytest.raises(UserError, match=r"a\.npz: 3×4 with 4 .* nothing in --workload runs that"):
        points(whole, plain, workloads=("block_sparse",))
    with pytest.raises(UserError, match="--workload block_sparse runs none of the matrices given"):
        points(plain, workloads=("block_sparse", "unstructured_sparse"))
    assert not points()[0]


def test_a_matrix_of_groups_runs_as_one_and_only_as_its_own(tmp_path):
    dense = np.kron(np.ones((4, 3)), [1.0, 0, 0, 2]) * np.arange(1, 5)[:, None]
    found, said = points(saved(tmp_path / "a.npz", dense))
    assert found.keys() == {"unstructured_sparse", "nm_sparse"}
    assert "2 of every 4 in a row), its own values; runs as unstructured_sparse, nm_sparse" in said[0]
    params, workload = found["nm_sparse"][0].params, WORKLOADS["nm_sparse"]
    assert (params["keep"], params["out_of"], params["m"], params["k"], params["n"]) == (2, 4, 4, 12, 2)
    for formulation in ("csr", "ell"):
        x, y = product("nm_sparse", params, formulation)
        assert np.allclose(y, dense @ x["b"])
    for other in ({"keep": 1}, {"out_of": 3}, {"m": 8}, {"transposable": 1}):
        with pytest.raises(ValueError, match="give the file's own"):
            workload.inputs(workload.check({**params, **other}), 0)


def test_a_run_names_what_it_measured_and_may_be_published(tmp_path, capsys):
    """Through the whole command; --smtx is the same option."""
    file = saved(tmp_path / "a.npz", BLOCKS)
    for option in ("--matrix", "--smtx"):
        assert run_cli([*SMALL, option, file, "--dry-run", "--json"]) == 0
        out, err = capsys.readouterr()
        assert err.startswith(f"matrix: {file}: 4×6 with 8 non-zeros")
        assert {json.loads(line)["workload"] for line in out.splitlines()} >= {"unstructured_sparse", "block_sparse"}
    folder = tmp_path / "results"
    words = [*SMALL, "--matrix", file, "--set", "n=2", "--out", str(folder), "--formulation", "csr,bsr"]
    assert run_cli(words) == 0
    records = [r for r in load(folder).records if r.case.workload in ("unstructured_sparse", "block_sparse")]
    assert {r.case.workload for r in records if r.status == "ok"} == {"unstructured_sparse", "block_sparse"}
    said = [refusal for known in [Known()] for r in records for refusal in check(r, "here", known)]
    assert not [refusal for refusal in said if refusal.code in ("case", "work", "twins")]
    assert not any(str(tmp_path) in json.dumps(r.case.params) for r in records)


@pytest.mark.parametrize("target", ["0.5", "0.7", "0.8", "0.9", "0.95", "0.98"])
def test_real_patterns(target):
    """Pruned layers of the Deep Learning Matrix Collection agree through the framework-free backend."""
    files = sorted(SAMPLES.glob(f"*/*/{target}/*.smtx"))
    if not files:
        pytest.skip(f"no samples of the Deep Learning Matrix Collection at {SAMPLES}")
    found, _ = points(*(os.fspath(file) for file in files[:2]))
    for point in found["unstructured_sparse"]:
        product("unstructured_sparse", point.params, "csr")
