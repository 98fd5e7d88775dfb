"""From what a person types to a commit: HEAD, branches, tags, remote branches, id prefixes, `~n` and `^n`."""

import difflib
import re
from collections.abc import Iterable
from contextlib import suppress
from typing import Final, Protocol

import msgspec

from mediavault.errors import IntegrityError, NotFoundError, UsageError
from mediavault.history.walk import CommitReader, walk
from mediavault.model.ids import ID_BYTES, Kind, Link, ObjectId
from mediavault.model.objects import Tag

MIN_PREFIX: Final = 4
"""Hex digits of the shortest prefix that names a commit."""

_ROOTS: Final = ("tags/", "heads/", "remotes/")
_STEP: Final = re.compile(r"([~^])([0-9]*)")
_REVISION: Final = re.compile(r"(?P<base>[^~^]+)(?P<steps>(?:[~^][0-9]*)*)")
_HEX: Final = re.compile(r"[0-9a-f]+")
_SHOWN_MATCHES: Final = 5
_MAX_STEPS: Final = 1_000_000_000


class HistoryReader(CommitReader, Protocol):
    """What reads commits and tags."""

    def tag(self, oid: ObjectId) -> Tag:
        """Return an annotated tag."""


class RefTarget(Protocol):
    """What a ref says."""

    @property
    def name(self) -> str:
        """The ref's full name."""

    @property
    def target(self) -> Link | None:
        """What it points at; None for a ref that was deleted or never moved."""


class RefReader(Protocol):
    """What reads refs; `mediavault.refs.ref_store.RefStore` is one."""

    def list(self, prefix: str = "") -> Iterable[RefTarget]:
        """Return the refs whose full names start with `prefix`."""


class Resolved(msgspec.Struct, frozen=True):
    """What a revision names.

    Attributes:
        commit: the commit.
        ref: the full name of the ref that was typed, empty where another form was.
        tag: the annotated tag that the ref points at, None where there is none.
    """

    commit: ObjectId
    ref: str = ""
    tag: ObjectId | None = None


class Resolver:
    """Understands revisions of one repository as it is now; refs are listed once.

    Args:
        reader: reads commits and tags.
        refs: reads refs.
        head: the checked-out commit, None before the first.
    """

    def __init__(self, reader: HistoryReader, refs: RefReader, head: ObjectId | None) -> None:
        self._reader = reader
        self._targets = {ref.name: ref.target for ref in refs.list() if ref.target is not None}
        self._head = head

    def resolve(self, revision: str) -> Resolved:
        """Return what a revision names.

        Args:
            revision: `HEAD` or `@`; a branch, tag or remote branch, short or in full; at least 4 digits of a commit's
                id, all 64 where no ref leads to it; each may be followed by `~n` (n first parents up) and `^n` (the nth parent).

        Raises:
            UsageError: it is no revision, or a prefix that several commits have.
            NotFoundError: nothing has this name; the hint tells the nearest one.
            IntegrityError: an object on the way is missing or damaged.
        """
        parts = _REVISION.fullmatch(revision)
        if parts is None:
            raise UsageError(f"{revision!r} is not a revision.", hint="Type a branch, a tag, or an id.")
        found = self._base(parts["base"])
        if not parts["steps"]:
            return found
        commit = found.commit
        for sign, number in _STEP.findall(parts["steps"]):
            commit = self._step(commit, sign, int(number or 1) if len(number) < 10 else _MAX_STEPS, revision)
        return Resolved(commit)

    def _base(self, base: str) -> Resolved:
        if base in {"HEAD", "@"}:
            if self._head is None:
                raise NotFoundError("There is no commit yet.", hint="Type 'mediagit commit' to make the first one.")
            return Resolved(self._head)
        for name in (base, *(root + base for root in _ROOTS)):
            target = self._targets.get(name)
            if target is not None:
                return Resolved(self._peeled(target), name, target.id if target.kind is Kind.TAG else None)
        if len(base) >= MIN_PREFIX and len(base) <= 2 * ID_BYTES and _HEX.fullmatch(base):
            return Resolved(self._by_prefix(base))
        raise NotFoundError(f"Nothing is called {base!r}: no branch, no tag, no commit.", hint=self._nearest(base))

    def _by_prefix(self, prefix: str) -> ObjectId:
        if len(prefix) == 2 * ID_BYTES:
            # A whole id is found although no ref leads to it: so a deleted branch can be brought back.
            with suppress(IntegrityError):
                self._reader.commit(bytes.fromhex(prefix))
                return bytes.fromhex(prefix)
        starts = {self._peeled(target) for target in self._targets.values()}
        if self._head is not None:
            starts.add(self._head)
        found = [oid for oid, _ in walk(self._reader, sorted(starts)) if oid.hex().startswith(prefix)]
        if not found:
            raise NotFoundError(f"No commit of any branch or tag has an id that starts with {prefix}.")
        if len(found) > 1:
            shown = ", ".join(oid.hex()[: len(prefix) + 8] for oid in found[:_SHOWN_MATCHES])
            raise UsageError(f"Several commits have ids that start with {prefix}.", hint=f"Type more digits: {shown}.")
        return found[0]

    def _peeled(self, link: Link) -> ObjectId:
        while link.kind is Kind.TAG:
            link = self._reader.tag(link.id).target
        if link.kind is not Kind.COMMIT:
            raise NotFoundError(f"A tag points at {link.kind.name.lower()} {link.id.hex()}, which is no commit.")
        return link.id

    def _step(self, oid: ObjectId, sign: str, count: int, revision: str) -> ObjectId:
        if sign == "^":
            parents = self._reader.commit(oid).parents
            if count > len(parents):
                raise NotFoundError(f"{revision!r} goes to a parent that {oid.hex()[:12]} does not have.")
            return parents[count - 1] if count else oid
        for _ in range(count):
            parents = self._reader.commit(oid).parents
            if not parents:
                raise NotFoundError(f"{revision!r} goes back beyond the first commit.")
            oid = parents[0]
        return oid

    def _nearest(self, base: str) -> str:
        short = {name.removeprefix(next(r for r in _ROOTS if name.startswith(r))) for name in self._targets}
        near = difflib.get_close_matches(base, sorted(short), n=1, cutoff=0.5)
        return (
            f"Did you mean {near[0]!r}?" if near else "Type 'mediagit branch' or 'mediagit log' to see what there is."
        )
