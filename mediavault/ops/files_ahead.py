"""Writes the large files of a clone while their content still comes, so that they are not read and opened a second time.

That is only quicker: no file goes to its place before everything has come, and what cannot be done here is left to the
checkout that follows, which does it and says what is wrong.
"""

import os
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Final, NamedTuple, Self

from mediavault.errors import MediaVaultError
from mediavault.model.ids import ObjectId
from mediavault.objects.reader import ObjectReader
from mediavault.ops.create import FIRST_BRANCH
from mediavault.ops.repository import Repository
from mediavault.store.pending import PendingFrames
from mediavault.sync.survey import Survey
from mediavault.workspace.arriving_files import ArrivingFiles
from mediavault.workspace.checkout_plan import CheckoutPlan, plan_checkout
from mediavault.workspace.materialise import discard, has_room
from mediavault.workspace.stage import Stage

MOST_CHUNKS: Final = 1 << 19
"""If more come, nothing is planned before they are there: the plan of so many files would take memory beside them."""

_PREFERRED: Final = (FIRST_BRANCH, "master", "trunk")


def usual_branch(names: Collection[str]) -> str:
    """Return which branch of a remote is checked out where nobody names one."""
    return next((name for name in (*_PREFERRED, *names) if name in names), FIRST_BRANCH)


class Prepared(NamedTuple):
    """A planned checkout, and the status of the new files that are written already, by the number of their write."""

    plan: CheckoutPlan
    written: Mapping[int, os.stat_result]


class FilesAhead:
    """The large files of the branch that will be checked out; a `mediavault.sync.fetch.ChunkSink`.

    A context manager; what was written and not taken is removed at its end.

    Args:
        repository: a new one, whose lock the caller holds.
        stage: its stage.
        branch: what will be checked out; None for the usual one.
    """

    def __init__(self, repository: Repository, stage: Stage, branch: str | None) -> None:
        self._repository = repository
        self._stage = stage
        self._branch = branch
        self._commit: ObjectId | None = None
        self._plan: CheckoutPlan | None = None
        self._files: ArrivingFiles | None = None
        self._context = ExitStack()
        self._begun = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._drop()

    def prepare(self, frames: PendingFrames, seen: Survey, coming: Collection[ObjectId]) -> None:
        """Plan the checkout, and find out which of its files can be written from what comes."""
        heads = {
            name.removeprefix("heads/"): ref.target.id
            for name, ref in seen.refs.items()
            if name.startswith("heads/") and ref.target is not None
        }
        commit = heads.get(usual_branch(heads) if self._branch is None else self._branch)
        if commit is None or len(coming) > MOST_CHUNKS:
            return
        reader, layout = ObjectReader(frames, self._repository.codec), self._repository.layout
        try:
            tree = reader.commit(commit).tree
            plan = plan_checkout(layout, self._stage, reader, base=None, target=tree)
            files = ArrivingFiles(layout.checkout, plan, reader, coming)
        except (MediaVaultError, OSError):
            return
        if not plan.conflicts:
            self._commit, self._plan, self._files = commit, plan, self._context.enter_context(files)

    def begin(self, size: int) -> None:
        """Begin to write, where the disk has room for the files and for what comes."""
        self._begun = (
            self._plan is not None
            and not os.path.lexists(self._repository.layout.checkout)
            and has_room(self._plan, self._repository.layout, size)
        )

    def put(self, oid: ObjectId, content: bytes | memoryview) -> None:
        """Write a chunk wherever it belongs."""
        if self._begun and self._files is not None:
            self._files.put(oid, content)

    def take(self, commit: ObjectId | None) -> Prepared | None:
        """Wait until everything that came is written; None where nothing was prepared for this commit."""
        if self._plan is None or self._files is None or commit != self._commit:
            self._drop()
            return None
        written = self._files.finish() if self._begun else {}
        if written:
            self._begun = False  # from here on the files are the checkout's
        self._drop()
        return Prepared(self._plan, written)

    def _drop(self) -> None:
        """End the writing, and remove what nobody took."""
        self._context.close()
        if self._begun:
            self._begun = False
            discard(self._repository.layout)
