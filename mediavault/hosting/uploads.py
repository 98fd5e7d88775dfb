"""Files of uploads under way, and what is kept of those that broke off: their whole chunks, which lead nowhere."""

import contextlib
import fcntl
import os
import uuid
from pathlib import Path
from typing import Final

from mediavault.hosting.repository import HostedRepository
from mediavault.store.pack_writer import SPOOL
from mediavault.store.receive import PackReceiver
from mediavault.store.salvage import salvage

_UPLOAD: Final = "upload-"


def new_upload(folder: Path) -> Path:
    """Return a name for the file of an upload."""
    return folder / f"{_UPLOAD}{uuid.uuid4().hex}"


def keep_chunks(repo: HostedRepository, receiver: PackReceiver, file: Path) -> None:
    """Keep what came of an upload whose connection broke."""
    _hand_over(file)
    receiver.close()
    salvage(repo.backend, repo.frames.index, repo.spool)


def keep_chunks_of_the_dead(repo: HostedRepository) -> None:
    """Keep what came of uploads to servers that were killed meanwhile; those under way are left alone."""
    for file in repo.spool.glob(_UPLOAD + "*"):
        with contextlib.suppress(FileNotFoundError, BlockingIOError):
            fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # An empty one may be about to be locked by the upload that made it.
                if os.fstat(fd).st_size:
                    _hand_over(file)
            finally:
                os.close(fd)
    salvage(repo.backend, repo.frames.index, repo.spool)


def _hand_over(file: Path) -> None:
    """Give a file a name under which `salvage` looks at it."""
    file.rename(file.with_name(f"chunks-{uuid.uuid4().hex}{SPOOL}"))
