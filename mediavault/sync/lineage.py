"""Which values a mirror's ref takes, one after another, to be where the source's is. Makes none: only a key holder can."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from mediavault.errors import IntegrityError
from mediavault.formats.ref import decode_ref_value, value_hash
from mediavault.model.ids import Link, ObjectId
from mediavault.refs.blobs import placeholder
from mediavault.wire.client import RemoteRef

Log = Callable[[], Sequence[bytes]]
"""Asks for a ref's former values, oldest first."""


@dataclass(frozen=True, slots=True)
class Course:
    """What a ref of the mirror goes through.

    Attributes:
        name: of the ref.
        expected: the ETag that it has there now; None where there is no such ref.
        former: where it points there now.
        values: what it is to take, the last one being the source's.
        adopted: the first of them is not the next one there, and is taken over nevertheless.
        proven: the source's log shows that it had the mirror's value; else the mirror is to see that no commit is lost.
        lost: what was moved there by others is given up.
    """

    name: str
    expected: str | None
    former: Link | None
    values: Sequence[bytes]
    adopted: bool = False
    proven: bool = True
    lost: bool = False

    @property
    def target(self) -> Link | None:
        """Where it points in the end."""
        return decode_ref_value(self.values[-1]).target

    @property
    def targets(self) -> list[Link]:
        """Return where it points on the way, and in the end."""
        found = (decode_ref_value(value).target for value in self.values)
        return [target for target in found if target is not None]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a ref of the mirror cannot follow: `ahead` when the source's value is one that it had before."""

    name: str
    ahead: bool


def course_of(
    name: str, mine: RemoteRef, theirs: RemoteRef | None, *, log: Log, their_log: Log, force: bool
) -> Course | Refusal | None:
    """Find what leads a ref of the mirror to where the source has it.

    Args:
        name: of the ref.
        mine: the source's ref.
        theirs: the mirror's; None where there is none.
        log: asks for the source's former values.
        their_log: asks for the mirror's.
        force: give up what others moved at the mirror.

    Returns:
        None where it is there already.
    """
    if theirs is not None and theirs.value_bytes == mine.value_bytes:
        return None
    value = decode_ref_value(mine.value_bytes)
    start = placeholder(value.repository, name) if theirs is None else theirs.value_bytes
    there = decode_ref_value(start)
    course = Course(name, None if theirs is None else theirs.etag, there.target, [mine.value_bytes])
    chain, follows = _chain(mine.value_bytes, value_hash(start), log)
    if follows:
        return replace(course, values=chain)
    if theirs is None:
        return replace(course, values=chain, adopted=True)
    if decode_ref_value(chain[0]).seq > there.seq + 1:
        return replace(course, values=chain, adopted=True, proven=False)
    if force:
        return replace(course, adopted=True, lost=True)
    return Refusal(name, ahead=there.seq > value.seq and mine.value_bytes in their_log())


def without(course: Course, missing: Collection[ObjectId], source: str) -> Course:
    """Leave out what leads to values whose targets the source no longer has.

    Raises:
        IntegrityError: that is so of the last one.
    """
    gone = [at for at, value in enumerate(course.values) if _target_id(value) in missing]
    if not gone:
        return course
    if gone[-1] == len(course.values) - 1:
        raise IntegrityError(
            f"{source} lacks object {_target_id(course.values[-1]).hex()} that {course.name} needs.",
            untouched="Nothing was sent.",
            hint="Push from a checkout that has it, then run the command again.",
        )
    return replace(course, values=course.values[gone[-1] + 1 :], adopted=True)


def _chain(last: bytes, start: bytes, log: Log) -> tuple[list[bytes], bool]:
    """Return the values that lead from the one with the hash `start` to `last`, oldest first, and whether all are known."""
    chain, known = [last], dict[bytes, bytes]()
    while (previous := decode_ref_value(chain[-1]).previous) != start:
        known = known or {value_hash(value): value for value in log()}
        value = known.get(previous)
        if value is None or decode_ref_value(value).seq == 0:
            return chain[::-1], False
        chain.append(value)
    return chain[::-1], True


def _target_id(value: bytes) -> ObjectId:
    target = decode_ref_value(value).target
    return b"" if target is None else target.id
