"""A device file from records, and the model held to records: with made-up times that the model must find."""

from __future__ import annotations

import pytest
from _records import record

from harness.modelling import calibration
from harness.modelling.class_errors import class_error
from harness.modelling.device_file import checked
from harness.modelling.device_parts import unknown
from harness.modelling.toml_text import as_toml
from harness.modelling.validation import Judged, Validation, first_of_least, validate_device
from workloads.discovery import workloads

RATE = 1e10
SQUARE = {"m": 256, "k": 256, "n": 256, "grads": "both"}


def ceiling(
    workload, seconds, flop=1000, least_bytes=1000, backend="torch", execution="eager", formulation="flat", **params
):
    return record(
        workload,
        [[seconds * 0.9, seconds, seconds * 1.1]],
        formulation=formulation,
        params=params,
        backend=backend,
        execution=execution,
        flop=flop,
        least_bytes=least_bytes,
    )


def stored(seconds, flop, formulation="csr", columns=100, **more):
    return ceiling("stored_product", seconds, flop, formulation=formulation, columns=columns, **more)


def ceilings(backend="torch", speed=1.0):
    flop = 2 * 256**3
    return [
        ceiling("dense_matmul", flop / RATE / speed, flop, backend=backend, **SQUARE),
        ceiling("stream", 1e-4, least_bytes=10**6, backend=backend, kernel="dot", elements=250_000),
        ceiling("stream", 1e-2, least_bytes=10**8, backend=backend, kernel="dot", elements=25_000_000),
        ceiling("small_steps", 64e-6, backend=backend, steps=64),
        ceiling("small_steps", 2e-5, backend=backend, execution="compiled", steps=1),
        ceiling("small_steps", 83e-6, backend=backend, execution="compiled", steps=64),
        ceiling("row_gather", 1e-3, backend=backend, rows=16, width=16, count=10**5),
        ceiling("row_scatter", 1e-3, backend=backend, segments=16, width=16, count=10**4),
        stored(1e-3, 2 * 10**6, backend=backend, n=1),
        stored(1e-3, 64 * 10**6, backend=backend, n=64),
        ceiling("row_sort", 1e-3, 10**6, backend=backend, rows=4, width=4),
        ceiling("square_products", 1001e-6, 10**6 * speed, 10**6, backend=backend, batch=4, side=8),
        ceiling("polynomial", 1e-3, 10**7, backend=backend, execution="compiled", elements=4, degree=4),
    ]


def device_of(records):
    return checked(calibration.device_of(records, name="made up", source="a test"), "made up")


def test_each_rate_is_that_of_its_ceiling():
    device = device_of(ceilings())
    assert device.matmul.rate["float32"] == pytest.approx(RATE)
    read = [(level.bytes, level.read) for level in device.memory.levels]
    assert read == [
        (1e6, pytest.approx(1e6 / 99e-6)),
        (1e8, pytest.approx(1e8 / 9999e-6)),
    ]  # less what it takes to begin
    assert (device.gather.rows_per_s, device.scatter.rows_per_s) == (pytest.approx(1e8), pytest.approx(1e7))
    assert (device.sparse.values_per_s, device.sparse.rate["float32"]) == (pytest.approx(1e9), pytest.approx(6.4e10))
    assert (device.select.sort_per_s, device.vector.rate["float32"]) == (pytest.approx(1e9), pytest.approx(1e10))
    assert device.launch.op_s == pytest.approx(1e-6)
    assert device.launch.program_s == pytest.approx(2e-5)
    assert device.launch.kernel_s == pytest.approx(1e-6)


def test_a_stream_that_is_mostly_beginning_tells_nothing_of_bandwidth():
    tiny = ceiling("stream", 1.5e-6, least_bytes=400, kernel="dot", elements=100)
    assert device_of([*ceilings(), tiny]).memory.levels == device_of(ceilings()).memory.levels
    half = ceiling("stream", 4e-6, least_bytes=4 * 10**4, kernel="dot", elements=10_000)
    assert device_of([*ceilings(), half]).memory.levels[0].read == pytest.approx(4e4 / 3e-6)


def test_a_processor_packs_the_operands_of_products_and_nothing_else_does():
    assert device_of(ceilings()).matmul.packs
    accelerator = calibration.device_of(ceilings(), name="made up", source="a test", kind="gpu")
    assert "packs" not in accelerator["matmul"]


def test_intervals_and_sources_are_in_the_file():
    document = calibration.device_of(ceilings(), name="made up", source="a test")
    low, high = document["intervals"]["matmul.rate.float32"]
    assert low < RATE < high
    assert document["intervals"].keys() | {"matmul.packs"} == document["sources"].keys()
    for key in ("memory.levels[1].read", "matmul.small[0].share", "backend.torch.memory.levels[0].read"):
        assert document["intervals"][key][0] < document["intervals"][key][1], key
        assert document["sources"][key].startswith("measured: "), key
    assert document["sources"]["gather.rows_per_s"].startswith("measured: row_gather/flat torch eager rows=16")
    assert "[intervals]" in as_toml(document)


def test_a_framework_keeps_its_own_and_the_device_has_the_best():
    device = device_of([*ceilings(), *ceilings("jax", speed=0.5)])
    assert device.matmul.rate["float32"] == pytest.approx(RATE)
    assert device.backend["jax"].matmul.rate["float32"] == pytest.approx(RATE / 2)


def test_small_products_reach_a_share_of_the_rate_and_never_less_than_smaller_ones():
    """1001 µs are 1 to begin and 1000 for 10⁶ FLOP, of 10⁷."""
    (found,) = device_of(ceilings()).matmul.small
    assert (found.side, found.share) == (8, pytest.approx(0.1, rel=1e-6))
    worse = ceiling("square_products", 2001e-6, 10**6, 10**6, batch=4, side=16)
    assert [s.share for s in device_of([*ceilings(), worse]).matmul.small] == pytest.approx([0.1, 0.1])


def test_products_with_a_short_side_reach_a_share_of_the_rate_up_to_where_the_rate_is_from():
    """Beside 1 µs to begin 1000 µs for 2.5e6 FLOP. What was measured is not assumed: nothing is said of packing."""
    thin = ceiling("thin_products", 1e-3 + 1e-6, 2_500_000, 4800, rows=25, side=4)
    found = device_of([*ceilings(), thin]).matmul
    assert [(p.side, p.share) for p in found.thin] == [(4, pytest.approx(0.25)), (256, 1.0)]
    assert found.packs is None


def test_a_product_with_a_vector_reaches_a_share_of_the_bandwidth_of_its_working_set():
    several = [
        ceiling("thin_products", 1e-6 + 4e-4, least_bytes=10**6, rows=9, side=1),  # of 1e6 bytes in 99 µs
        ceiling("thin_products", 1e-6 + 9999e-6, least_bytes=10**8, rows=99, side=1),
    ]
    found = device_of([*ceilings(), *several]).matmul.vector
    assert [(p.bytes, p.share) for p in found] == [(1e6, pytest.approx(0.2475)), (1e8, pytest.approx(1.0))]


def test_embedding_bags_have_rates_of_their_own_and_rows_of_large_tables_a_share():
    bags = [stored(5e-4, 64 * 10**6, "bag", n=64), stored(2e-3, 64 * 10**6, "bag", 10**5, n=64)]
    unit = device_of([*ceilings(), *bags]).backend["torch"].sparse
    assert (unit.rate["float32"], unit.bag.rate["float32"]) == (pytest.approx(6.4e10), pytest.approx(1.28e11))
    assert [(f.bytes, f.share) for f in unit.bag.far] == [(25_600, 1.0), (25_600_000, pytest.approx(0.25))]
    assert unit.far == []  # of compressed rows one table was measured


def test_a_framework_without_a_form_has_no_others_rate_of_it():
    device = device_of([*ceilings(), stored(5e-4, 64 * 10**6, "bag", n=64), *ceilings("jax")])
    assert device.backend["jax"].sparse.bag.rate["float32"] == pytest.approx(6.4e10)


def test_what_was_not_measured_is_left_out_and_named():
    left = [r for r in ceilings() if r.case.workload not in ("row_gather", "row_sort")]
    document = calibration.device_of(left, name="made up", source="a test")
    assert "gather" not in document
    lacking = ["matmul.thin", "matmul.vector", "gather.rows_per_s", "select.sort_per_s", "sparse.far"]
    assert unknown(document) == lacking


def test_without_small_steps_a_launch_is_what_two_small_streams_leave():
    streams = [
        ceiling("stream", 12e-6, least_bytes=262_144, kernel="dot", elements=65_536),
        ceiling("stream", 12e-6 + 16 * 3e-6 - 3e-6, least_bytes=4_194_304, kernel="dot", elements=1_048_576),
    ]
    found = device_of([r for r in ceilings() if r.case.workload not in ("small_steps", "stream")] + streams)
    assert found.launch.op_s == pytest.approx(9e-6)
    assert found.launch.program_s is None


def test_the_launch_of_one_framework_is_not_lent_to_another():
    jax = [r for r in ceilings("jax") if r.case.workload != "small_steps"]
    device = device_of([*ceilings(), *jax])
    assert device.launch.op_s is None
    assert device.backend["torch"].launch.op_s == pytest.approx(1e-6)


def product(seconds, m, formulation="nn", backend="torch"):
    shape = {"m": m, "k": 512, "n": 256, "grads": "both"}
    return record("dense_matmul", [seconds], formulation=formulation, params=shape, backend=backend)


def expected(m):
    """Operands are read, copied and multiplied, and the result is written, at about 1.01e10 bytes/s."""
    operands, out = 4 * (m * 512 + 512 * 256), 4 * m * 256
    return 2 * m * 512 * 256 / RATE + (2 * operands + out) / 1.01e10 + 1e-6


def test_the_model_finds_times_that_were_made_by_it_and_the_errors_of_others():
    records = [product(expected(m) * off, m) for m, off in ((256, 1.0), (384, 1.25), (640, 2.0))]
    found = validate_device(device_of(ceilings()), [*ceilings(), *records], workloads()[0])
    errors = {e.name: e for e in found.classes()}
    assert errors["dense torch"].cases == errors["dense any"].cases == 3  # the ceilings judge nothing
    assert errors["dense torch"].median_error == pytest.approx(0.2, abs=0.01)
    assert errors["dense torch"].p95_error == pytest.approx(0.47, abs=0.01)
    assert not errors["dense torch"].breaks_even
    (shape,) = [e for e in found.held_out("shape") if e.name == "dense torch"]
    assert shape.cases == 3
    assert found.held_out("workload") == []  # there is one workload only


def test_regret_is_what_the_choice_of_a_path_costs():
    """Two layouts are one to the model, which takes the one written first; here the other is twice as fast."""
    slow = [product(expected(256), 256), product(expected(256) / 2, 256, "nt")]
    found = validate_device(device_of(ceilings()), slow, workloads()[0])
    assert found.regrets() == [pytest.approx(2.0), pytest.approx(2.0)]  # through torch, and through any
    ofs = [(c.name, c.points, c.within, c.median) for c in found.regret_by_class()]
    assert ofs == [("dense any", 1, 0, pytest.approx(2.0)), ("dense torch", 1, 0, pytest.approx(2.0))]
    assert found.by("kind", "backend")[0].bias == pytest.approx(2.0, rel=0.01)


def test_of_a_formulation_the_best_execution_counts():
    """The model chooses between ways to write it; which execution is the fastest of one is tried in no time."""
    paths = [
        judged("nn/eager", reckoned=1.0, measured=4.0),
        judged("nn/compiled", reckoned=2.0, measured=1.0),
        judged("nt/eager", reckoned=3.0, measured=1.05),
    ]
    found = Validation(judged=paths, left_out={})
    assert found.regrets() == [1.0]
    (error,) = found.classes()
    assert (error.points, error.within, error.chooses) == (1, 1, True)
    one = Validation(judged=paths[:2], left_out={})
    assert (one.regrets(), one.classes()[0].points) == ([], 0), "there is nothing to choose"
    slow = Validation(judged=[*paths[:2], judged("nt/eager", reckoned=3.0, measured=0.5)], left_out={})
    assert slow.regrets() == [2.0]
    assert not slow.classes()[0].breaks_even


def judged(path, *, reckoned, measured):
    return Judged("dense", "torch", "dense_matmul", ("m=1", "forward", "float32"), path, 0, measured, reckoned)


def test_what_the_device_does_not_give_is_left_out_and_counted():
    without = [r for r in ceilings() if r.case.workload != "small_steps"]
    found = validate_device(device_of(without), [product(1.0, 256)], workloads()[0])
    assert found.judged == []
    assert found.left_out == {"made up does not give launch.op_s": 1}


def test_errors_by_hand_and_the_first_of_equals():
    error = class_error("x", [0.5, 1.0, 1.5, 4.0])
    assert (error.median_error, error.bias) == (0.5, 1.25)
    assert first_of_least([(1.01, 0), (1.0, 5), (2.0, 1)]) == 0
    assert first_of_least([(1.5, 0), (1.0, 5)]) == 1
