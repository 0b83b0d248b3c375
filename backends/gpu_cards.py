"""The GPU cards that can be compiled for without one: what makers and XLA publish of each, and XLA's text of it.

XLA's GPU compiler does not ask a card what it is where a text says so: the protocol buffer
`stream_executor.GpuTargetConfigProto` in its text form. Only fields that every version since jax 0.10 knows are
written, since an unknown one makes it refuse. The rates and the memory of an estimate stand in the hardware table, by
the card's name here. Imports nothing of ours.

`LAUNCH_S` is what a kernel costs beyond its own work where kernels follow each other in a stream: 3.8 µs a kernel that
runs for 2.9 µs, on a V100 (A. Gray, "Getting Started with CUDA Graphs", https://developer.nvidia.com/blog/cuda-graphs/).
It is one figure for all cards: makers publish none.
"""

from __future__ import annotations

from dataclasses import dataclass

LAUNCH_S = 0.9e-6
KIB, MIB, GIB = 2**10, 2**20, 2**30

# Cards whose compiler does not start without one, and its words.
REFUSED = {
    "MI300X": "without an AMD GPU jax-rocm7-plugin 0.10.2 does not start: No AMD GPUs were found, skipping ROCm plugin "
    "initialization",
}

_GUIDE = "https://docs.nvidia.com/cuda/cuda-c-programming-guide/ (compute capabilities)"
_XLA = "https://github.com/openxla/xla/tree/main/xla/backends/gpu/target_config/specs"


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuCard:
    """One card as XLA must know it.

    `capability` is CUDA's compute capability. Bytes are of one multiprocessor (`shared_bytes`), of one block
    (`shared_block_bytes`, the most that it may ask for) and of the second level cache. `clock_ghz` is the boost clock,
    `float32_units` are of one multiprocessor.
    """

    capability: str
    multiprocessors: int
    float32_units: int
    clock_ghz: float
    l2_bytes: int
    shared_bytes: int
    shared_block_bytes: int
    bandwidth_bytes_per_s: int
    memory_bytes: int
    sources: tuple[str, ...]

    @property
    def has_tf32(self) -> bool:
        """Whether it has products in TF32, as cards do from Ampere on."""
        return int(self.capability.partition(".")[0]) >= 8

    def text(self, name: str) -> str:
        """What XLA is told of the card `name`."""
        major, _, minor = self.capability.partition(".")
        # From Hopper on the target is the one that has all instructions of its generation, as it is on the card.
        extension = " feature_extension: ACCELERATED_FEATURES" if int(major) >= 9 else ""
        device = {
            "threads_per_block_limit": 1024,
            "threads_per_warp": 32,
            "shared_memory_per_block": 48 * KIB,
            "shared_memory_per_core": self.shared_bytes,
            "shared_memory_per_block_optin": self.shared_block_bytes,
            "threads_per_core_limit": 2048,
            "core_count": self.multiprocessors,
            "fpus_per_core": self.float32_units,
            "block_dim_limit_x": 2**31 - 1,
            "block_dim_limit_y": 65535,
            "block_dim_limit_z": 65535,
            "memory_bandwidth": self.bandwidth_bytes_per_s,
            "l2_cache_size": self.l2_bytes,
            "clock_rate_ghz": self.clock_ghz,
            "device_memory_size": self.memory_bytes,
            "registers_per_core_limit": 65536,
            "registers_per_block_limit": 65536,
        }
        fields = "\n".join(f"  {field}: {value}" for field, value in device.items())
        return (
            f"gpu_device_info {{\n{fields}\n"
            f"  cuda_compute_capability {{ major: {major} minor: {minor}{extension} }}\n}}\n"
            f'platform_name: "CUDA"\ndnn_version_info {{ major: 9 minor: 10 }}\ndevice_description_str: "{name}"\n'
        )


GPU_CARDS = {
    "V100": GpuCard(
        capability="7.0",
        multiprocessors=80,
        float32_units=64,
        clock_ghz=1.53,
        l2_bytes=6 * MIB,
        shared_bytes=96 * KIB,
        shared_block_bytes=96 * KIB,
        bandwidth_bytes_per_s=900 * 10**9,
        memory_bytes=16 * GIB,
        sources=(
            "https://images.nvidia.com/content/volta-architecture/pdf/volta-architecture-whitepaper.pdf (table 1)",
            _GUIDE,
        ),
    ),
    "A100": GpuCard(
        capability="8.0",
        multiprocessors=108,
        float32_units=64,
        clock_ghz=1.41,
        l2_bytes=40 * MIB,
        shared_bytes=164 * KIB,
        shared_block_bytes=163 * KIB,
        bandwidth_bytes_per_s=2039 * 10**9,
        memory_bytes=80 * GIB,
        sources=(
            "https://images.nvidia.com/aem-dam/en-zz/Solutions/data-center/nvidia-ampere-architecture-whitepaper.pdf",
            _GUIDE,
        ),
    ),
    "H100": GpuCard(
        capability="9.0",
        multiprocessors=132,
        float32_units=128,
        clock_ghz=1.98,
        l2_bytes=50 * MIB,
        shared_bytes=228 * KIB,
        shared_block_bytes=227 * KIB,
        bandwidth_bytes_per_s=3350 * 10**9,
        memory_bytes=80 * GIB,
        sources=("https://resources.nvidia.com/en-us-tensor-core (H100 architecture white paper)", _GUIDE),
    ),
    "H200": GpuCard(
        capability="9.0",
        multiprocessors=132,
        float32_units=128,
        clock_ghz=1.98,
        l2_bytes=50 * MIB,
        shared_bytes=228 * KIB,
        shared_block_bytes=227 * KIB,
        bandwidth_bytes_per_s=4800 * 10**9,
        memory_bytes=141 * 10**9,
        sources=(
            "https://resources.nvidia.com/en-us-tensor-core (H100 architecture white paper: the same GPU)",
            "https://www.nvidia.com/en-us/data-center/h200/",
            _GUIDE,
        ),
    ),
    "B200": GpuCard(
        capability="10.0",
        multiprocessors=148,
        float32_units=128,
        clock_ghz=1.965,
        l2_bytes=126 * MIB,
        shared_bytes=228 * KIB,
        shared_block_bytes=227 * KIB,
        bandwidth_bytes_per_s=8000 * 10**9,
        memory_bytes=180 * 10**9,
        sources=("https://resources.nvidia.com/en-us-blackwell-architecture/datasheet", f"{_XLA} (b200)", _GUIDE),
    ),
}
