"""Writes an index of many rows, or looks ids up in one. Runs as a process of its own, so that its memory is its own.

python -m benchmarks.known write FOLDER ROWS | find FOLDER ROWS
"""

import sys
import time
from pathlib import Path

import numpy as np

from mediavault.formats.index import encode_index, index_id
from mediavault.formats.pack import PackRow
from mediavault.model.ids import ID_BYTES, Kind
from mediavault.store.index import ObjectIndex
from mediavault.store.keys import index_key
from mediavault_backends.api import Absent
from mediavault_backends.local import LocalBackend

BLOB_ROWS = 1_000_000
PACK_ROWS = 400
CHUNK_BYTES = 165_000
ASKED = 10_000
SEED = 20


def main() -> None:
    """Do what the command line says; `find` prints the seconds that it took."""
    what, folder, rows = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    if what == "write":
        write(folder, rows)
    else:
        print(find(folder, rows))


def write(folder: Path, rows: int) -> None:
    """Write an index of so many chunks, as that many chunks of media would leave it."""
    backend = LocalBackend(folder, create=True)
    for number, count in enumerate(_blobs(rows)):
        ids = _ids(number, count)
        packs = {}
        for pack, at in enumerate(range(0, count, PACK_ROWS)):
            table = [
                PackRow(
                    ids[each * ID_BYTES : (each + 1) * ID_BYTES],
                    Kind.CHUNK,
                    place * CHUNK_BYTES,
                    CHUNK_BYTES,
                    bytes(16),
                    None,
                )
                for place, each in enumerate(range(at, min(at + PACK_ROWS, count)))
            ]
            packs[number.to_bytes(16, "big") + pack.to_bytes(16, "big")] = table
        blob = encode_index(packs, time.time_ns())
        backend.put(index_key(index_id(blob)), blob, when=Absent())


def find(folder: Path, rows: int) -> float:
    """Look up ids of which every second one is known; return the seconds.

    Raises:
        SystemExit: an answer was wrong.
    """
    asked, known = [], set()
    counts = list(_blobs(rows))
    draw = np.random.default_rng([SEED, 2])
    for number, count in enumerate(counts):
        ids = _ids(number, count)
        share = ASKED // 2 // len(counts) + (number < ASKED // 2 % len(counts))
        for each in draw.choice(count, share, replace=False):
            known.add(ids[each * ID_BYTES : (each + 1) * ID_BYTES])
        del ids
    asked = [*known, *(draw.bytes(ID_BYTES) for _ in range(ASKED - len(known)))]
    order = draw.permutation(len(asked))
    started = time.perf_counter()
    index = ObjectIndex(LocalBackend(folder))
    found = [index.has(asked[at]) for at in order]
    seconds = time.perf_counter() - started
    if found != [asked[at] in known for at in order]:
        raise SystemExit("the index gave a wrong answer")
    return seconds


def _blobs(rows: int) -> list[int]:
    """Return the rows of each blob."""
    return [min(BLOB_ROWS, rows - at) for at in range(0, rows, BLOB_ROWS)]


def _ids(blob: int, count: int) -> bytes:
    return np.random.default_rng([SEED, 1, blob]).bytes(count * ID_BYTES)


if __name__ == "__main__":
    main()
