"""What holds of a device for a framework and for a form of product, and its curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from harness.modelling.device_schema import FrameworkPart, MemorySystem, ModelDevice, StoredProducts
from harness.modelling.kernels import StoredForm

Floats: TypeAlias = npt.NDArray[np.float64]
WANTED = (
    *("matmul.rate", "matmul.small", "matmul.thin", "matmul.vector", "vector.rate", "memory.levels"),
    *("gather.rows_per_s", "scatter.rows_per_s", "select.sort_per_s"),
    *("sparse.values_per_s", "sparse.rate", "sparse.far", "launch.op_s", "launch.program_s", "launch.kernel_s"),
)  # of a calibrated device


def unknown(document: Mapping[str, Any]) -> list[str]:
    """The keys that a calibration is to give and this document lacks, neither for all nor for any framework."""
    places = [document, *document.get("backend", {}).values()]
    return [key for key in WANTED if not any(_has(place, key.split(".")) for place in places)]


def _has(place: Any, names: Sequence[str]) -> bool:
    for name in names:
        place = place.get(name, {}) if isinstance(place, Mapping) else {}
    return bool(place != {})


def part_for(device: ModelDevice, backend: str | None) -> FrameworkPart:
    """What holds for a framework: its own values where it has some, the device's elsewhere."""
    own = device.backend.get(backend or "")
    sections: dict[str, Any] = {name: getattr(device, name) for name in FrameworkPart.__struct_fields__}
    if own is not None:
        sections = {name: _laid_over(section, getattr(own, name)) for name, section in sections.items()}
    return FrameworkPart(**sections)


def _laid_over(under: Any, over: Any) -> Any:
    given = {name: value for name in over.__struct_fields__ if (value := getattr(over, name)) not in (None, {}, [])}
    return msgspec.structs.replace(
        under, **{name: _mixed(getattr(under, name), value) for name, value in given.items()}
    )


def _mixed(under: Any, over: Any) -> Any:
    if isinstance(over, msgspec.Struct):
        return _laid_over(under, over)
    return {**under, **over} if isinstance(over, dict) else over


def stored_unit(part: FrameworkPart, form: StoredForm) -> StoredProducts:
    """What stored products of a form reach: its own values where given, those of compressed rows elsewhere."""
    under = StoredProducts(values_per_s=part.sparse.values_per_s, rate=part.sparse.rate, far=part.sparse.far)
    if form == "rows":
        return under
    laid: StoredProducts = _laid_over(under, getattr(part.sparse, form))
    return laid


def bandwidth(memory: MemorySystem, working_set: Floats, *, write: bool = False) -> Floats:
    """Bytes/s for working sets, straight in logarithms between the levels."""
    sizes = np.log([level.bytes for level in memory.levels])
    rates = np.log([(level.write or level.read) if write else level.read for level in memory.levels])
    return np.asarray(np.exp(np.interp(np.log(working_set), sizes, rates)))


def curve(points: Sequence[tuple[float, float]], at: Floats, beyond: float | None = None) -> Floats:
    """Shares straight in logarithms between `points`; above the last its own, or `beyond`. 1 without points."""
    if not points:
        return np.ones_like(at)
    sides, shares = (np.log(column) for column in zip(*points, strict=True))
    return np.asarray(np.exp(np.interp(np.log(at), sides, shares, right=None if beyond is None else np.log(beyond))))
