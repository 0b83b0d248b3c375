"""Meters of energy, by source: counter, sampled, modelled, none."""
