"""The errors of the engine, each with what a person needs: what happened, what is untouched, what to type next.

MediaVaultError
├── UsageError              the request itself is wrong                         exit 2
├── ConfigError             a setting is unknown or unusable                    exit 2
├── NotARepositoryError     no repository here                                  exit 1
├── NotFoundError           a path, ref or object that was named does not exist exit 1
├── UnsupportedFormatError  written by a newer version                          exit 1
├── NeedsDecisionError      a person must decide                                exit 3
│   ├── WouldOverwriteError     uncommitted work is in the way
│   ├── DivergedError           histories diverged; not a fast-forward
│   ├── RefMovedError           someone else moved the ref first
│   └── RepositoryBusyError     another process holds the lock
├── RemoteError             the remote cannot be reached or cannot serve        exit 4
├── IntegrityError          something stored is not what its name promises      exit 5
│   └── FormatError             bytes that do not parse
├── NotAllowedError         wrong passphrase, missing or refused credentials    exit 6
└── StorageError            the disk or store failed or is full                 exit 1
"""


class MediaVaultError(Exception):
    """Base of all errors that are shown to a person.

    Args:
        message: what happened, one sentence.
        untouched: what was left as it was, or empty.
        hint: the next command to type or thing to do, or empty.
    """

    def __init__(self, message: str, *, untouched: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.untouched = untouched
        self.hint = hint


class UsageError(MediaVaultError):
    """The request itself is wrong."""


class ConfigError(MediaVaultError):
    """A setting is unknown or has an unusable value."""


class NotARepositoryError(MediaVaultError):
    """There is no repository here."""


class NotFoundError(MediaVaultError):
    """A path, ref or object that was named does not exist."""


class UnsupportedFormatError(MediaVaultError):
    """The repository was written by a newer version."""


class NeedsDecisionError(MediaVaultError):
    """A person must decide before this can go on."""


class WouldOverwriteError(NeedsDecisionError):
    """Uncommitted work stands where the command would write."""

    def __init__(self, paths: list[str], *, untouched: str = "Nothing was changed.", hint: str = "") -> None:
        shown = ", ".join(paths[:5]) + (f" and {len(paths) - 5} more" if len(paths) > 5 else "")
        super().__init__(f"Uncommitted work would be overwritten: {shown}.", untouched=untouched, hint=hint)
        self.paths = paths


class DivergedError(NeedsDecisionError):
    """Two histories diverged, so that neither is a fast-forward of the other."""


class RefMovedError(NeedsDecisionError):
    """Someone else moved the ref first."""


class RepositoryBusyError(NeedsDecisionError):
    """Another process is working in this repository."""


class RemoteError(MediaVaultError):
    """The remote cannot be reached, or cannot serve the request now."""


class IntegrityError(MediaVaultError):
    """Something stored is not what its name promises."""


class FormatError(IntegrityError):
    """Bytes that do not parse as what they should be."""


class NotAllowedError(MediaVaultError):
    """A wrong passphrase, or credentials that are missing or refused."""


class StorageError(MediaVaultError):
    """The disk or store failed or is full."""
