"""Packs made of frames that stand at a remote, read and checked while they are sent on; holds one frame at a time."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import chain, groupby

from mediavault.errors import IntegrityError, NotFoundError
from mediavault.formats.pack import PackRow
from mediavault.formats.wire import LocatedRow
from mediavault.model.ids import ObjectId
from mediavault.store.assemble import PackSource, Part, grouped
from mediavault.store.pack_table import PackTable
from mediavault.sync.ranges import LONGEST, cut, read_frame, spans
from mediavault.sync.remote import Remote
from mediavault.sync.transfer import Stop
from mediavault_backends.api import Buffer


def relayed(remote: Remote, rows: Sequence[LocatedRow], *, plain: bool, target: int) -> Iterator[PackSource]:
    """Yield packs of the frames of `rows`, in the order of the packs and offsets where they stand.

    Args:
        remote: where they stand.
        rows: where.
        plain: whether the repository is plain.
        target: a pack is closed before it would pass this many bytes.

    Raises:
        IntegrityError: a pack there is not what its name says. What the frames are is seen when they are sent.
    """
    by_pack = groupby(sorted(rows, key=lambda row: (row.pack, row.offset)), key=lambda row: row.pack)
    parts = chain.from_iterable(_parts(remote, pack, list(some)) for pack, some in by_pack)
    for some in grouped(parts, plain=plain, target=target):
        yield PackSource(partial(_checked, remote), some, plain=plain)


def table_of(remote: Remote, pack: ObjectId) -> PackTable:
    """Return what a pack says of itself, once it is sure that the pack has the name of what it says.

    Raises:
        IntegrityError: it has not, is damaged or is gone.
    """
    try:
        table = remote.pack_table(pack)
    except NotFoundError as error:
        raise _damage(remote, pack, "it is gone.") from error
    except IntegrityError as error:
        raise _damage(remote, pack, error.message) from error
    if table.pack_id != pack:
        raise _damage(remote, pack, "its table does not match its name.")
    return table


def _parts(remote: Remote, pack: ObjectId, rows: Sequence[LocatedRow]) -> Iterator[Part]:
    said = {row.offset: row for row in table_of(remote, pack).rows}
    for row in rows:
        found = said.get(row.offset)
        if found is None or (found.id, found.length) != (row.id, row.length):
            raise _damage(remote, pack, f"object {row.id.hex()} is not where the index says, at {row.offset}.")
        yield pack, found


def _checked(remote: Remote, parts: Sequence[Part]) -> Iterator[Buffer]:
    """Yield frames, each after its checksum, its name and what its pack says of it were compared."""
    said = {(pack, row.offset): row for pack, row in parts}
    places = [LocatedRow(row.id, pack, row.offset, row.length) for pack, row in parts]
    for span in spans(places, LONGEST):
        with closing(remote.read_pack(span.pack, span.start, span.end - span.start)) as blocks:
            frames = cut(span, blocks, Stop())
            while True:
                try:
                    row, data = next(frames)
                    _check(row, data, said[row.pack, row.offset])
                except StopIteration:
                    break
                except IntegrityError as error:
                    raise _damage(remote, span.pack, error.message) from error
                yield data


def _check(row: LocatedRow, data: memoryview, said: PackRow) -> None:
    frame = read_frame(row, data)
    if (frame.header.id, frame.header.kind, frame.checksum) != (said.id, said.kind, said.checksum):
        raise IntegrityError(f"The frame at {row.offset} is not the one in its table.")


def _damage(remote: Remote, pack: ObjectId, what: str) -> IntegrityError:
    return IntegrityError(
        f"Pack {pack.hex()} at {remote.url} is damaged: {what}",
        untouched="What was sent before is whole, and no ref was moved.",
        hint="Bring back that pack from a copy, or push from a checkout that has everything; then run the command again.",
    )
