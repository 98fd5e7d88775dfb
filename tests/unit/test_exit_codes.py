"""Every error has an exit code and words; the tables forget none."""

import errno
import inspect

import pytest

from mediavault import errors
from mediavault.cli.exit_codes import TABLE, ExitCode, exit_code, explain
from mediavault_backends import errors as backend_errors

ENGINE = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.MediaVaultError)]
BACKEND = [
    kind
    for _, kind in inspect.getmembers(backend_errors, inspect.isclass)
    if issubclass(kind, backend_errors.BackendError)
]
PROMISED = {
    errors.UsageError: 2,
    errors.ConfigError: 2,
    errors.NotARepositoryError: 1,
    errors.NotFoundError: 1,
    errors.UnsupportedFormatError: 1,
    errors.NeedsDecisionError: 3,
    errors.WouldOverwriteError: 3,
    errors.DivergedError: 3,
    errors.RefMovedError: 3,
    errors.RepositoryBusyError: 3,
    errors.RemoteError: 4,
    errors.IntegrityError: 5,
    errors.FormatError: 5,
    errors.NotAllowedError: 6,
    errors.StorageError: 1,
    errors.MediaVaultError: 1,
}


def _made(kind: type[Exception]) -> Exception:
    return errors.WouldOverwriteError(["a"]) if kind is errors.WouldOverwriteError else kind("words")


@pytest.mark.parametrize("kind", ENGINE)
def test_engine_errors_end_as_their_docstring_promises(kind: type[Exception]) -> None:
    assert exit_code(_made(kind)) == PROMISED[kind]


def test_the_docstring_of_the_tree_tells_the_same_codes() -> None:
    for line in (errors.__doc__ or "").splitlines():
        name, _, code = line.strip("│├└─ ").partition("exit ")
        if code:
            assert PROMISED[getattr(errors, name.split()[0])] == int(code)


@pytest.mark.parametrize("kind", BACKEND)
def test_backend_errors_have_a_row_and_words_of_their_own(kind: type[Exception]) -> None:
    assert kind in TABLE
    shown = explain(kind("disk on fire"))
    assert shown is not None
    assert "disk on fire" in shown.message
    assert shown.untouched
    assert shown.hint


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KeyboardInterrupt(), ExitCode.INTERRUPTED),
        (OSError(errno.EIO, "Input/output error"), ExitCode.FAILED),
        (ZeroDivisionError(), ExitCode.FAILED),
    ],
)
def test_other_errors(error: BaseException, code: ExitCode) -> None:
    assert exit_code(error) == code


def test_a_full_disk_says_what_to_do() -> None:
    for number in (errno.ENOSPC, errno.EDQUOT):
        shown = explain(OSError(number, "No space left on device"))
        assert shown is not None
        assert "full" in shown.message
        assert "again" in shown.hint


def test_an_error_of_the_system_names_the_file() -> None:
    shown = explain(PermissionError(errno.EACCES, "Permission denied", "/x/y"))
    assert shown is not None
    assert "/x/y" in shown.message
    assert "ermission" in shown.hint


def test_a_defect_has_no_words() -> None:
    assert explain(KeyError("x")) is None
