"""One device as a user writes it: one that is there, one that is compiled for, or one that a file describes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from pathlib import PurePath

from backends.gpu_cards import GPU_CARDS, REFUSED

# The kinds of a device that is a chip's description and a compiler.
TPU_AHEAD, GPU_AHEAD = "tpu-aot", "gpu-aot"
MODEL = "model"  # a device that only a file describes

# The TPU chips that libtpu compiles for, and its name for one chip alone. Of v2, v3, v4 and v7x a device is one of the
# chip's two cores, as libtpu describes it: half of the chip's rate and memory.
TPU_CHIPS = {
    "v2": "v2:1x1",
    "v3": "v3:1x1",
    "v4": "v4:1x1x1",
    "v5e": "v5e:1x1",
    "v5p": "v5p:1x1x1",
    "v6e": "v6e:1x1",
    "v7x": "tpu7x:1x1x1",
}

# What frameworks call accelerators. An AMD GPU is `cuda` to PyTorch, and so it is here, whatever JAX calls it.
ACCELERATORS = ("cuda", "tpu", "mps", "xpu", "npu", "hpu", "mtia")
_OTHER_NAMES = ("gpu", "rocm", "hip", "nvidia", "host", "metal")  # of those, which would else be taken for another
_NAME = re.compile(r"[a-z][a-z0-9_]{1,19}")
# What can be compiled for, by the kind of device: how one of it is called, and the names.
_COMPILED_FOR = {TPU_AHEAD: ("chip", tuple(TPU_CHIPS)), GPU_AHEAD: ("card", tuple(GPU_CARDS))}


@dataclass(frozen=True, slots=True)
class Device:
    """One device as a user writes it: `cpu`, `cuda`, `cuda:1`, `tpu:0`, `tpu-aot:v5e`, `gpu-aot:H100`, or another name.

    `model:FILE.toml` is described in a file, whose name is the `chip`, without its folder: that differs from machine to
    machine. Another is the `torch.device.type` of an accelerator or the platform of a PJRT plug-in: whether there is
    one is for the frameworks to say.
    """

    kind: str
    index: int = 0
    chip: str | None = None

    @classmethod
    def parse(cls, text: str) -> Device:
        """Read `cpu`, an accelerator's name with `:i` behind it, `tpu-aot:<chip>`, `gpu-aot:<card>` or `model:FILE`.

        ValueError says what was found and expected, also of a name that is nearly one of those known.
        """
        kind, _, rest = text.partition(":")
        if kind in _COMPILED_FOR:
            what, names = _COMPILED_FOR[kind]
            if rest not in names:
                why = (
                    f"cannot be compiled for ({REFUSED[rest]})"
                    if rest in REFUSED
                    else f"names no {what} to compile for"
                )
                raise ValueError(f"device {text!r} {why}; known are {', '.join(names)}")
            return cls(kind, 0, rest)
        if kind == MODEL:
            name = PurePath(rest).name
            if not name:
                raise ValueError(f"device {text!r} names no device file; such as model:today or model:FILE.toml")
            return cls(kind, 0, name)
        if kind == "cpu" and not rest:
            return cls(kind)
        if (kind in ACCELERATORS or _is_another(kind)) and (not rest or (rest.isdecimal() and rest.isascii())):
            return cls(kind, int(rest or 0))
        known = ", ".join(f"{name}[:i]" for name in ACCELERATORS)
        raise ValueError(f"device {text!r} is not one of cpu, {known}, tpu-aot:<chip>, gpu-aot:<card>, model:<file>")

    @property
    def well_known(self) -> bool:
        """Whether its kind is one of those that stand here; of any other only a framework can say that it exists."""
        return self.kind in ("cpu", MODEL, *ACCELERATORS) or self.ahead_of_time

    @property
    def ahead_of_time(self) -> bool:
        """Whether programs are compiled for this device and never run on it."""
        return self.kind in _COMPILED_FOR

    @property
    def modelled(self) -> bool:
        """Whether it is described in a file, and times on it are reckoned."""
        return self.kind == MODEL

    def __str__(self) -> str:
        if self.chip is not None:
            return f"{self.kind}:{self.chip}"
        return f"{self.kind}:{self.index}" if self.index else self.kind


def _is_another(kind: str) -> bool:
    """Whether it may be the name of an accelerator that is not known here, and no slip in one that is."""
    near = get_close_matches(kind, ("cpu", MODEL, *ACCELERATORS, *_OTHER_NAMES, *_COMPILED_FOR), cutoff=0.65)
    return not near and _NAME.fullmatch(kind) is not None


def canonical(text: str) -> str:
    """A device as records name it: `cuda:0` is `cuda`; what is none stays as it is, for who refuses it."""
    try:
        return str(Device.parse(text))
    except ValueError:
        return text


@lru_cache(maxsize=256)
def kind_of(text: str) -> str:
    """The kind of a device given as text; empty for a text that is no device."""
    try:
        return Device.parse(text).kind
    except ValueError:
        return ""


@lru_cache(maxsize=256)
def is_ahead_of_time(text: str) -> bool:
    """`Device.ahead_of_time` of a device given as text, as records hold it; a text that is no device is not."""
    try:
        return Device.parse(text).ahead_of_time
    except ValueError:
        return False


def is_modelled(text: str) -> bool:
    """`Device.modelled` of a device given as text; a text that is no device is not."""
    return kind_of(text) == MODEL
