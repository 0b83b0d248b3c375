"""Compiling in the JAX adapter: timed apart, never repeated, refused in words, and its setting chosen by trial."""

import itertools
import time

import numpy as np
import pytest

from backends.jax_backend import BACKEND
from backends.ops import Device, Unsupported

jax = pytest.importorskip("jax")


@pytest.fixture(scope="module")
def ops():
    return BACKEND.open(Device("cpu"))


def test_compilation_is_timed_apart_and_never_repeated(ops):
    """Tracing and compiling are over before the first call; another shape is refused rather than compiled."""
    a = ops.asarray(np.ones((8, 8), "float32"))
    compiled = ops.compile(lambda a: (ops.matmul(a, a),), "compiled", [a])
    assert compiled.trace_s > 0
    assert compiled.compile_s > 0
    assert compiled.temp_bytes >= 0
    ops.wait(compiled.call(a))
    assert compiled.traces() == 0
    with pytest.raises(TypeError):
        compiled.call(ops.asarray(np.ones((4, 4), "float32")))


def test_a_planted_recompilation_is_counted(ops):
    """A callable that jits anew at every call, the classic mistake, is seen at every call."""
    a = ops.asarray(np.ones(3, "float32"))
    compiled = ops.compile(lambda a: (jax.jit(lambda x: x * 3 + 1)(a),), "eager", [a])
    compiled.call(a)
    once = compiled.traces()
    compiled.call(a)
    assert 0 < once < compiled.traces()


def test_refusals_become_unsupported_and_errors_do_not(ops):
    """NotImplementedError and UNIMPLEMENTED are the framework's no; a bug or lack of memory is neither."""
    a = ops.asarray(np.ones(3, "float32"))

    def raising(error):
        def fn(a):
            raise error

        return fn

    for refusal in (NotImplementedError("no such\n thing"), jax.errors.JaxRuntimeError("UNIMPLEMENTED: no such thing")):
        with pytest.raises(Unsupported, match="no such thing"):
            ops.compile(raising(refusal), "compiled", [a])
    for error in (ValueError("mine"), TypeError("mine"), jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: memory")):
        with pytest.raises(type(error), match=str(error)):
            ops.compile(raising(error), "compiled", [a])
    with pytest.raises(Unsupported, match="no execution 'graph'"):
        ops.compile(lambda a: (a,), "graph", [a])


def test_a_long_setting_is_tried_once(ops, monkeypatch):
    """A call of seconds is its own trial; shorter ones are called before they count."""
    from backends import jax_compile

    calls: list[str] = []

    def takes(name, seconds):
        return lambda: (calls.append(name), time.sleep(seconds))

    monkeypatch.setattr(jax_compile, "LONG_S", 0.01)
    best, said = jax_compile._fastest({"default": takes("default", 0.06), "off": takes("off", 0.03)}, [])
    assert (best, sorted(calls)) == ("off", ["default", "off"])
    assert "in 1 rounds" in said["tried"]
    jax_compile._fastest({"default": takes("default", 0.003), "off": takes("off", 0.001)}, [])
    assert len(calls) > 6
    monkeypatch.setattr(jax_compile, "LONG_S", 0.5)
    monkeypatch.setattr(jax_compile, "SETTLED_S", 0.01)
    monkeypatch.setattr(jax_compile, "TRIAL_BUDGET_S", 0.05)
    calls.clear()
    assert jax_compile._fastest({"default": takes("default", 0.03), "off": takes("off", 0.02)}, [])[0] == "off"
    assert len(calls) == 4, "called once to wake threads, and once more: the budget is spent"


@pytest.mark.parametrize(
    ("others", "rounds"), [([0.8, 1.2], 24), ([0.93, 0.99], 24), ([0.93], 5), ([0.8], 3), ([1.2], 2), ([0.4], 1)]
)
def test_a_trial_goes_on_while_its_rounds_disagree_and_ends_where_all_show_it_plainly(monkeypatch, others, rounds):
    pytest.importorskip("jax")
    from backends import jax_compile

    assert jax_compile._kept([{"default": 1.0, "off": 0.8}] * 9 + [{"default": 1.0, "off": 1.1}] * 3) == ("off", 0.75)
    assert jax_compile._kept([{"default": 1.0, "off": 1.1, "dot": 0.99}] * 4) == ("default", 1.0)
    blocks = itertools.cycle(others)
    monkeypatch.setattr(jax_compile, "_block", lambda name, *_: 0.001 * (1.0 if name == "default" else next(blocks)))
    _, said = jax_compile._fastest({"default": "default", "off": "off"}, [])
    assert f"in {rounds} rounds" in said["tried"]


def test_the_fastest_setting_is_kept_and_recorded(ops):
    """Another fusion setting replaces XLA's default only where it is clearly faster; what was tried is recorded."""
    from backends.jax_compile import YNN, _fastest

    def slow():
        time.sleep(0.02)

    def fast():
        time.sleep(0.002)

    def busy():  # as slow as what ran before it left the machine
        time.sleep(0.008 if behind[-1:] != ["busy"] else 0.002)
        behind.append("busy")

    def leaves_threads():
        time.sleep(0.004)
        behind.append("other")

    behind: list[str] = []
    assert _fastest({"default": leaves_threads, "off": busy}, [])[0] == "off", (
        "the first call of a block does not count"
    )
    assert _fastest({"default": slow, "off": fast}, [])[0] == "off"
    assert _fastest({"default": fast, "off": slow}, [])[0] == "default"
    a = ops.asarray(np.ones((256, 256), "float32"))
    flags = ops.compile(lambda a: (ops.matmul(a, a),), "compiled", [a]).flags
    assert flags[YNN] in ("default", "off")
    assert "default" in flags["tried"]
    assert "off" in flags["tried"]


def test_a_setting_that_an_earlier_process_kept_is_taken_without_a_trial(ops):
    from backends.jax_compile import YNN

    a = ops.asarray(np.ones((256, 256), "float32"))
    for keep in ("default", "off"):
        made = ops.compile(lambda a: (ops.matmul(a, a),), "compiled", [a], keep)
        assert (made.kept, dict(made.flags)) == (keep, {YNN: keep})
    assert "tried" in ops.compile(lambda a: (ops.matmul(a, a),), "compiled", [a], "gone").flags
    assert ops.compile(lambda a: (a + 1,), "compiled", [a]).kept is None, "there was nothing to choose"


def test_only_settings_that_make_another_program_are_tried(ops, monkeypatch):
    """Where no library fused anything the default is compiled alone; equal programs are compiled and not called."""
    from backends import jax_compile

    class Program:
        def __init__(self, text):
            self.as_text = lambda: text

    programs = {"default": Program("a"), "off": Program("b"), "dot": Program("a")}
    assert list(jax_compile._differing(programs)) == ["default", "off"]
    a = ops.asarray(np.ones((256, 256), "float32"))
    compiled = jax_compile.compilations_since()
    assert "tried" in ops.compile(lambda a: (ops.matmul(a, a),), "compiled", [a]).flags
    assert compiled() == 2
    monkeypatch.setattr(jax_compile, "FUSED", "no program has these words")
    compiled = jax_compile.compilations_since()
    made = ops.compile(lambda a: (ops.matmul(a, a),), "compiled", [a])
    assert (made.kept, dict(made.flags), compiled()) == ("default", {jax_compile.YNN: "default"}, 1)


def test_fusing_products_alone_is_tried_where_a_product_is_batched():
    """Its other fusions may lose there; one product is fused alike by both, and not compiled a third time."""
    from backends.jax_compile import SMALL_FLOP, _candidates

    a = np.ones((4, 128, 128), "float32")
    batched = jax.jit(lambda a: jax.numpy.exp(a @ a)).lower(a)
    assert batched.cost_analysis()["flops"] > SMALL_FLOP
    assert set(_candidates(batched, True)) == {"off", "LIBRARY_FUSION_TYPE_DOT"}
    assert not _candidates(batched, False), "of the CPU alone"
    one = jax.jit(lambda a: jax.numpy.exp(a @ a)).lower(np.ones((256, 256), "float32"))
    assert set(_candidates(one, True)) == {"off"}


def test_a_setting_that_this_jaxlib_lacks_is_left_out():
    """The options are experimental: one that went with a newer jaxlib costs a variant, not the case."""
    from backends.jax_compile import YNN, _offered

    lowered = jax.jit(lambda a: a + 1).lower(np.ones(3, "float32"))
    assert set(_offered(lowered, {"gone": {"xla_cpu_no_such_option": ""}, "off": {YNN: ""}})) == {"off"}
