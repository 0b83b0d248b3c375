"""What the first `torch.compile` of a process would do, done once where cases are forked from.

Importing this imports the compiler (3 s), and asks it which vector instructions it can compile for (1.3 s of test
programs run in processes of their own, 10 s where they must be compiled first), for the hash of its sources, which its
caches go by, and whether the header of all kernels is as it was when it was precompiled (0.25 s of every compiled
case otherwise). The answers are facts of the machine that PyTorch keeps for the life of a process. No thread, device
or pool is started.
"""

from __future__ import annotations

import importlib
import os
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

_CACHE = "TORCHINDUCTOR_CACHE_DIR"

for _module in (
    "torch._dynamo.backends.inductor",
    "torch._inductor.compile_fx",
    "torch._inductor.codegen.cpp_wrapper_gpu",
    "torch._inductor.codegen.cuda_combined_scheduling",
    "torch._inductor.fx_passes.fuse_attention",
    "torch.utils.cpp_extension",
):
    with suppress(ImportError), warnings.catch_warnings():  # a private name that has moved is imported by who needs it
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        importlib.import_module(_module)

with suppress(Exception):  # no C++ compiler: the case that compiles says so
    _cache: Any = importlib.import_module("torch._inductor.codecache")
    if _CACHE in os.environ:
        # PyTorch keeps it among the temporary files whatever is set: 200 MB a kind of kernels, for ever, in a folder
        # whose name another user may have taken.
        _cache._HEADER_DIR = os.path.join(os.environ[_CACHE], "precompiled_headers")
        _cache._HEADER_LOCK_DIR = os.path.join(_cache._HEADER_DIR, "locks")
    importlib.import_module("torch._inductor.cpu_vec_isa").pick_vec_isa()
    _cache.torch_key()
    # Where nothing was precompiled yet it takes 8 s, which are left to the first kernel. This source is not compiled.
    if any(Path(_cache._HEADER_DIR).glob("*.gch")):
        _cache.CppPythonBindingsCodeCache.load_async("// at::vec::")
