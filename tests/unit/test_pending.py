"""Frames that a writer holds are read like those that are stored."""

from pathlib import Path

import pytest

from mediavault.errors import IntegrityError
from mediavault.store.pending import PendingFrames
from mediavault_backends.memory import MemoryBackend
from tests.stored import append_all, chunk, open_store


def test_frames_are_found_before_and_after_they_are_stored(tmp_path: Path) -> None:
    stored, pending, lost = (chunk(bytes([number]) * 900) for number in range(3))
    store = open_store(MemoryBackend())
    with store.writer(tmp_path, plain=True) as writer:
        append_all(writer, [stored])
    with store.writer(tmp_path, plain=True) as writer:
        append_all(writer, [pending])
        frames = PendingFrames(store, writer)
        wanted = [pending, stored, pending]
        for _ in range(2):
            assert [frame.data for frame in frames.read_batch([one.id for one in wanted])] == [
                one.frame for one in wanted
            ]
            assert [frames.read(one.id).data for one in wanted] == [one.frame for one in wanted]
            writer.finish()
        with pytest.raises(IntegrityError, match=lost.id.hex()):
            frames.read(lost.id)
        with pytest.raises(IntegrityError, match=lost.id.hex()):
            frames.read_batch([stored.id, lost.id])
        assert [frame.data for _, frame in frames.copies(stored.id)] == [stored.frame]
