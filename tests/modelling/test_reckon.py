"""The model by hand-worked numbers, and kernels against the totals that records have."""

from __future__ import annotations

from dataclasses import replace
from math import isnan

import pytest

from backends.counting.totals import fused, one_by_one
from harness.modelling.device_file import checked
from harness.modelling.device_parts import part_for
from harness.modelling.kernel_table import Asked, KernelTable
from harness.modelling.kernels import Call, Counts, Kernel
from harness.modelling.reckon import Terms, missing
from harness.records.record import Case
from workloads.discovery import workloads

FILE = {
    "name": "by hand",
    "kind": "prototype",
    "source": "a test",
    "matmul": {"rate": {"float32": 1e9}},
    "vector": {"rate": {"float32": 1e8}},
    "memory": {"levels": [{"bytes": 1e3, "read": 1e10}, {"bytes": 1e5, "read": 1e8}]},
    "gather": {"rows_per_s": 1e6},
    "scatter": {"rows_per_s": 1e6, "conflict": 2.0},
    "sparse": {"values_per_s": 1e6, "rate": {"float32": 1e7}},
    "launch": {"op_s": 1e-6, "program_s": 1e-5, "kernel_s": 1e-7},
}
DENSE = Kernel(kind="dense", matmul_flop=2000, sides=(1, 10, 10, 10), held_bytes=800, written_bytes=200)


def times(*kernels, execution="eager", touched=1000, file=FILE, **asked):
    call = Call(kernels, touched)
    device = checked(file, "by hand")
    return Terms(KernelTable([Asked(call=call, execution=execution, dtype="float32", **asked)]), device)


def test_a_product_takes_the_longer_of_its_flop_and_its_bytes():
    assert times(DENSE).times()[0] == pytest.approx(2000 / 1e9 + 1e-6)
    slow = FILE | {"memory": {"levels": [{"bytes": 1e3, "read": 1e6}]}}
    found = times(DENSE, file=slow).reckoned()
    assert found.time_s[0] == pytest.approx(1000 / 1e6 + 1e-6)
    assert found.terms_s[0].tolist() == pytest.approx([0, 0, 1e-3, 0, 0, 0, 0, 1e-6])


def test_a_unit_that_packs_copies_the_operands_of_a_product_before_it_multiplies():
    """2 µs of FLOP; 1000 bytes moved and 800 copied at 1e10 bytes/s, 0.18 µs; a product with a vector is not copied."""
    packs = FILE | {"matmul": {"rate": {"float32": 1e9}, "packs": True}}
    found = times(DENSE, file=packs).reckoned()
    assert found.time_s[0] == pytest.approx(2e-6 + 0.18e-6 + 1e-6)
    assert found.terms_s[0].tolist() == pytest.approx([2e-6, 0, 0.18e-6, 0, 0, 0, 0, 1e-6])
    vector = Kernel(kind="dense", matmul_flop=200, sides=(1, 10, 1, 10), held_bytes=440, written_bytes=40)
    assert times(vector, file=packs).times()[0] == times(vector).times()[0]
    assert times(DENSE, file=packs | {"limits": {"pipelined": True}}).times()[0] == pytest.approx(3e-6)
    several = replace(DENSE, kind="small products", sides=(2, 10, 10, 5))
    assert times(several, file=packs).times()[0] == times(several).times()[0]  # of many in one call none is copied


def test_a_product_with_a_short_side_reaches_less_of_the_rate_and_one_with_a_vector_is_left_alone():
    """The shortest side is 10, half way in logarithms from 1/16 at 1 to 1/4 at 100: an eighth of the rate."""
    thin = [{"side": 1, "share": 1 / 16}, {"side": 100, "share": 1 / 4}]
    short = FILE | {"matmul": {"rate": {"float32": 1e9}, "thin": thin}}
    assert times(DENSE, file=short).times()[0] == pytest.approx(8 * 2e-6 + 1e-6)
    large = Kernel(kind="dense", matmul_flop=2000, sides=(1, 101, 101, 101), held_bytes=8)
    assert times(large, file=short).times()[0] == times(large).times()[0]
    vector = Kernel(kind="dense", matmul_flop=200, sides=(1, 10, 1, 10), held_bytes=440, written_bytes=40)
    assert times(vector, file=short).times()[0] == times(vector).times()[0]
    conv = Kernel(kind="elementwise", other_flop=10, held_bytes=8)
    assert times(conv, file=short).times()[0] == times(conv).times()[0]


def test_twice_the_bandwidth_halves_what_packing_takes():
    packs = FILE | {"matmul": {"rate": {"float32": 1e9}, "packs": True}}
    assert times(DENSE, file=packs).times("memory", 2.0)[0] == pytest.approx(2e-6 + 0.09e-6 + 1e-6)


def test_bandwidth_is_straight_in_logarithms_between_two_working_sets():
    operand = Kernel(kind="elementwise", held_bytes=1000)
    assert times(operand, touched=10_000).times()[0] == pytest.approx(1000 / 1e9 + 1e-6)
    assert times(operand, touched=10**7).times()[0] == pytest.approx(1000 / 1e8 + 1e-6)  # beyond the last: the last


def test_rows_are_reached_at_a_rate_or_in_whole_lines():
    gather = Kernel(kind="gather", gathered_rows=100, gathered_bytes=400, gathered_from=1000)
    assert times(gather).times()[0] == pytest.approx(100 / 1e6 + 1e-6)
    fast = FILE | {"gather": {"rows_per_s": 1e12}}
    assert times(gather, file=fast).times()[0] == pytest.approx(100 * 64 / 1e10 + 1e-6)  # 4 bytes cost a line of 64
    scatter = Kernel(kind="scatter", scattered_rows=100, scattered_bytes=400)
    assert times(scatter).times()[0] == pytest.approx(2 * 100 / 1e6 + 1e-6)


def test_a_stored_sparse_product_takes_the_longer_of_its_values_and_its_flop():
    sparse = Kernel(kind="sparse", stored=50, sparse_flop=1000, gathered_rows=50, gathered_bytes=2000)
    assert times(sparse).times()[0] == pytest.approx(1000 / 1e7 + 1e-6)
    few = Kernel(kind="sparse", stored=500, sparse_flop=1000, gathered_rows=500, gathered_bytes=2000)
    assert times(few).times()[0] == pytest.approx(500 / 1e6 + 1e-6)


def test_a_bag_and_a_vector_go_by_their_own_values_and_far_rows_by_a_share():
    own = {"bag": {"rate": {"float32": 1e8}, "far": [{"bytes": 1e3, "share": 1.0}, {"bytes": 1e5, "share": 0.01}]}}
    file = FILE | {"sparse": FILE["sparse"] | own | {"vector": {"values_per_s": 1e7}}}
    facts = {"stored": 50, "sparse_flop": 10_000, "gathered_rows": 50, "gathered_bytes": 2000}
    bag = Kernel(kind="embedding bag", form="bag", gathered_from=10_000, **facts)
    assert times(bag, file=file).times()[0] == pytest.approx(10_000 / 1e7 + 1e-6)  # a tenth of the rate
    assert times(bag).times()[0] == pytest.approx(10_000 / 1e7 + 1e-6)  # without: as compressed rows
    vector = Kernel(kind="sparse", form="vector", stored=5000, sparse_flop=100, gathered_rows=5000)
    assert times(vector, file=file).times()[0] == pytest.approx(5000 / 1e7 + 1e-6)


def test_a_product_by_itself_has_a_curve_of_its_own_and_one_with_a_vector_a_share_of_the_bandwidth():
    matmul = {"rate": {"float32": 1e9}, "small": [{"side": 10, "share": 0.5}], "thin": [{"side": 10, "share": 0.25}]}
    assert times(DENSE, file=FILE | {"matmul": matmul}).times()[0] == pytest.approx(4 * 2e-6 + 1e-6)
    several = Kernel(kind="small products", matmul_flop=2000, sides=(2, 10, 10, 10), held_bytes=8)
    assert times(several, file=FILE | {"matmul": matmul}).times()[0] == pytest.approx(2 * 2e-6 + 1e-6)
    vector = Kernel(kind="dense", matmul_flop=2, sides=(1, 10, 1, 10), held_bytes=960, written_bytes=40)
    slow = FILE | {"matmul": {"rate": {"float32": 1e9}, "vector": [{"bytes": 1e3, "share": 0.1}]}}
    assert times(vector, file=slow).times()[0] == pytest.approx(1000 / 1e9 + 1e-6)


def test_launches_go_by_the_execution():
    kernels = (DENSE,) * 3
    assert times(*kernels).times()[0] == pytest.approx(3 * 2e-6 + 3e-6)
    assert times(*kernels, execution="compiled").times()[0] == pytest.approx(3 * 2e-6 + 1e-5 + 2e-7)


def test_a_tile_rounds_sides_up_and_zeros_are_skipped_where_the_unit_can():
    tiled = FILE | {"matmul": {"rate": {"float32": 1e9}, "tile": [16, 10, 5]}}
    assert times(DENSE, file=tiled).times()[0] == pytest.approx(1.6 * 2e-6 + 1e-6)
    skips = FILE | {"matmul": {"rate": {"float32": 1e9}, "sparse": {"any": 4.0, "2:4": 8.0}}}
    assert times(DENSE, file=skips, zeros=2.0).times()[0] == pytest.approx(1e-6 + 1e-6)
    assert times(DENSE, file=skips, zeros=100.0).times()[0] == pytest.approx(0.5e-6 + 1e-6)
    assert times(DENSE, file=skips, zeros=2.0, structure=(2, 4)).times()[0] == pytest.approx(0.25e-6 + 1e-6)
    assert times(DENSE, file=skips).times()[0] == pytest.approx(2e-6 + 1e-6)


def test_a_pipeline_takes_as_long_as_its_busiest_part():
    other = Kernel(kind="elementwise", other_flop=300)
    piped = FILE | {"limits": {"pipelined": True, "static_shapes": True}}
    assert times(DENSE, other, execution="compiled", file=piped).times()[0] == pytest.approx(3e-6 + 1e-5 + 1e-7)
    assert isnan(times(DENSE, other, file=piped).times()[0])  # eager has no place on it


def test_one_term_faster_leaves_the_others():
    assert times(DENSE).times("matmul", 2.0)[0] == pytest.approx(1e-6 + 1e-6)
    assert times(DENSE).times("launch", 2.0)[0] == pytest.approx(2e-6 + 0.5e-6)
    assert times(DENSE).times("gather", 2.0)[0] == pytest.approx(2e-6 + 1e-6)


def test_energy_is_by_flop_byte_launch_and_time():
    costs = {"pj_per_flop": {"float32": 2.0}, "pj_per_launch": 1000.0, "idle_w": 1.0}
    levels = [{"bytes": 1e3, "read": 1e10, "pj_per_byte": 10.0}]
    found = times(DENSE, file=FILE | {"energy": costs, "memory": {"levels": levels}}).reckoned()
    assert found.energy_j[0] == pytest.approx((2000 * 2 + 1000 * 10 + 1000) * 1e-12 + found.time_s[0])
    assert isnan(times(DENSE).reckoned().energy_j[0])


def test_what_the_file_does_not_give_is_unknown_and_named():
    device = checked({k: v for k, v in FILE.items() if k != "gather"}, "by hand")
    call = Call((Kernel(kind="gather", gathered_rows=1, gathered_bytes=4, gathered_from=4), DENSE), 10)
    table = KernelTable([Asked(call=call, execution="eager", dtype="float32")])
    assert isnan(Terms(table, device).times()[0])
    assert missing(device, None, call, "eager", "float32") == "gather.rows_per_s"
    assert missing(device, None, call, "eager", "bfloat16") == "matmul.rate.bfloat16"
    assert missing(device, None, Call((DENSE,), 1), "eager", "float32") is None


def test_what_does_not_fit_has_no_figure():
    small = FILE | {"memory": FILE["memory"] | {"capacity": 500.0}}
    assert isnan(times(DENSE, file=small, touched=501).times()[0])
    assert not isnan(times(DENSE, file=small, touched=500).times()[0])
    needs = missing(checked(small, "by hand"), None, Call((DENSE,), 501), "eager", "float32")
    assert needs == "memory.capacity of 501 bytes"


def test_a_framework_has_its_own_values_and_the_rest_of_the_device():
    device = checked(FILE | {"backend": {"torch": {"launch": {"op_s": 5e-6}}}}, "by hand")
    assert part_for(device, "torch").launch.op_s == 5e-6
    assert part_for(device, "torch").launch.program_s == 1e-5
    assert part_for(device, "jax").launch.op_s == 1e-6


def _smoke():
    for definition in workloads()[0].values():
        for point in definition.presets["smoke"]:
            for name, formulation in definition.formulations[point.mode].items():
                if formulation.applies(point.params):
                    yield definition, point, name


@pytest.mark.parametrize("definition", workloads()[0].values(), ids=lambda d: d.name)
def test_kernels_add_up_to_the_executed_work_of_records(definition):
    """Flop, bytes, rows and launches, one by one and fused: what is counted is the same, only told kernel by kernel."""
    counts = Counts()
    for of, point, name in _smoke():
        if of is not definition:
            continue
        case = Case(
            workload=definition.name,
            formulation=name,
            params=dict(definition.check(point.params)),
            dtype="float32",
            mode=point.mode,
            backend="numpy",
            execution="eager",
            device="cpu",
        )
        counted = counts.of(definition, case)
        if isinstance(counted, str):
            continue
        operations, outputs = counted.counted.operations, counted.counted.outputs
        for call, total in (
            (counted.one_by_one, one_by_one(operations)),
            (counted.fused, fused(operations, outputs)),
        ):
            kernels = call.kernels
            assert len(kernels) == total.launches
            assert sum(k.bytes for k in kernels) == total.bytes
            assert sum(k.gathered_rows for k in kernels) == total.gathered_rows
            assert sum(k.scattered_rows for k in kernels) == total.scattered_rows
            flop = sum(k.matmul_flop + k.other_flop + k.sparse_flop + k.select_flop for k in kernels)
            assert flop == total.matmul_flop + total.other_flop


def test_the_sides_of_products_are_found():
    definition = workloads()[0]["dense_matmul"]
    params = {"m": 48, "k": 32, "n": 8, "grads": "both"}
    case = Case(
        workload="dense_matmul",
        formulation="nn",
        params=params,
        dtype="float32",
        mode="forward",
        backend="numpy",
        execution="eager",
        device="cpu",
    )
    counted = Counts().of(definition, case)
    assert not isinstance(counted, str)
    (kernel,) = counted.one_by_one.kernels
    assert (kernel.kind, kernel.sides) == ("dense", (1.0, 48.0, 8.0, 32.0))
