"""Variables of the user's environment that change numbers: passed on and recorded, or named as dropped.

A server's whole environment is made (`harness.worker.environment`), so that two users measure the same. What
somebody set on purpose must not get lost in that without a word.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

RECORDED = "variable_"  # how the setting of a run begins that has what was passed on

# Threads, compilers and their flags, precision, kernels that are chosen, and how memory is allocated.
_DECIDING = re.compile(
    r"(?:G?OMP|KMP|MKL|OPENBLAS|GOTO|BLIS|VECLIB|NUMEXPR|ACCELERATE|XLA|JAX|LIBTPU|PJRT|TF|TORCH\w*|PYTORCH|ATEN|ONEDNN"
    r"|DNNL|EIGEN|NPY|TRITON|INDUCTOR|CUBLAS|CUBLASLT|CUDNN|CUDA|NCCL|HIP|ROCM|MIOPEN|MALLOC|JEMALLOC|TCMALLOC)_\w+"
    r"|NVIDIA_TF32_OVERRIDE|LD_PRELOAD|LD_AUDIT|LD_BIND_NOW|GLIBC_TUNABLES|CC|CXX|CFLAGS|CXXFLAGS|CPPFLAGS|LDFLAGS"
    r"|CPATH|LIBRARY_PATH|PYTHONMALLOC|PYTHONOPTIMIZE|PYTHONDEVMODE|PYTHON_JIT|PYTHON_GIL"
)
# The last are set by threadpoolctl and scikit-learn in every process that imports them, as this one does.
_NONE_OF_IT = re.compile(
    r"\w+_CACHE_\w+|TF_CLI_\w+|TF_VAR_\w+|CUDA_VERSION|CUDA_HOME|CUDA_PATH|TF_CPP_MIN_LOG_LEVEL|JAX_LOG\w*"
    r"|KMP_DUPLICATE_LIB_OK|KMP_INIT_AT_FORK"
)


def of_user(environ: Mapping[str, str], servers: Iterable[Mapping[str, str]]) -> tuple[dict[str, str], list[str]]:
    """What of the user's `environ` that changes numbers every one of the `servers` gets, and the names of the rest.

    The user's home stands as ~ in the values. A variable that some of the servers get is among both.
    """
    told = list(servers)
    set_by_user = {k: v for k, v in environ.items() if _DECIDING.fullmatch(k) and not _NONE_OF_IT.fullmatch(k) and v}
    passed = {k: _private(v) for k, v in set_by_user.items() if any(server.get(k) == v for server in told)}
    return passed, sorted(k for k, v in set_by_user.items() if any(server.get(k) != v for server in told))


def note(dropped: Iterable[str]) -> str | None:
    """One sentence that names what was dropped; None where nothing was."""
    names = ", ".join(dropped)
    if not names:
        return None
    return (
        f"not passed on from your environment: {names}; every framework gets the same settings here, which the records "
        "have (--threads sets the threads)"
    )


def _private(value: str) -> str:
    home = str(Path.home())
    return re.sub(rf"(?<![\w.-]){re.escape(home)}(?=/|$|[:;, ])", "~", value) if home != "/" else value
