"""Its twin."""

from _waiting import twin

WORKLOAD = twin()
