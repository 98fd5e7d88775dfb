"""From what a person types to a part of history: `B`, `A..B`, `A...B`, `^A`; walking it is for others."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mediavault.history.merge_base import merge_bases
from mediavault.history.resolve import Resolver
from mediavault.history.walk import CommitReader
from mediavault.model.ids import ObjectId


class Ends(NamedTuple):
    """A part of history: what `starts` lead to, without what `without` lead to; both as commits."""

    starts: Sequence[ObjectId]
    without: Sequence[ObjectId]


def ends(
    find: Resolver,
    reader: CommitReader,
    revisions: Sequence[str],
    head: ObjectId | None,
    *,
    also: Iterable[ObjectId] = (),
) -> Ends:
    """Return the part of history that a list of revisions names.

    Args:
        find: understands revisions.
        reader: reads commits.
        revisions: each a commit to begin at; `^A`: without A and all that it leads to; `A..B`: what B has and A has
            not; `A...B`: what one of the two has and the other has not. An empty side of dots is HEAD.
        head: where to begin where nothing else says so.
        also: more commits to begin at.

    Raises:
        NotFoundError: a revision names nothing.
        UsageError: one is no revision.
        IntegrityError: a commit is damaged.
    """
    starts, without = list(also), []
    for revision in revisions:
        first, dots, last = revision.partition("..")
        if not dots and revision.startswith("^"):
            without.append(find.resolve(revision[1:]).commit)
        elif not dots:
            starts.append(find.resolve(revision).commit)
        else:
            one = find.resolve(first or "HEAD").commit
            other = find.resolve(last.removeprefix(".") or "HEAD").commit
            starts.append(other)
            if last.startswith("."):
                starts.append(one)
                without += merge_bases(reader, one, other)
            else:
                without.append(one)
    if not starts and head is not None:
        starts.append(head)
    return Ends(list(dict.fromkeys(starts)), list(dict.fromkeys(without)))
