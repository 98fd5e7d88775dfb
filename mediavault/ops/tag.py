"""Tags: names that stay where they are put, with or without a message of their own."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mediavault.errors import NotFoundError, UsageError
from mediavault.model.ids import Kind, Link, ObjectId
from mediavault.model.names import check_ref_name
from mediavault.model.objects import Moment, Person, Tag
from mediavault.objects.nodes import NodeWriter
from mediavault.ops.repository import Repository
from mediavault.ops.revisions import resolve
from mediavault.store.ancestry import peel


@dataclass(frozen=True, slots=True)
class TagEntry:
    """A tag: what it leads to in the end, and the annotation, None for a plain one."""

    name: str
    target: Link
    annotation: Tag | None


@dataclass(frozen=True, slots=True)
class TagMove:
    """A tag that was made or deleted: what it led to in the end."""

    name: str
    target: ObjectId
    annotated: bool


def list_tags(repository: Repository) -> Iterator[TagEntry]:
    """Yield all tags by name.

    Raises:
        IntegrityError: a ref or tag is damaged.
    """
    for state in repository.refs.list("tags/"):
        target = state.target
        if target is not None:
            annotation = repository.reader.tag(target.id) if target.kind is Kind.TAG else None
            yield TagEntry(state.name.removeprefix("tags/"), peel(repository.frames, target), annotation)


def make_tag(
    repository: Repository, name: str, revision: str | None, *, message: str | None, tagger: Person, now: Moment
) -> TagMove:
    """Name a commit.

    Args:
        repository: where; the caller holds its lock.
        name: of the tag.
        revision: the commit; None for HEAD.
        message: what to say about it; None for a tag that only names.
        tagger: who does.
        now: when.

    Raises:
        UsageError: there is such a tag, or it cannot have this name, or the message is empty.
        NotFoundError: the revision names nothing.
    """
    check_ref_name(f"tags/{name}")
    state = repository.refs.read(f"tags/{name}")
    if state.target is not None:
        raise UsageError(
            f"There is a tag {name} already.",
            untouched="Nothing was changed.",
            hint=f"Others may rely on it. If it is wrong, `mediagit tag -d {name}` deletes it here.",
        )
    target = Link(Kind.COMMIT, resolve(repository, revision or "HEAD").commit)
    points_at = target
    if message is not None:
        if not message.strip():
            raise UsageError("The message is empty.", untouched="Nothing was changed.", hint='mediagit tag -m "..."')
        with repository.writer() as writer:
            nodes = NodeWriter(repository.codec, repository.splitter, repository.frames, writer)
            points_at = Link(Kind.TAG, nodes.tag(Tag(target, name, tagger, now, message.strip())))
    repository.refs.move(state, points_at, now.seconds)
    return TagMove(name, target.id, message is not None)


def delete_tags(repository: Repository, names: Sequence[str], now: int) -> Sequence[TagMove]:
    """Delete tags here; all of them are looked up before the first goes. The caller holds the lock.

    Raises:
        NotFoundError: there is no such tag.
    """
    doomed = []
    for name in dict.fromkeys(names):
        check_ref_name(f"tags/{name}")
        state = repository.refs.read(f"tags/{name}")
        if state.target is None:
            raise NotFoundError(
                f"There is no tag {name}.", untouched="Nothing was deleted.", hint="`mediagit tag` lists what there is."
            )
        doomed.append((name, state, state.target))
    moves = []
    for name, state, target in doomed:
        repository.refs.move(state, None, now)
        moves.append(TagMove(name, peel(repository.frames, target).id, target.kind is Kind.TAG))
    return moves
