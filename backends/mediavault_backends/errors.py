"""The errors a backend may raise: this tree, and nothing else.

BackendError
├── NotFoundError            the key has no object
├── PreconditionFailedError  the caller's belief about the key was wrong; nothing changed
├── AccessDeniedError        the store refuses these credentials
├── ArchivedError            the object has to be restored before it can be read
│   └── RestoringError           it was asked for; ready in hours
├── StorageFullError         no space or quota left; nothing changed
├── TransientError           nothing changed; the same call may succeed later
├── OutcomeUnknownError      the write may have landed: read before deciding
└── BackendSetupError        the configuration names a store that cannot be used
"""

import errno
from typing import Final

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_REFUSED: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_NO_OBJECT: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR})


class BackendError(Exception):
    """Base of all backend errors; `key` is the object concerned, empty where none is."""

    def __init__(self, message: str, *, key: str = "") -> None:
        super().__init__(message)
        self.key = key


class NotFoundError(BackendError):
    """The key has no object."""


class PreconditionFailedError(BackendError):
    """The condition of a write did not hold; nothing changed."""


class AccessDeniedError(BackendError):
    """The store refuses these credentials."""


class ArchivedError(BackendError):
    """The object is in an archive class: it has to be restored before it can be read."""


class RestoringError(ArchivedError):
    """The object is being brought back from an archive class, which takes hours."""


class StorageFullError(BackendError):
    """No space or quota is left; nothing changed."""


class TransientError(BackendError):
    """The store could not answer; nothing changed and the same call may succeed later."""


class OutcomeUnknownError(BackendError):
    """The reply was lost: the write may have landed. Read the key before deciding."""


class BackendSetupError(BackendError):
    """The configuration names a store that cannot be used."""


def translate_read_error(error: OSError, key: str) -> BackendError:
    """Return what an operating system's error on the way to an object means to its reader."""
    if error.errno in _NO_OBJECT:
        return NotFoundError(f"no object {key}", key=key)
    if error.errno in _REFUSED:
        return AccessDeniedError(f"not allowed to read {key}: {error.strerror}", key=key)
    return TransientError(f"cannot read {key}: {error}", key=key)


def translate_write_error(error: OSError, key: str) -> BackendError:
    """Return what an operating system's error means to a writer, when it came before anything changed."""
    if error.errno in _FULL:
        return StorageFullError(f"no space left for {key}: {error.strerror}", key=key)
    if error.errno in _REFUSED:
        return AccessDeniedError(f"not allowed to write {key}: {error.strerror}", key=key)
    return TransientError(f"cannot write {key}: {error}", key=key)
