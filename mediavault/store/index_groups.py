"""Knows how to search many small index blobs as a few: groups of them merged in memory. Nothing stored changes by it.

A server's store gains a blob with every pack, and merging stored ones is for a collector alone. Asking hundreds of
blobs one by one costs hundreds of times what one costs, so a reader merges them for itself.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mediavault.errors import FormatError
from mediavault.formats.index import IndexBlob, merge_indexes
from mediavault.model.ids import ObjectId

LOOSE: Final = 16
"""How many blobs are searched one by one before they are merged."""
SMALL_ROWS: Final = 2048
"""Blobs with more rows stay as they are: mapped, and in nobody's memory."""
GROUP_ROWS: Final = 1 << 19
"""The most rows of a group, about 26 MB."""


@dataclass(frozen=True, slots=True)
class Group:
    """Blobs by name, and what they say together."""

    names: frozenset[ObjectId]
    blob: IndexBlob


def regroup(blobs: Mapping[ObjectId, IndexBlob], former: Sequence[Group]) -> tuple[Group, ...]:
    """Return groups of some of `blobs`, so that few are left over; each group is at least twice as long as the next.

    Only blobs that flag no pack, and whose packs stand in no other blob, are grouped: for these, what is found does not
    depend on where it is looked for. One that does not parse is left to who looks at it by its name.

    Args:
        blobs: what is stored, by name.
        former: the groups of the blobs that were stored before; those of which nothing is gone are kept.
    """
    if len(blobs) <= LOOSE:
        return ()
    loose = _groupable(blobs)
    groups = [group for group in former if group.names <= loose.keys()]
    for group in groups:
        for name in group.names:
            del loose[name]
    if len(loose) > LOOSE:
        try:
            groups += map(_group, _batches(loose))
        except FormatError:
            return tuple(groups)
    groups.sort(key=lambda group: len(group.blob), reverse=True)
    while len(groups) > 1 and _worth_merging(groups[-2].blob, groups[-1].blob):
        last, other = groups.pop(), groups.pop()
        groups.append(Group(last.names | other.names, _merged([last.blob, other.blob])))
    return tuple(groups)


def _groupable(blobs: Mapping[ObjectId, IndexBlob]) -> dict[ObjectId, IndexBlob]:
    times = Counter(pack.id for blob in blobs.values() for pack in blob.packs)
    return {
        name: blob
        for name, blob in blobs.items()
        if len(blob) <= SMALL_ROWS and all(times[pack.id] == 1 and not pack.condemned for pack in blob.packs)
    }


def _batches(blobs: Mapping[ObjectId, IndexBlob]) -> Iterator[dict[ObjectId, IndexBlob]]:
    batch: dict[ObjectId, IndexBlob] = {}
    rows = 0
    for name, blob in blobs.items():
        if batch and rows + len(blob) > GROUP_ROWS:
            yield batch
            batch, rows = {}, 0
        batch[name] = blob
        rows += len(blob)
    yield batch


def _group(blobs: Mapping[ObjectId, IndexBlob]) -> Group:
    return Group(frozenset(blobs), _merged(list(blobs.values())))


def _worth_merging(larger: IndexBlob, smaller: IndexBlob) -> bool:
    return len(larger) < 2 * len(smaller) and len(larger) + len(smaller) <= GROUP_ROWS


def _merged(blobs: Sequence[IndexBlob]) -> IndexBlob:
    return IndexBlob(merge_indexes(blobs, 0))
