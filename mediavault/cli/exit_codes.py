"""One table from errors to exit codes, and the words for errors that come from below the engine."""

import errno
from enum import IntEnum
from typing import Final

from mediavault import errors
from mediavault_backends import errors as backend_errors


class ExitCode(IntEnum):
    """How a command ended."""

    OK = 0
    FAILED = 1
    USAGE = 2
    DECISION = 3
    REMOTE = 4
    DAMAGED = 5
    DENIED = 6
    INTERRUPTED = 130


TABLE: Final[dict[type[BaseException], ExitCode]] = {
    errors.MediaVaultError: ExitCode.FAILED,
    errors.UsageError: ExitCode.USAGE,
    errors.ConfigError: ExitCode.USAGE,
    errors.NotARepositoryError: ExitCode.FAILED,
    errors.NotFoundError: ExitCode.FAILED,
    errors.UnsupportedFormatError: ExitCode.FAILED,
    errors.NeedsDecisionError: ExitCode.DECISION,
    errors.RemoteError: ExitCode.REMOTE,
    errors.IntegrityError: ExitCode.DAMAGED,
    errors.NotAllowedError: ExitCode.DENIED,
    errors.StorageError: ExitCode.FAILED,
    backend_errors.BackendError: ExitCode.FAILED,
    backend_errors.NotFoundError: ExitCode.DAMAGED,
    backend_errors.PreconditionFailedError: ExitCode.DECISION,
    backend_errors.AccessDeniedError: ExitCode.DENIED,
    backend_errors.ArchivedError: ExitCode.REMOTE,
    backend_errors.RestoringError: ExitCode.REMOTE,
    backend_errors.StorageFullError: ExitCode.FAILED,
    backend_errors.TransientError: ExitCode.REMOTE,
    backend_errors.OutcomeUnknownError: ExitCode.REMOTE,
    backend_errors.BackendSetupError: ExitCode.USAGE,
    OSError: ExitCode.FAILED,
    KeyboardInterrupt: ExitCode.INTERRUPTED,
}
"""The nearest class of an error decides; an error that is not listed is a defect and exits 1."""

_FULL_HINT: Final = "Make room (or raise the quota), then run the same command again: it continues."
_WORDS: Final[dict[type[BaseException], tuple[str, str]]] = {
    backend_errors.NotFoundError: ("Something that must be stored is missing", "Run `mediagit verify`."),
    backend_errors.PreconditionFailedError: ("Another process changed the repository", "Run the command again."),
    backend_errors.AccessDeniedError: ("The store refuses access", "Check the permissions of the storage."),
    backend_errors.ArchivedError: ("Something is archived", "Restore it in the storage, then run the command again."),
    backend_errors.RestoringError: ("Something is being restored", "It takes hours. Then run the command again."),
    backend_errors.StorageFullError: ("No space is left in the store", _FULL_HINT),
    backend_errors.TransientError: ("The store does not answer", "Run the command again."),
    backend_errors.OutcomeUnknownError: ("The store did not confirm a write", "Run the command again."),
    backend_errors.BackendSetupError: ("The storage cannot be used", "See `mediagit config list --show-origin`."),
    backend_errors.BackendError: ("The store failed", "Run the command again."),
}
_DAMAGED_HINT: Final = "`mediagit verify` lists what is damaged; a clone or the server may still have it whole."
_UNTOUCHED: Final = "What was committed before is untouched."


def exit_code(error: BaseException) -> ExitCode:
    """Return the code that an error ends the command with."""
    for kind in type(error).__mro__:
        if kind in TABLE:
            return TABLE[kind]
    return ExitCode.FAILED


def explain(error: BaseException) -> errors.MediaVaultError | None:
    """Return an error a person can read: itself, or the words for one of the backends or the system; None for a defect."""
    if isinstance(error, errors.MediaVaultError):
        if isinstance(error, errors.IntegrityError) and not error.hint:
            error.hint = _DAMAGED_HINT
        return error
    if isinstance(error, OSError):
        return _explain_os(error)
    for kind in type(error).__mro__:
        if kind in _WORDS:
            words, hint = _WORDS[kind]
            return errors.StorageError(f"{words}: {error}.".replace("..", "."), untouched=_UNTOUCHED, hint=hint)
    return None


def _explain_os(error: OSError) -> errors.MediaVaultError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return errors.StorageError("The disk is full.", untouched=_UNTOUCHED, hint=_FULL_HINT)
    where = f": {error.filename}" if error.filename else ""
    reason = error.strerror or str(error) or type(error).__name__
    hint = "Check the permissions of the folder." if isinstance(error, PermissionError) else ""
    return errors.StorageError(f"The system refused ({reason}){where}.", untouched=_UNTOUCHED, hint=hint)
