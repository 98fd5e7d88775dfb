"""The errors a backend may raise: this tree, and nothing else.

BackendError
├── NotFoundError            the key has no object
├── PreconditionFailedError  the caller's belief about the key was wrong; nothing changed
├── AccessDeniedError        the store refuses these credentials
├── StorageFullError         no space or quota left; nothing changed
├── TransientError           nothing changed; the same call may succeed later
├── OutcomeUnknownError      the write may have landed: read before deciding
└── BackendSetupError        the configuration names a store that cannot be used
"""


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


class StorageFullError(BackendError):
    """No space or quota is left; nothing changed."""


class TransientError(BackendError):
    """The store could not answer; nothing changed and the same call may succeed later."""


class OutcomeUnknownError(BackendError):
    """The reply was lost: the write may have landed. Read the key before deciding."""


class BackendSetupError(BackendError):
    """The configuration names a store that cannot be used."""
