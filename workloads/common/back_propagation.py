"""What every network that learns by back-propagation has in common: its references and its formulas."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from backends.ops import HostArray
from workloads import Parameters, Workload
from workloads.base import LEARNING_RATE, Mode, Work
from workloads.common import network_reference, networks
from workloads.common.networks import Layers


def by_back_propagation(w: Workload, layers_of: Callable[[Parameters], Layers]) -> None:
    """Give `w` its references of both modes and its work; the layers are those that `layers_of` makes of a point.

    Inputs are images `x`, one-hot `target` (n, 10) and weights `w0`…; work is 2BΣP_l forward and Σ6BP_l − 2BP_1 a step,
    the output layer among the l.
    """

    @w.reference(mode="forward")
    def logits(x: HostArray, p: Parameters, **weights: HostArray) -> Mapping[str, HostArray]:
        """The logits (n, 10)."""
        return {"logits": network_reference.logits(layers_of(p), weights, x)}

    @w.reference(mode="train_step")
    def train_step(x: HostArray, target: HostArray, p: Parameters, **weights: HostArray) -> Mapping[str, HostArray]:
        """The loss and every updated weight."""
        loss, gradients = network_reference.back_propagation(layers_of(p), weights, x, target)
        return {"loss": loss, **{name: weights[name] - LEARNING_RATE * g for name, g in gradients.items()}}

    @w.work
    def work(p: Parameters, mode: Mode, itemsize: int) -> Work:
        """The formulas of `networks.forward_work` and `networks.back_propagation_work`."""
        count = networks.forward_work if mode == "forward" else networks.back_propagation_work
        return count(layers_of(p), p.batch, itemsize)
