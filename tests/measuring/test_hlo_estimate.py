"""What the compiler says of a program, read from its text and its own figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from backends.ahead import Program
from harness.measuring import hlo_estimate

ROOT = Path(__file__).resolve().parents[2]

HLO = """HloModule jit_f, is_scheduled=true

%body (p.1: (s32[], f32[8,8])) -> (s32[], f32[8,8]) {
  %p.1 = (s32[], f32[8,8]) parameter(0)
  %gather.1 = f32[8,8]{1,0} gather(%p.1), backend_config={"estimated_cycles":"7000"}
}

%fused_scatter (p.2: f32[8,8]) -> f32[8,8] {
  ROOT %scatter.1 = f32[8,8]{1,0} scatter(%p.2), to_apply=%add
}

ENTRY %main.1 (a.1: f32[8,8]) -> f32[8,8] {
  %a.1 = f32[8,8]{1,0:T(8,128)} parameter(0)
  %copy-start = (f32[8,8]{1,0:T(8,128)S(1)}, f32[8,8]{1,0:T(8,128)}, u32[]{:S(2)}) copy-start(%a.1)
  %fusion.1 = f32[8,8]{1,0} fusion(%a.1), kind=kLoop, calls=%x, backend_config={"estimated_cycles":"300","x":"1"}
  %convert.1 = bf16[8,8]{1,0} convert(%fusion.1), backend_config={"window_config":{"estimated_cycles":"40"}}
  %one = f32[]{:T(128)} multiply(%c, %c)
  %bits = f32[8,8]{1,0} custom-call(%convert.1), custom_call_target="ConcatBitcast"
  %topk = f32[8,8]{1,0} custom-call(%convert.1), custom_call_target="TopK"
  %fusion.2 = f32[8,8]{1,0} fusion(%a.1), kind=kCustom, calls=%fused_scatter
  %while = (s32[], /*index=1*/f32[8,8]{1,0}) while(%t), condition=%c, body=%body
  ROOT %out = f32[8,8]{1,0} get-tuple-element(%while), index=1
}
"""


def test_cycles_are_added_up_and_what_carries_none_is_counted_by_kind():
    """Names, transfers and single numbers are no work; a loop counts as a whole, whatever stands inside."""
    found = hlo_estimate.cycles(HLO)
    assert found.cycles == 340
    assert found.covered == 2
    assert found.uncovered == {"custom-call TopK": 1, "fusion of scatter": 1, "while of gather": 1}
    assert found.share == 2 / 5


def test_a_program_without_work_has_no_share():
    """Unknown is None, never 0."""
    assert hlo_estimate.cycles("ENTRY %m (a: f32[2]) -> f32[2] {\n  ROOT %a = f32[2] parameter(0)\n}\n").share is None


def program(**facts) -> Program:
    known = {
        "route": "by hand",
        "trace_s": 0.1,
        "compile_s": 1.5,
        "cost": {"flops": 2e6, "bytes accessed": 3e3, "optimal_seconds": 4e-5},
        "argument_bytes": 1000,
        "output_bytes": 100,
        "alias_bytes": 50,
        "temp_bytes": 10,
        "code_bytes": 5,
        "hlo": HLO,
        "compiler": "libtpu 1",
    }
    return Program(**{**known, **facts})


CARD = """HloModule jit_f

%gemm (p0: f32[1024,1024], p1: f32[1024,1024]) -> f32[1024,1024] {
  %p0 = f32[1024,1024]{1,0} parameter(0)
  %p1 = f32[1024,1024]{1,0} parameter(1)
  ROOT %dot = f32[1024,1024]{1,0} dot(%p0, %p1), lhs_contracting_dims={1}, operand_precision={highest,highest}
}

ENTRY %main.1 (a.1: f32[1024,1024]) -> f32[8] {
  %a.1 = f32[1024,1024]{1,0} parameter(0)
  %g = f32[1024,1024]{1,0} fusion(%a.1, %a.1), kind=kCustom, calls=%gemm, backend_config={"kind":"__triton_gemm"}
  %h = f32[1024,1024]{1,0} fusion(%g, %a.1), kind=kCustom, calls=%gemm, backend_config={"kind":"__triton_gemm"}
  ROOT %k = f32[8]{0} custom-call(%h), custom_call_target="__gpu$TopK"
}
"""


def test_a_gpus_estimate_is_added_up_over_its_kernels_at_the_cards_rates():
    """XLA has no cost model of a card that is not there; a kernel of unknown work is one of three, and said."""
    made = hlo_estimate.estimate(program(hlo=CARD, cost={}), "H100")
    assert (made.kernels, made.libraries) == (3, {"__triton_gemm": 2})
    assert (made.flop, made.cycles) == (4 * 1024**3, None)
    assert made.covered_share == pytest.approx(2 / 3)
    assert made.uncovered == {"custom-call __gpu$TopK": 1}
    told = {kernel.what: kernel for kernel in made.kernels_told}
    assert told["fusion of dot"].count == 2
    assert told["fusion of dot"].time_s == pytest.approx(2 * 1024**3 / 67e12)
    traffic = 4 * (1024**2 + 8) / 3.35e12
    assert made.optimal_s == pytest.approx(2 * 2 * 1024**3 / 67e12 + traffic + 3 * 0.9e-6)
    assert made.fits
    assert not hlo_estimate.estimate(program(hlo=CARD, cost={}, temp_bytes=2**37), "H100").fits


def test_a_slower_card_takes_longer():
    """The same program, other rates."""
    seconds = [hlo_estimate.estimate(program(hlo=CARD, cost={}), card).optimal_s for card in ("V100", "A100", "H100")]
    assert seconds == sorted(seconds, reverse=True)


def test_the_estimate_holds_what_the_compiler_said():
    """Every figure is the compiler's; whether it fits is its sum against the chip's memory."""
    made = hlo_estimate.estimate(program(), "v5e")
    assert (made.flop, made.bytes_accessed, made.optimal_s) == (2e6, 3e3, 4e-5)
    assert (made.cycles, made.covered_share, made.fits) == (340, 0.4, True)
    assert hlo_estimate.estimate(program(temp_bytes=16 << 30), "v5e").fits is False
    assert hlo_estimate.estimate(program(temp_bytes=16 << 30), "v5p").fits is True


@pytest.mark.parametrize(
    ("cost", "hlo", "seconds"),
    [
        (4e-5, "", 4e-5),
        (0.0, "", 0.0),
        (-1 + 4e-5, 'custom_call_target="ConcatBitcast"', pytest.approx(4e-5)),
        (-2 + 4e-5, 'custom_call_target="ConcatBitcast" custom_call_target="AllocateBuffer"', pytest.approx(4e-5)),
        (-1 + 4e-5, 'custom_call_target="TopK"', None),  # it does work, and nobody knows how long
        (-1 + 4e-5, "", None),
        (-1 + 1e-7, 'custom_call_target="ConcatBitcast"', None),  # below what a float32 near -1 can tell
    ],
)
def test_the_minus_one_of_a_free_custom_call_is_taken_back_and_no_other(cost, hlo, seconds):
    """XLA's cost model marks unknown by adding -1, which must neither stand as a time nor hide one."""
    assert hlo_estimate.optimal_s(program(cost={"optimal_seconds": cost}, hlo=hlo)) == seconds


def test_unknown_figures_are_none():
    """-1 and an absent name are both unknown."""
    made = hlo_estimate.estimate(program(cost={"flops": -1.0}, hlo=""), "v5e")
    assert (made.flop, made.bytes_accessed, made.optimal_s, made.cycles, made.covered_share) == (None,) * 5
