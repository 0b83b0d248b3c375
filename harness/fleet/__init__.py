"""Many machines: who runs what, what came of it, and the engines that carry commands there."""
