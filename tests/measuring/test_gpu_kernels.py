"""The kernels of a GPU program: their FLOP and bytes by hand-worked values, loops, libraries, and seconds."""

from __future__ import annotations

import pytest

from harness.measuring import gpu_kernels, hlo_text
from harness.measuring.gpu_kernels import Rates
from harness.measuring.hlo_work import KernelWork

HEAD = "HloModule jit_f, is_scheduled=true\n\n"


def kernels(entry: str, computations: str = "") -> gpu_kernels.Kernels:
    body = "\n".join(f"  {line.strip()}" for line in entry.strip().splitlines())
    return gpu_kernels.of_program(
        hlo_text.read(f"{HEAD}{computations}\n\nENTRY %main (a: f32[1]) -> f32[1] {{\n{body}\n}}\n")
    )


def only(entry: str, computations: str = "") -> KernelWork:
    (kernel,) = kernels(entry, computations).kernels
    return kernel.work


ADD = "%add (x: f32[], y: f32[]) -> f32[] {\n  ROOT %s = f32[] add(%x, %y)\n}\n"
GEMM = """
%gemm (p0: f32[64,32], p1: f32[32,16]) -> f32[64,16] {
  %p0 = f32[64,32]{1,0} parameter(0)
  %p1 = f32[32,16]{1,0} parameter(1)
  ROOT %dot = f32[64,16]{1,0} dot(%p0, %p1), lhs_contracting_dims={1}, rhs_contracting_dims={0}PRECISION
}
"""


@pytest.mark.parametrize(
    ("said", "precision"),
    [
        (", operand_precision={highest,highest}", "float32"),
        (", algorithm=dot_f32_f32_f32", "float32"),
        ("", "tf32"),
        (", operand_precision={default,default}", "tf32"),
    ],
)
def test_a_product_in_a_triton_fusion_has_2mnk_flop_in_the_precision_that_the_program_asks(said, precision):
    found = kernels(
        """%a = f32[64,32]{1,0} parameter(0)
        %b = f32[32,16]{1,0} parameter(1)
        ROOT %f = f32[64,16]{1,0} fusion(%a, %b), kind=kCustom, calls=%gemm, backend_config={"kind":"__triton_gemm"}""",
        GEMM.replace("PRECISION", said),
    )
    (kernel,) = found.kernels
    assert dict(kernel.work.products) == {precision: 2 * 64 * 32 * 16}
    assert kernel.work.bytes == 4 * (64 * 32 + 32 * 16 + 64 * 16)
    assert (kernel.work.other_flop, kernel.work.known, kernel.what) == (0, True, "fusion of dot")
    assert found.libraries == {"__triton_gemm": 1}


def test_arithmetic_counts_a_flop_a_value_and_reductions_what_they_take_in():
    """Moves, comparisons and whole numbers are no FLOP; the fusion reads its operand once though it is used twice."""
    work = only(
        """%a = f32[8,16]{1,0} parameter(0)
        ROOT %f = f32[8]{0} fusion(%a), kind=kInput, calls=%softmax""",
        ADD
        + """
%softmax (p: f32[8,16]) -> f32[8] {
  %p = f32[8,16]{1,0} parameter(0)
  %zero = f32[] constant(0)
  %e = f32[8,16]{1,0} exponential(%p)
  %t = f32[8,16]{1,0} transpose(%p), dimensions={0,1}
  %i = s32[8,16]{1,0} add(%j, %j)
  %c = pred[8,16]{1,0} compare(%e, %t), direction=LT
  ROOT %r = f32[8]{0} reduce(%e, %zero), dimensions={1}, to_apply=%add
}
""",
    )
    assert (work.flop, work.bytes) == (2 * 8 * 16, 4 * (8 * 16 + 8))


def test_what_is_only_gathered_or_sliced_from_is_read_as_often_as_it_is_gathered():
    """A table of 4 MB of which 10 rows are taken is 10 rows; one whose rows are all taken thrice is read thrice."""
    text = """
%g (t: f32[1000,1024], i: s32[10]) -> f32[10,1024] {{
  %t = f32[1000,1024]{{1,0}} parameter(0)
  %i = s32[{n}]{{0}} parameter(1)
  %b = f32[1000,1024]{{1,0}} bitcast(%t)
  ROOT %out = f32[{n},1024]{{1,0}} gather(%b, %i), offset_dims={{1}}
}}
"""
    for n in (10, 3000):
        entry = f"""%t = f32[1000,1024]{{1,0}} parameter(0)
        %i = s32[{n}]{{0}} parameter(1)
        ROOT %f = f32[{n},1024]{{1,0}} fusion(%t, %i), kind=kLoop, calls=%g"""
        assert only(entry, text.format(n=n)).bytes == 2 * 4 * n * 1024 + 4 * n


def test_a_scatter_reads_adds_and_writes_its_updates_and_not_all_of_what_it_scatters_into():
    work = only(
        """%into = f32[1000,8]{1,0} parameter(0)
        %i = s32[5,1]{1,0} parameter(1)
        %u = f32[5,8]{1,0} parameter(2)
        ROOT %f = f32[1000,8]{1,0} fusion(%into, %i, %u), kind=kInput, calls=%s""",
        ADD
        + """
%s (p0: f32[1000,8], p1: s32[5,1], p2: f32[5,8]) -> f32[1000,8] {
  %p0 = f32[1000,8]{1,0} parameter(0)
  %p1 = s32[5,1]{1,0} parameter(1)
  %p2 = f32[5,8]{1,0} parameter(2)
  ROOT %out = f32[1000,8]{1,0} scatter(%p0, %p1, %p2), to_apply=%add
}
""",
    )
    assert (work.flop, work.bytes) == (5 * 8, 4 * 5 + 3 * 4 * 5 * 8)


LIBRARY = """%a = f32[64,32]{1,0} parameter(0)
%b = f32[32,16]{1,0} parameter(1)
%i = f32[2,8,8,3]{3,2,1,0} parameter(2)
%w = f32[5,3,3,3]{3,2,1,0} parameter(3)
%y = f32[2,8,8,5]{3,2,1,0} parameter(4)
%v = f32[100]{0} parameter(5)
%c = s32[100]{0} parameter(6)
%r = s32[65]{0} parameter(7)
"""
CONV = "window={size=3x3 pad=1_1x1_1}, dim_labels=b01f_o01i->b01f, operand_precision={highest,highest}"


@pytest.mark.parametrize(
    ("call", "flop", "moved"),
    [
        (
            'custom-call(%a, %b), custom_call_target="__cublas$gemm", backend_config={"dot_dimension_numbers":'
            '{"lhs_contracting_dimensions":["1"]},"precision_config":{"operand_precision":["HIGHEST","HIGHEST"]}}',
            2 * 64 * 32 * 16,
            4 * (64 * 32 + 32 * 16 + 64 * 16),
        ),
        (
            f'custom-call(%i, %w), {CONV}, custom_call_target="__cudnn$convForward"',
            2 * (2 * 8 * 8 * 5) * 27,
            4 * (384 + 135 + 640),
        ),
        (
            f'custom-call(%y, %w), {CONV}, custom_call_target="__cudnn$convBackwardInput"',
            2 * (2 * 8 * 8 * 5) * 27,
            4 * (640 + 135 + 384),
        ),
        (
            f'custom-call(%i, %y), {CONV}, custom_call_target="__cudnn$convBackwardFilter"',
            2 * (2 * 8 * 8 * 5) * 27,
            4 * (384 + 640 + 135),
        ),
        (
            'custom-call(%v, %c, %r, %b), custom_call_target="cusparse_csr_matmat_ffi"',
            2 * 100 * 16,
            4 * (100 + 100 + 65 + 100 * 16 + 64 * 16),
        ),
    ],
)
def test_a_library_call_has_the_flop_of_what_it_computes(call, flop, moved):
    """cuSPARSE takes a row of the dense operand for every non-zero; a workspace is no traffic."""
    out = {"gemm": "[64,16]", "Forward": "[2,8,8,5]", "Input": "[2,8,8,3]", "Filter": "[5,3,3,3]", "matmat": "[64,16]"}
    shape = next(shape for name, shape in out.items() if name in call)
    found = kernels(f"{LIBRARY}%x = (f32{shape}, u8[4096]{{0}}) {call}")
    (kernel,) = found.kernels
    assert (kernel.work.flop, kernel.work.bytes, kernel.work.known) == (flop, moved, True)
    assert found.libraries.total() == 1


def test_a_call_that_nobody_has_a_formula_for_is_unknown_and_its_traffic_is_not():
    """A lower bound is said to be one."""
    work = only('%a = f32[64]{0} parameter(0)\n%x = f32[8]{0} custom-call(%a), custom_call_target="__gpu$TopK"')
    assert (work.known, work.bytes) == (False, 4 * 72)
    assert not only("%a = f32[64]{0} parameter(0)\n%x = f32[64]{0} sort(%a), dimensions={0}, to_apply=%lt").known
    assert not only("%a = s8[4,4]{1,0} parameter(0)\n%x = s32[4,4]{1,0} dot(%a, %a), lhs_contracting_dims={1}").known


BODY = """
%body (p: (s32[], f32[8])) -> (s32[], f32[8]) {
  %p = (s32[], f32[8]{0}) parameter(0)
  %x = f32[8]{0} get-tuple-element(%p), index=1
  %g = f32[8]{0} gather(%x, %x), offset_dims={}
  %y = f32[8]{0} add(%g, %x)
}
"""
LOOP = "%t = (s32[], f32[8]{0}) parameter(0)\nROOT %w = (s32[], f32[8]{0}) while(%t), condition=%c, body=%body"


def test_a_loop_launches_its_body_as_often_as_it_turns_and_is_told():
    """XLA says how often, where it knows."""
    found = kernels(LOOP + ', backend_config={"known_trip_count":{"n":"7"}}', BODY)
    assert found.launches == 14
    assert found.loops == ["a while of gather turns 7 times"]
    assert all(kernel.work.known for kernel in found.kernels)


def test_a_loop_of_unknown_turns_counts_once_and_is_not_covered():
    found = kernels(LOOP, BODY)
    assert [(kernel.what, kernel.work.known) for kernel in found.kernels] == [
        ("gather", True),
        ("add", True),
        ("while of gather", False),
    ]
    assert found.loops == ["a while of gather turns an unknown number of times"]


def test_names_for_what_is_there_launch_nothing_and_called_computations_do():
    called = "%part (p: f32[8]) -> f32[8] {\n  %p = f32[8]{0} parameter(0)\n  ROOT %n = f32[8]{0} negate(%p)\n}\n"
    found = kernels(
        """%a = f32[8]{0} parameter(0)
        %b = f32[2,4]{1,0} bitcast(%a)
        %k = f32[8]{0} custom-call(), custom_call_target="AllocateBuffer"
        %c = f32[8]{0} call(%a), to_apply=%part
        ROOT %t = (f32[2,4]{1,0}, f32[8]{0}) tuple(%b, %c)""",
        called,
    )
    assert [kernel.what for kernel in found.kernels] == ["negate"]


def test_seconds_are_the_longer_of_arithmetic_and_traffic():
    """A precision that the card has no rate for is made in float32."""
    rates = Rates({"float32": 1e12, "float64": 5e11, "tf32": 8e12}, 1e12, 1e-6)
    assert rates.seconds(KernelWork({"tf32": 8e6}, bytes=10)) == pytest.approx(1e-6)
    assert rates.seconds(KernelWork({"bfloat16": 8e6}, bytes=10)) == pytest.approx(8e-6)
    assert rates.seconds(KernelWork({"tf32": 8e6}, 1e6, bytes=3 * 10**6)) == pytest.approx(3e-6)
    assert rates.seconds(KernelWork({}, 1e6, double=True)) == pytest.approx(2e-6)


def test_kernels_that_are_alike_are_told_once():
    same = gpu_kernels.ProgramKernel("fusion", KernelWork({}, 1.0, 4), 2)
    other = gpu_kernels.ProgramKernel("fusion", KernelWork({}, 2.0, 4), 1)
    told = list(gpu_kernels.grouped([same, other, same]))
    assert [(kernel.work.other_flop, kernel.count) for kernel in told] == [(1.0, 4), (2.0, 1)]


def test_shapes_and_operands_are_read_whatever_is_printed_beside_them():
    """Types before operands, comments in tuples, and sizes in bits."""
    line = "ROOT %x = (f32[2]{0}, /*index=1*/bf16[3,4]{1,0}) fusion(f32[2]{0} %a, /*index=1*/%b.1), kind=kLoop"
    (read,) = hlo_text.read(f"ENTRY %m (a: f32[2]) -> f32[2] {{\n  {line}\n}}\n").main
    assert (read.operands, read.root, read.tuple_) == (("a", "b.1"), True, True)
    assert [shape.bytes for shape in read.shapes] == [8, 24]
    sizes = {"pred[3]": 3, "s4[3]": 2, "f8e4m3fn[3]": 3, "c64[2]": 16, "token[]": 0, "u32[]": 4}
    assert {text: hlo_text.shapes(text)[0].bytes for text in sizes} == sizes
