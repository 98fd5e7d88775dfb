"""Packs of chunks that one sender stores, indexed several at a time: on a store without a server each index blob is a call.

A journal beside the sender's uploads names the packs that are not indexed yet; should the sender die, `salvage` finds them.
"""

import os
import threading
from typing import TYPE_CHECKING, Final

from mediavault.hosting.accept import check, check_closed, publish
from mediavault.hosting.repository import HostedRepository
from mediavault.model.ids import Kind, ObjectId
from mediavault.store.pack_writer import JOURNAL, new_locked_file, write_whole
from mediavault.store.receive import PackReceiver

if TYPE_CHECKING:
    from mediavault.formats.pack import PackRow

EVERY: Final = 32
"""After how many packs their rows go to an index blob."""


class LateIndex:
    """Takes packs like `mediavault.hosting.accept`, and lets others know of those of chunks a little later.

    Chunks lead nowhere, so nobody misses what is not indexed yet; before anything that leads to them is accepted, and
    before anybody is told what is missing, `flush` makes them known. Safe to use from several threads.
    """

    def __init__(self, repo: HostedRepository) -> None:
        self._repo = repo
        self._lock = threading.Lock()
        self._rows: dict[ObjectId, list[PackRow]] = {}
        self._noted: set[ObjectId] = set()
        self._journal = -1
        self._journal_path = repo.spool

    def accept(self, receiver: PackReceiver) -> bool:
        """Check a pack that came whole, and store it.

        Returns:
            whether it is new.

        Raises:
            RefusedError: it is not what its name says, not of this repository's suite, or not closed.
        """
        check(self._repo, receiver)
        if receiver.kinds != {Kind.CHUNK}:
            self.flush()
            check_closed(self._repo, receiver)
            return publish(self._repo, receiver)
        self._note(receiver.id)
        new = receiver.store(self._repo.backend)
        with self._lock:
            self._rows[receiver.id] = receiver.rows
            due = len(self._rows) >= EVERY
        if due:
            self.flush()
        return new

    def flush(self) -> None:
        """Index what was stored.

        Raises:
            BackendError: the index could not be put; the next flush tries again.
        """
        with self._lock:
            if self._rows:
                self._repo.frames.index.add(self._rows)
                self._noted.difference_update(self._rows)
                self._rows = {}
            if not self._noted:
                self._let_go()

    def close(self) -> None:
        """Leave the journal to `salvage` if it names what is not indexed."""
        with self._lock:
            self._let_go()

    def _let_go(self) -> None:
        if self._journal < 0:
            return
        if not self._noted:
            self._journal_path.unlink(missing_ok=True)
        journal, self._journal = self._journal, -1
        os.close(journal)

    def _note(self, pack: ObjectId) -> None:
        """Write a pack's name down before it is stored, so that whoever finds the journal knows every pack there may be."""
        with self._lock:
            if self._journal < 0:
                self._journal_path, self._journal = new_locked_file(self._repo.spool, "", JOURNAL, os.urandom)
            write_whole(self._journal, pack)
            self._noted.add(pack)
