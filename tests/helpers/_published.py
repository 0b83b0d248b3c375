"""What a page is made from in tests: made-up records, and a reader of what the page holds."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

from _records import dense, host_memory, idea, joules, record, twin_ref

from harness.figures.summary import summarise
from harness.report.published import Published

QUICK = Path(__file__).resolve().parents[2] / "results" / "quick-cpu"


def published(records, runs=()):
    return Published(summary=summarise(records), records=records, runs=runs)


def failing():
    """Two backends: on one the idea runs, on the other it is unsupported in an unpleasant text; densities swept."""
    memory, energy = host_memory(2**20), joules(0.012, 0.005, 0.030, "modelled")
    out = []
    for density, seconds in ((0.1, 0.5e-3), (0.3, 1.4e-3)):
        params = {"m": 8, "k": 8, "n": 4, "density": density}
        rest = {"params": params, "backend": "jax", "rounds": [1, 2, 3], "execution": "compiled", "least_bytes": 500}
        times = [seconds, seconds * 1.1, seconds * 1.2]
        out.append(idea(times, memory=memory, energy=energy, flop=int(1000 * density), **rest))
    reason = "</script><b>no</b> " * 400
    out.append(
        record(
            status="unsupported",
            reason=reason,
            failure_class="not_implemented",
            backend="torch",
            params={"m": 8, "k": 8, "n": 4, "density": 0.1},
            twins=[twin_ref()],
            flop=100,
        )
    )
    twin = {"rounds": [1, 2, 3], "memory": memory, "energy": energy}
    return out + [dense([1.0e-3, 1.05e-3, 1.1e-3], backend=backend, **twin) for backend in ("jax", "torch")]


class Reader(HTMLParser):
    """What a page holds: its tags with attributes, the text of its scripts by id, the cells of its tables."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.scripts, self._script = [], {}, None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "script":
            self._script = dict(attributes).get("id", f"#{len(self.scripts)}")
            self.scripts[self._script] = ""

    def handle_endtag(self, tag):
        if tag == "script":
            self._script = None

    def handle_data(self, data):
        if self._script is not None:
            self.scripts[self._script] += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def unpacked(text):
    """The data of a script element, as `report.js` reads them: the other half of `harness.web.packed`."""
    held = json.loads(text)

    def whole(node):
        if not isinstance(node, list):
            return node
        kind, *values = node
        if kind == 0:
            return [whole(value) for value in values]
        if kind == 1:
            return held["texts"][values[0]]
        return dict(zip(held["shapes"][kind - 2], map(whole, values), strict=True))

    return whole(held["data"])
