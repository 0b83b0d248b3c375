"""Which groups prepare at the same time: as many processes as find room, of several frameworks, so no core is idle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from harness.planning.groups import InterleavedGroup, MemberKey, fits
from harness.records.record import Record

MOST_ALIVE = 24  # processes alive at once; a group by itself may have more
SHARED = "cpu"  # the device on which processes of several groups can be alive


def batches(
    groups: Sequence[InterleavedGroup], records: Mapping[MemberKey, Record], memory_bytes: int | None = None
) -> Iterator[list[InterleavedGroup]]:
    """The groups in their order, several at a time: the next of each server in turn, while there is room.

    On an accelerator a group is by itself.
    """
    queues: dict[tuple[str, str], list[InterleavedGroup]] = {}
    for group in groups:
        queues.setdefault(group.server, []).append(group)
    left = list(groups)
    while left:
        batch = [left.pop(0)]
        queues[batch[0].server].remove(batch[0])
        more = batch[0].server[1] == SHARED
        while more:
            more = False
            for server, queue in sorted(queues.items(), key=lambda item: _members(batch, item[0])):
                if queue and server[1] == SHARED and _room([*batch, queue[0]], records, memory_bytes):
                    group = queue.pop(0)
                    left.remove(group)
                    batch.append(group)
                    more = True
                    break
        yield batch


def _members(batch: Sequence[InterleavedGroup], server: tuple[str, str]) -> int:
    return sum(len(group.members) for group in batch if group.server == server)


def _room(batch: Sequence[InterleavedGroup], records: Mapping[MemberKey, Record], memory_bytes: int | None) -> bool:
    members = [member.planned for group in batch for member in group.members]
    return len(members) <= MOST_ALIVE and fits(members, records, memory_bytes)
