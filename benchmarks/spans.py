"""Runs one `mediagit` command in this process with a stopwatch around the calls of each stage, and writes what they took.

python -m benchmarks.spans OUT.json VERB ...

Each call is timed twice in its thread: on the wall, which counts waiting for the disk and for the interpreter's lock,
and in processor time, which does not. A call within a timed call belongs to the outer one. What no stopwatch covers is
the process's processor time less the sum of all stages: the interpreter, and the kernel's work for no stage. What
passed before the verb began, which is the start of the interpreter and nearly all imports, is told apart.
"""

import functools
import importlib
import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple


class Place(NamedTuple):
    """A function, or a hasher's type, that does the work of a stage: `module:name` or `module:class.name`."""

    stage: str
    where: str


IN = (
    Place("read", "mediavault.ops.add:_File.readinto"),
    Place("cut", "mediavault.chunking.fastcdc:Chunker.cut"),
    Place("id hash", "mediavault.model.ids:Namer.chunk"),
    Place("file hash", "mediavault.objects.ingest:blake3"),
    Place("probe", "mediavault.objects.codec:worth_trying"),
    Place("compress", "mediavault.codecs.zstd:compress"),
    Place("seal", "mediavault.codecs.seal:Sealer.seal"),
    Place("write", "mediavault.store.pack_writer:write_whole"),
    Place("sync", "mediavault_backends.fsio:sync_file"),
    Place("sync", "mediavault_backends.fsio:sync_folder"),
    Place("sync", "mediavault_backends.fsio:sync_filesystem"),
    Place("index", "mediavault.store.index:ObjectIndex.has"),
    Place("index", "mediavault.store.index:ObjectIndex.add"),
)
OUT = (
    Place("read", "mediavault_backends.local:LocalBackend.read"),
    Place("parse frame", "mediavault.store.frames:parse_frame"),
    Place("open", "mediavault.codecs.seal:Sealer.open"),
    Place("decompress", "mediavault.codecs.zstd:decompress"),
    Place("id hash", "mediavault.model.ids:Namer.chunk"),
    Place("file hash", "mediavault.workspace.new_files:blake3"),
    Place("write", "mediavault.workspace.new_files:_write_whole"),
    Place("sync", "mediavault_backends.fsio:sync_file"),
    Place("sync", "mediavault_backends.fsio:sync_folder"),
    Place("sync", "mediavault_backends.fsio:sync_filesystem"),
    Place("index", "mediavault.store.index:ObjectIndex.find"),
)
VERBS = {"add": IN, "commit": IN, "restore": OUT}


class Stopwatches:
    """What the calls of each stage took, summed over all threads."""

    def __init__(self) -> None:
        self._local = threading.local()
        self._threads: list[dict[str, list[float]]] = []

    def around(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function with a stopwatch around it."""
        local = self._local

        @functools.wraps(function, updated=())
        def timed(*arguments: Any, **options: Any) -> Any:
            if getattr(local, "busy", False):
                return function(*arguments, **options)
            local.busy = True
            wall, cpu = time.perf_counter(), time.thread_time()
            try:
                return function(*arguments, **options)
            finally:
                cpu, wall = time.thread_time() - cpu, time.perf_counter() - wall
                local.busy = False
                self._note(stage, wall, cpu)

        return timed

    def totals(self) -> dict[str, list[float]]:
        """Return by stage: calls, seconds on the wall, seconds of processor time."""
        found: dict[str, list[float]] = {}
        for thread in self._threads:
            for stage, figures in thread.items():
                before = found.get(stage, [0, 0.0, 0.0])
                found[stage] = [one + other for one, other in zip(before, figures, strict=True)]
        return found

    def _note(self, stage: str, wall: float, cpu: float) -> None:
        if not hasattr(self._local, "totals"):
            self._local.totals = {}
            self._threads.append(self._local.totals)
        figures = self._local.totals.setdefault(stage, [0, 0.0, 0.0])
        figures[0] += 1
        figures[1] += wall
        figures[2] += cpu


def attach(places: tuple[Place, ...], watches: Stopwatches) -> None:
    """Put a stopwatch around every place.

    Raises:
        AttributeError: a place is not there any more; the table would be wrong without it.
    """
    for stage, where in places:
        module, _, path = where.partition(":")
        owner: Any = importlib.import_module(module)
        *above, name = path.split(".")
        for part in above:
            owner = getattr(owner, part)
        found = getattr(owner, name)
        replacement = _hasher(stage, found, watches) if name == "blake3" else watches.around(stage, found)
        setattr(owner, name, replacement)


def _hasher(stage: str, real: Callable[..., Any], watches: Stopwatches) -> Callable[..., Any]:
    """Return what makes hashers whose every call has a stopwatch around it."""

    class Hasher:
        def __init__(self, *arguments: Any, **options: Any) -> None:
            hasher = watches.around(stage, real)(*arguments, **options)
            self.update = watches.around(stage, hasher.update)
            self.digest = watches.around(stage, hasher.digest)

    return Hasher


def main() -> None:
    """Run the command and write the totals; exits with the command's code."""
    out, *command = sys.argv[1:]
    from mediavault.cli.dispatch import run  # noqa: PLC0415 -- the places below are patched after it

    watches = Stopwatches()
    attach(VERBS[command[0]], watches)
    started = time.process_time()
    code = run(command)
    Path(out).write_text(json.dumps({"stages": watches.totals(), "start": started}))
    sys.exit(code)


if __name__ == "__main__":
    main()
