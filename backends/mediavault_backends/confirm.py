"""Asks a store once more for what it holds already, where its being there is to count as done; judges no content."""

from mediavault_backends.api import Absent, Backend, Body
from mediavault_backends.errors import PreconditionFailedError


def confirm(backend: Backend, key: str, body: Body) -> None:
    """Make sure that an object which was read is there as a put leaves it, by putting it where nothing may be.

    A store of two answers that something is there only when both have it; reading asks one of them.

    Args:
        backend: the store.
        key: of the object.
        body: its bytes; put only if it is gone meanwhile.

    Raises:
        TransientError: it is not there for good yet.
        OutcomeUnknownError: likewise.
    """
    try:
        backend.put(key, body, when=Absent())
    except PreconditionFailedError:
        return
