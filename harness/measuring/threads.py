"""Whether a framework has the threads that were asked, seen from inside the process of a case.

Three witnesses: the affinity that the kernel keeps, the pools of OpenMP and BLAS libraries (threadpoolctl), and the
framework's own counts, which its `settings` tell. More threads than asked would compete for the cores, fewer would
handicap the framework.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from backends.ops import Scalar

AFFINITY, FRAMEWORK = "affinity", "threads"
SIDE_BY_SIDE = ("inter_op_threads", "interop_threads")  # that run operations, as TensorFlow and PyTorch name them
OWN = (FRAMEWORK, *SIDE_BY_SIDE)  # as the adapters' settings name them


def observed(settings: Mapping[str, Scalar]) -> dict[str, int | None]:
    """Cores that the process may use, threads of every pool by library, and the framework's counts of its `settings`.

    None where a witness does not tell. Takes some milliseconds: it walks the libraries that are loaded.
    """
    import threadpoolctl

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    found: dict[str, int | None] = {AFFINITY: cores}
    for pool in threadpoolctl.threadpool_info():
        name = f"pool_{pool['internal_api']}"
        found[name] = max(int(pool["num_threads"]), found.get(name) or 0)
    for name in OWN:
        if name in settings:
            count = settings[name]
            found[name] = count if isinstance(count, int) else None
    return found


def mismatch(found: Mapping[str, int | None], asked: int) -> str | None:
    """One sentence that names every count that is not as asked, or None.

    The framework and the affinity must have as many as were asked. A pool may have fewer: a library that a framework
    loads but does not compute with is held at one. So may the threads that run operations side by side.
    """
    wrong = [
        f"{name} {count}"
        for name, count in found.items()
        if count is not None and (count != asked if name in (AFFINITY, FRAMEWORK) else count > asked)
    ]
    return f"{asked} threads were asked and the process has {', '.join(wrong)}" if wrong else None
