"""What kind of work an operation is, by its name in whatever framework, or by the opcodes of XLA inside it."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

MATMUL, CONVOLUTION, ELEMENTWISE, MOVING = "matmul", "convolution", "elementwise", "gather/scatter"
REDUCTION, LAYOUT, SPARSE, IDLE, OTHER = "reduction", "layout", "sparse", "launch/idle", "other"
# `launch/idle` is of no operation: it is what of a call none covers. `other` is what no rule knows.
CLASSES = (MATMUL, CONVOLUTION, ELEMENTWISE, MOVING, REDUCTION, LAYOUT, SPARSE, IDLE, OTHER)


def _words(text: str) -> str:
    return rf"(?:^|_)(?:{'|'.join(text.split())})(?=_|\d|$)"


# By the words of a name, the first that fits. A name of several operations, as of a fused kernel, is of the class that
# says most of its time: the first, too.
_BY_NAME: Sequence[tuple[str, re.Pattern[str]]] = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        (ELEMENTWISE, r"sparse_softmax|vectorized_elementwise|unrolled_elementwise"),
        (MOVING, r"sparse_segment|sparse_gather"),
        (SPARSE, r"sparse|spmm|spmv|sddmm|csrmm|csrmv|bsrmm|bsr_dense|csr|bsr|" + _words("coo coalesce nnz")),
        (CONVOLUTION, r"conv(?!ert)|winograd|fprop|dgrad|wgrad|im2col|col2im"),
        (MATMUL, r"mat_?mul|gemm|gemv|cutlass|cublas|einsum|linear_pointwise|onednn_dot"),
        (MATMUL, _words("mm addmm bmm baddbmm mv addmv addr dot vdot inner outer linear product sgemm dot_general")),
        (MOVING, r"gather|scatter|embedding|index_?(select|add|put|copy|fill|tensor)|index_elementwise|dynamic_slice"),
        (MOVING, r"dynamic_update_slice|segment_|_unique|" + _words("index take put where_nonzero nonzero one_hot")),
        (REDUCTION, r"reduce|softmax|log_?sum_?exp|pool|norm|cum_?(sum|prod)|bias_add_grad|triton_(red|per)_"),
        (REDUCTION, _words("sum mean max min amax amin prod any all var std argmax argmin arg_max arg_min l2_loss")),
        (OTHER, _words("sort topk top_k msort argsort unique")),
        (ELEMENTWISE, r"elementwise|pointwise|triton_poi_|select_v2|fill_functor"),
        (
            ELEMENTWISE,
            _words(
                "add sub subtract rsub mul multiply div divide true_divide floor_divide real_div truediv exp expm1 "
                "exponential log log1p sqrt rsqrt square pow power neg negate abs sign relu relu6 gelu silu sigmoid "
                "logistic tanh softplus erf sin cos maximum minimum clamp clip where threshold lerp addcmul addcdiv "
                "reciprocal round floor ceil greater less equal not_equal eq ne gt ge lt le compare logical bitwise "
                "and or not xor remainder fmod fill zero zeros ones full cast convert to_copy dropout bernoulli "
                "uniform normal bias_add add_n assign_add assign_sub rng iota arange range quantize "
                "dequantize is_finite isnan"
            )
            + r"|_grad(?=_|$)|backward",
        ),
        (LAYOUT, r"mem_?cpy|mem_?set|copy|transpose|nchw|nhwc|reorder|cat_?array|direct_copy"),
        (
            LAYOUT,
            _words(
                "clone contiguous permute reshape view alias expand expand_dims as_strided select slice strided_slice "
                "cat concat concatenate concat_v2 stack pack unpack unstack unbind pad pad_v2 t squeeze unsqueeze "
                "broadcast broadcast_to tile repeat narrow unfold flip reverse roll split split_v chunk numpy_t m_t "
                "identity stop_gradient bitcast const eager_const empty flatten diagonal diag tril triu new to shape"
            ),
        ),
    )
)
# A fused loop is named after what it was made from, among it products that a library computes beside it.
_BESIDE = (
    (re.compile(r"^(graph_\d+_)?cpp_fused_"), r"convolution"),
    (re.compile(r"^triton_(poi|red|per)_"), r"convolution|(add|b)?mm"),
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")

# Of XLA's opcodes inside one kernel the first that is there; a kernel that only moves is a layout.
_BY_OPCODE: Sequence[tuple[str, frozenset[str]]] = (
    (CONVOLUTION, frozenset({"convolution"})),
    (MATMUL, frozenset({"dot", "ragged-dot", "scaled-dot"})),
    (MOVING, frozenset({"gather", "scatter", "dynamic-slice", "dynamic-update-slice", "select-and-scatter"})),
    (REDUCTION, frozenset({"reduce", "reduce-window", "all-reduce", "reduce-scatter"})),
    (
        OTHER,
        frozenset({"sort", "topk", "fft", "cholesky", "triangular-solve", "rng-bit-generator", "infeed", "outfeed"}),
    ),
)
_MOVES = frozenset(
    (
        *(
            "copy",
            "transpose",
            "bitcast",
            "reshape",
            "broadcast",
            "concatenate",
            "slice",
            "pad",
            "reverse",
            "copy-start",
        ),
        *("copy-done", "parameter", "constant", "tuple", "get-tuple-element", "iota", "fusion", "bitcast-convert"),
        *("call", "async-start", "async-done", "after-all", "optimization-barrier"),
    )
)
_LOOPS = frozenset({"while", "conditional"})  # no kernel: what they hold is seen itself
_CUSTOM = "custom-call "


def plain_kernel(name: str) -> str:
    """A kernel's name without what it returns, takes, and is a template of."""
    named = name.replace("(anonymous namespace)::", "").removeprefix("void ")
    return re.sub(r"[<(].*$", "", named, flags=re.DOTALL).strip() or name


def class_of_name(name: str) -> str:
    """The class of an operation of PyTorch's or TensorFlow's, of an instruction of XLA's, or of a kernel, by its name.

    What a kernel is a template of counts only where the name without it says nothing.
    """
    for text in (plain_kernel(name), name):
        words = _in_words(text)
        for fused, beside in _BESIDE:
            if fused.match(words):
                words = re.sub(rf"_({beside})(?=_)", "", words)
        for kind, pattern in _BY_NAME:
            if pattern.search(words):
                return kind
    return OTHER


def class_of_opcodes(opcodes: Collection[str]) -> str:
    """The class of a kernel of XLA's by the opcodes inside; a call of a library has its target behind `custom-call`."""
    custom = [opcode.removeprefix(_CUSTOM) for opcode in opcodes if opcode.startswith(_CUSTOM)]
    known = [class_of_name(target) for target in custom]
    for kind in (SPARSE, CONVOLUTION, MATMUL):
        if kind in known:
            return kind
    for kind, telling in _BY_OPCODE:
        if telling & set(opcodes):
            return kind
    if custom:
        return known[0]
    return LAYOUT if set(opcodes) <= _MOVES else ELEMENTWISE


def starts_others(opcodes: Collection[str]) -> bool:
    """Whether an instruction with these opcodes inside is a loop or a branch, whose operations are seen themselves."""
    return not _LOOPS.isdisjoint(opcodes)


def _in_words(name: str) -> str:
    """A name in small letters with _ between its words: `MatMul`, `aten::mat_mul` and `mat-mul` are alike."""
    spaced = _CAMEL.sub("_", name.rpartition("::")[2] or name)
    return re.sub(r"[^a-z0-9]+", "_", spaced.lower())
