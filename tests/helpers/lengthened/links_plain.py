"""Its twin, which is always the same."""

from _links import twin

WORKLOAD = twin()
