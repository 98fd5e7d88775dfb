"""Where histories part: common ancestors, and how far each side is ahead; what to do about it is for others."""

from typing import NamedTuple

from mediavault.history.walk import CommitReader, Painting
from mediavault.model.ids import ObjectId

_OURS, _THEIRS, _OLDER = 1, 2, 4
_BOTH = _OURS | _THEIRS


class Distance(NamedTuple):
    """How many commits only one side has."""

    ahead: int
    behind: int


def merge_bases(reader: CommitReader, ours: ObjectId, theirs: ObjectId) -> list[ObjectId]:
    """Return the common ancestors that are no ancestors of another one, by generation, highest first; often just one.

    Raises:
        IntegrityError: a commit is missing or damaged.
    """
    found = []
    painting = Painting(reader, ((ours, _OURS), (theirs, _THEIRS)))
    for oid, commit, marks in painting:
        if marks & _OLDER == 0 and marks & _BOTH == _BOTH:
            found.append(oid)
            painting.spread(oid, commit, _OLDER)
        if painting.waits_only_for(_OLDER):
            break
    return found


def distance(reader: CommitReader, ours: ObjectId | None, theirs: ObjectId | None) -> Distance:
    """Return how many commits only `ours` has and how many only `theirs` has; None stands for no commits.

    Raises:
        IntegrityError: a commit is missing or damaged.
    """
    ahead = behind = 0
    starts = [(oid, mark) for oid, mark in ((ours, _OURS), (theirs, _THEIRS)) if oid is not None]
    painting = Painting(reader, starts)
    for _, _, marks in painting:
        ahead += marks == _OURS
        behind += marks == _THEIRS
        if painting.waits_only_for(_BOTH):
            break
    return Distance(ahead, behind)
