"""Which device and which settings TensorFlow runs with: the environment, the choice of a device, and reading back."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from backends import aot
from backends.ops import Array, Device, Matrix, Scalar, Unsupported

_KINDS = {"cpu": "CPU", "cuda": "GPU", "tpu": "TPU"}


def _onednn() -> bool | None:
    try:  # no public way to ask; the environment variable alone would not say what the CPU's default was
        from tensorflow.python.util import _pywrap_util_port
    except ImportError:
        return None
    return bool(_pywrap_util_port.IsMklEnabled())


def select(tf: Any, device: Device) -> str:
    """Make `device` the only one TensorFlow sees beside the host, so that no call pays for a device scope.

    TensorFlow then numbers it 0. One process opens one device: once the runtime has started this cannot change.
    """
    for name, variable in (("intra_op", "TF_NUM_INTRAOP_THREADS"), ("inter_op", "TF_NUM_INTEROP_THREADS")):
        wanted = int(os.environ.get(variable, "0"))
        if wanted and getattr(tf.config.threading, f"get_{name}_parallelism_threads")() != wanted:
            getattr(tf.config.threading, f"set_{name}_parallelism_threads")(wanted)
    kind = _KINDS.get(device.kind)
    if kind is None:
        raise Unsupported(f"TensorFlow has no device {device}; it has {', '.join(_KINDS)}")
    for other in ("GPU", "TPU"):
        present = tf.config.list_physical_devices(other)
        if kind == other and device.index >= len(present):
            raise Unsupported(_absent(tf, f"/{kind}:{device.index}"))
        visible = present[device.index : device.index + 1] if kind == other else []
        if tf.config.get_visible_devices(other) != visible:
            tf.config.set_visible_devices(visible, other)
    name = f"/{kind}:0"
    if kind == "TPU":
        _initialise(tf)
        # the default device is a GPU or the host, never a TPU; the scope holds for the whole thread
        tf.device(name).__enter__()
    return name


def _initialise(tf: Any) -> None:
    """Start this host's TPU system, without which there is a physical device and no logical one. Never run on one."""
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu="local")
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except Exception as error:
        words = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise Unsupported(f"TensorFlow could not start the TPU of this host: {words}") from error


def _absent(tf: Any, name: str) -> str:
    try:
        with tf.device(name):
            tf.random.uniform((1,))
    except Exception as error:
        return str(error).strip().splitlines()[0]
    return f"TensorFlow lists no device {name} and ran it elsewhere"


def _quoted(path: Path) -> str:
    """A path as one word of TF_XLA_FLAGS, which is cut at blanks; in " a backslash takes the next sign as it is."""
    text = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def environ(device: Device, threads: int, cache: Path) -> Mapping[str, str]:
    """What TensorFlow and XLA read before the import; the compile cache is XLA's, of graphs it has seen."""
    return {
        "TF_CPP_MIN_LOG_LEVEL": "2",  # errors are kept
        "TF_ENABLE_ONEDNN_OPTS": "1",
        "TF_NUM_INTRAOP_THREADS": str(threads),
        "TF_NUM_INTEROP_THREADS": str(threads),
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
        "TF_XLA_FLAGS": f"--tf_xla_persistent_cache_directory={_quoted(cache / 'tensorflow-xla')}",
        "TF_USE_LEGACY_KERAS": "1",
        "KERAS_HOME": str(cache / "keras"),  # a file of settings that Keras would write into the user's home
        **({"CUDA_VISIBLE_DEVICES": ""} if device.kind == "cpu" or device.ahead_of_time else {}),
        **aot.environ(device),
    }


def devices() -> Sequence[Device]:
    """The host and every GPU and TPU that TensorFlow lists; imports it."""
    import tensorflow as tf

    found = [Device("cpu")]
    for kind in ("cuda", "tpu"):
        found += [Device(kind, i) for i in range(len(tf.config.list_physical_devices(_KINDS[kind])))]
    return found


def settings(tf: Any) -> dict[str, Scalar]:
    """What is really set, read back from TensorFlow."""
    config = tf.config
    build = tf.sysconfig.get_build_info()
    return {
        "tensorflow": tf.__version__,
        "threads": config.threading.get_intra_op_parallelism_threads() or os.cpu_count(),
        "inter_op_threads": config.threading.get_inter_op_parallelism_threads() or os.cpu_count(),
        "synchronous": bool(config.experimental.get_synchronous_execution()),
        "onednn": _onednn(),
        "tf32": bool(config.experimental.tensor_float_32_execution_enabled()),
        "soft_device_placement": bool(config.get_soft_device_placement()),
        "cuda": build.get("cuda_version"),
        "cudnn": build.get("cudnn_version"),
        "xla_flags": os.environ.get("XLA_FLAGS"),
        "tf_xla_flags": os.environ.get("TF_XLA_FLAGS"),
    }


def wait(tf: Any, outputs: Sequence[Array | Matrix], kind: str, name: str) -> None:
    """Return when every output is computed, on the device `name` of this `kind`, where TensorFlow runs ahead.

    Exporting a tensor by DLPack blocks until its producer has run, and copies nothing. On a GPU the producer has run
    when it is enqueued, so that the device is waited for after that. Matrices are waited for by their parts. Exporting
    an opaque one would end the process; its shape is known when its producer has run.
    """
    export = tf.experimental.dlpack.to_dlpack
    for output in outputs:
        if not isinstance(output, tuple):
            export(output)
            continue
        for part in output:
            if isinstance(part, tf.Tensor):
                _ = part.shape if part.dtype == tf.variant else export(part)
    if kind != "cpu":
        with tf.device(name):
            tf.raw_ops.SyncDevice()
