"""The chain that does 5 % more work where it is told to."""

from _links import idea

WORKLOAD = idea()
