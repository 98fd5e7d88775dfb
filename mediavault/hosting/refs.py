"""Refs as a host keeps them: names that move by compare-and-swap to what is there whole."""

from functools import partial

from mediavault.errors import FormatError, IntegrityError, RefMovedError, UsageError
from mediavault.formats.ref import RefValue, decode_ref_value, value_hash
from mediavault.hosting.refusal import RefusedError
from mediavault.hosting.repository import HostedRepository
from mediavault.model.ids import Link
from mediavault.refs.advance import Check, accept_value, check_adoption, check_move
from mediavault.refs.blobs import RefBlob, list_blobs, placeholder, read_blob
from mediavault.store.ancestry import is_ancestor, peel
from mediavault.wire import problems


def list_refs(repo: HostedRepository) -> list[RefBlob]:
    """Return every ref that was ever moved; deleted ones (nil) too.

    Raises:
        IntegrityError: one is damaged.
    """
    return [blob for blob in list_blobs(repo.backend) if _value(blob).seq]


def read_ref(repo: HostedRepository, name: str) -> RefBlob | None:
    """Return a ref; None where there is none.

    Raises:
        IntegrityError: it is damaged.
    """
    blob = read_blob(repo.backend, name)
    return blob if blob is not None and _value(blob).seq else None


def move_ref(
    repo: HostedRepository,
    name: str,
    value_bytes: bytes,
    expected: bytes | None,
    *,
    forced: bool,
    adopted: bool = False,
) -> RefBlob:
    """Move a ref to a value that only a key holder can have made; its being there already is success.

    Args:
        repo: where.
        name: of the ref; valid.
        value_bytes: the new value.
        expected: the hash of the value that it replaces; None expects that there is no such ref yet.
        forced: move it even where that loses commits.
        adopted: the value need not be the next one: a mirror takes it over from where the ref was moved.

    Raises:
        RefusedError: somebody moved it first; the value does not follow; its target is not there whole; or it is no
            fast-forward and not forced.
    """
    repository_id = repo.config.repository
    former = read_blob(repo.backend, name)
    former_bytes = placeholder(repository_id, name) if former is None else former.value_bytes
    check: Check = partial(check_adoption, forced=forced) if adopted else check_move
    try:
        if value_bytes != former_bytes:
            _refuse_late(former_bytes, repo, name, expected)
            new = check(former_bytes, value_bytes, repository=repository_id, name=name)
            _check_target(repo, new.target)
            if not forced:
                _check_fast_forward(repo, decode_ref_value(former_bytes), new)
        return accept_value(
            repo.backend,
            repository_id,
            name,
            value_bytes,
            expected=expected,
            check=check,
            recheck=partial(_check_stored, repo, value_bytes),
        )
    except RefMovedError as error:
        raise RefusedError(problems.PRECONDITION, error.message) from error
    except UsageError as error:
        raise RefusedError(problems.MISMATCH, error.message) from error


def _value(blob: RefBlob) -> RefValue:
    """Return what is stored under a ref's name, parsed.

    Raises:
        IntegrityError: it is damaged.
    """
    try:
        return decode_ref_value(blob.value_bytes)
    except FormatError as error:
        raise IntegrityError(f"The ref {blob.name} is damaged: {error.message}") from error


def _refuse_late(former: bytes, repo: HostedRepository, name: str, expected: bytes | None) -> None:
    """Tell a move that came too late from one that could never be made."""
    wanted = value_hash(placeholder(repo.config.repository, name)) if expected is None else expected
    if value_hash(former) != wanted:
        raise RefusedError(problems.PRECONDITION, f"{name} was moved by someone else in the meantime.")


def _check_stored(repo: HostedRepository, value_bytes: bytes) -> None:
    _check_target(repo, decode_ref_value(value_bytes).target)


def _check_target(repo: HostedRepository, target: Link | None) -> None:
    """Refuse a target that is not there. Presence is closure: metadata enters only after what it links to."""
    if target is None:
        return
    if repo.frames.missing([target.id]):
        raise RefusedError(problems.NOT_CLOSED, "The target is not there.", missing=[target.id])
    place = repo.frames.locate(target.id)
    if place is None or place.kind != target.kind:
        raise RefusedError(problems.MISMATCH, "The target is of another kind.")


def _check_fast_forward(repo: HostedRepository, old: RefValue, new: RefValue) -> None:
    if old.target is None or new.target is None or old.target == new.target:
        return
    if new.name.startswith("tags/"):
        raise RefusedError(problems.NOT_FAST_FORWARD, f"{new.name} is there already; tags do not move.")
    ancestor, descendant = peel(repo.frames, old.target), peel(repo.frames, new.target)
    if not is_ancestor(repo.frames, ancestor.id, descendant.id):
        raise RefusedError(problems.NOT_FAST_FORWARD, f"{new.name} has commits that the new one lacks.")
