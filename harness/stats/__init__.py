"""Intervals, noise, and the one definition of a case's time."""
