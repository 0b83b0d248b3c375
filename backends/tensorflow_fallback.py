"""What TensorFlow ran in place of what was asked: the operations that it executed, and where each one ran.

Eagerly it is asked after every operation (`op_callbacks`, which its own debugger uses); of a graph it tells the
partitions, device by device, when the graph is first run. Both doors are private: where a version has moved them, no
answer is given and the sentence says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from backends.ops import Array, Fallback, Matrix

_DENSE = frozenset({"SparseToDense", "CSRSparseMatrixToDense", "DenseToCSRSparseMatrix"})
_HOST = frozenset({"PyFunc", "PyFuncStateless", "EagerPyFunc"})
# Passing values in and out is no work, and constants are read where they are made.
_NOT_WORK = frozenset({"_Arg", "_Retval", "_DeviceArg", "_DeviceRetval", "Const", "NoOp", "Identity", "Placeholder"})
_MOVES = ("_Send", "_Recv", "_HostSend", "_HostRecv")

Operation = tuple[str, str, bool]  # its type, the device it ran on ("" is unknown), and whether it works on floats


def executed(tf: Any, call: Callable[..., Any], operands: Sequence[Array | Matrix]) -> list[Operation]:
    """The operations of one eager call."""
    from tensorflow.python.framework import op_callbacks

    seen: list[Operation] = []

    def note(op_type: Any, inputs: Any, attrs: Any, outputs: Any, op_name: Any = None, graph: Any = None) -> None:  # noqa: ARG001
        floats = any(o.dtype.is_floating for o in outputs)
        seen.append((_text(op_type), next((o.device for o in outputs if tf.is_tensor(o)), ""), floats))

    op_callbacks.add_op_callback(note)
    try:
        call(*operands)
    finally:
        op_callbacks.remove_op_callback(note)
    return seen


def written(concrete: Any) -> list[Operation]:
    """The operations of a traced function and of the functions it calls, before they are placed or optimised."""
    graph = concrete.graph.as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    return [(node.op, "", False) for node in nodes]


def placed(tf: Any, call: Callable[..., Any], operands: Sequence[Array | Matrix]) -> list[Operation]:
    """The operations of a graph made of `call` afresh and run once, as optimised and as placed."""
    from tensorflow.python.eager import context

    function = tf.function(lambda *args: call(*args), autograph=False)  # noqa: PLW0108 - a graph of its own
    runtime = context.context()
    runtime.enable_run_metadata()
    try:
        function(*operands)
        partitions = runtime.export_run_metadata().partition_graphs
    finally:
        runtime.disable_run_metadata()
    nodes = [node for graph in partitions for node in graph.node]
    return [(node.op, node.device, _on_floats(tf, node)) for node in nodes]


def of_operations(operations: Iterable[Operation], kind: str) -> list[Fallback]:
    """Dense copies and Python callbacks among `operations`; on an accelerator (`kind`), floats on the CPU as well.

    TensorFlow keeps shapes and small integers in the host's memory by design: those are none.
    """
    operations = list(operations)
    types = {op for op, *_ in operations}
    found = []
    if types & _DENSE:
        found.append(Fallback("densified", ", ".join(sorted(types & _DENSE))))
    host = set(types & _HOST)
    if kind != "cpu":
        host |= {
            op
            for op, device, floats in operations
            if floats and "device:CPU" in device and op not in _NOT_WORK and not op.startswith(_MOVES)
        }
    if host:
        found.append(Fallback("host", f"{', '.join(sorted(host))} ran on the host"))
    return found


def of_function(concrete: Any) -> list[Fallback]:
    """Whether a function that should be XLA's is: one without the attribute runs operation by operation."""
    attributes = concrete.function_def.attr
    if "_XlaMustCompile" in attributes and attributes["_XlaMustCompile"].b:
        return []
    return [Fallback("uncompiled", "TensorFlow runs this function operation by operation, not through XLA")]


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _on_floats(tf: Any, node: Any) -> bool:
    types = [node.attr[name].type for name in ("T", "dtype", "Tout", "DstT") if name in node.attr]
    return any(tf.dtypes.as_dtype(t).name.startswith(("float", "bfloat")) for t in types if t)


def watch_eager(tf: Any, fn: Callable[..., Any], kind: str) -> Callable[[Sequence[Any]], Sequence[Fallback]]:
    """What `fn` ran instead of what was asked, seen in one more eager call; `kind` is the device's."""
    return lambda operands: of_operations(executed(tf, fn, operands), kind)


def watch_function(
    tf: Any, fn: Callable[..., Any], concrete: Any, compiled: bool, kind: str
) -> Callable[[Sequence[Any]], Sequence[Fallback]]:
    """The same of a traced function: where its graph was placed on an accelerator, else what is written in it."""
    if kind != "cpu" and not compiled:
        return lambda operands: of_operations(placed(tf, fn, operands), kind)

    def read(_: Sequence[Array | Matrix]) -> Sequence[Fallback]:
        found = of_operations(written(concrete), "cpu")
        return [*found, *of_function(concrete)] if compiled else found

    return read
