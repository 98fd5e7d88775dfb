"""Changes settings in a file, keeping its comments and permissions."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from mediavault.config import edit_text, is_secret
from mediavault.errors import ConfigError, StorageError
from mediavault_backends import fsio


def change_settings(path: Path, changes: Mapping[str, object | None]) -> None:
    """Set settings by dotted key; None takes one out. All or nothing.

    A file that comes to hold a secret may be read by its owner alone.

    Raises:
        ConfigError: the file is not valid, or a key or value does not fit.
        StorageError: it cannot be written.
    """
    try:
        text = path.read_text(encoding="utf-8")
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        text, mode = "", 0o644
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"Cannot read {path}: {error}.", untouched="Nothing was changed.") from error
    for key, value in changes.items():
        text = edit_text(text, key, value)
        if value is not None and is_secret(key):
            mode &= 0o600
    try:
        fsio.make_folders(path.parent)
        fsio.write_atomic(Path(os.path.realpath(path)), text.encode(), mode=mode)
    except OSError as error:
        raise StorageError(f"Cannot write {path}: {error.strerror}.", untouched="It is as it was.") from error
