"""The idea of the two that wait."""

from _waiting import idea

WORKLOAD = idea()
