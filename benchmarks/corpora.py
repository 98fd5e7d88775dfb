"""Writes the synthetic corpora, deterministic from a seed. Runs as a process of its own, so that its memory is its own.

python -m benchmarks.corpora mixed FOLDER SCALE | video FOLDER SCALE | small FOLDER SCALE | distinct FOLDER SCALE
python -m benchmarks.corpora media FOLDER SCALE | tiny FOLDER COUNT | sparse FOLDER SCALE | revise FOLDER NUMBER
"""

import os
import sys
from pathlib import Path

import numpy as np

from tests import media

MIB = 1 << 20
SEED = 20
BIG_FILE = 8 * MIB
"""Revisions change files of at least this length when there are any."""

EDITS, EDIT_BYTES = 3, 100_000


def mixed(root: Path, scale: float) -> None:
    """Write 1 GiB of incompressible video, 512 MiB of layered images and 256 MiB of audio, times `scale`."""
    video(root / "video", scale)
    (root / "layers").mkdir()
    (root / "audio").mkdir()
    for number in range(4):
        _write_layers(root / "layers" / f"layers{number}.raw", number, int(128 * MIB * scale), deep=number == 3)
    for number in range(2):
        _write_audio(root / "audio" / f"take{number}.pcm", number, int(128 * MIB * scale))


def video(root: Path, scale: float) -> None:
    """Write 1 GiB times `scale` of bytes that do not compress, as encoded video does not, in four files."""
    root.mkdir(parents=True)
    for number in range(4):
        _write_distinct(root / f"take{number}.mov", number, int(256 * MIB * scale))


def small(root: Path, scale: float) -> None:
    """Write 10,000 files of 8 KiB times `scale`, a hundred in a folder; half of each is text-like."""
    draw = np.random.default_rng([SEED, 1])
    for number in range(int(10_000 * scale)):
        folder = root / f"shot{number // 100:04}"
        if number % 100 == 0:
            folder.mkdir(parents=True)
        (folder / f"frame{number % 100:02}.dat").write_bytes(
            draw.bytes(4096) + bytes(draw.integers(97, 105, 4096, dtype=np.uint8))
        )


def distinct(root: Path, scale: float) -> None:
    """Write one file of 4 GiB times `scale` in which no chunk occurs twice."""
    root.mkdir(parents=True)
    _write_distinct(root / "scan.bin", 9, int(4096 * MIB * scale))


def tiny(root: Path, count: float) -> None:
    """Write `count` files of about 30 distinct bytes, a thousand in a folder: what is left is the cost of a file."""
    for number in range(int(count)):
        folder = root / f"shot{number // 1000:04}"
        if number % 1000 == 0:
            folder.mkdir(parents=True)
        (folder / f"frame{number % 1000:03}.txt").write_bytes(b"frame %d of the sequence\n" % number)


def sparse(root: Path, scale: float) -> None:
    """Write one file of 100 GB times `scale` of which a hundredth is distinct bytes, a megabyte in each hundred.

    The rest are holes, so that it fits on small disks and so does what is stored of it.
    """
    root.mkdir(parents=True)
    count, step = max(2, int(1000 * scale)), 100_000_000
    draw = np.random.SFC64([SEED, 6])
    with (root / "scan.bin").open("wb") as target:
        for number in range(count):
            target.seek(number * step)
            target.write(np.asarray(draw.random_raw(125_000), dtype="<u8").tobytes())
        target.truncate(count * step)


def real(root: Path, scale: float) -> None:
    """Make the sample project with real encoders: 165 MB, or less for a small `scale`."""
    media.make_project(root, detail=min(1.0, scale * 4))


def revise(root: Path, number: int) -> None:
    """Insert three runs of 100 kB of new bytes into each big file; the same `number` makes the same edits."""
    files = sorted(path for path in root.rglob("*") if path.is_file() and not {".mediagit", ".git"} & set(path.parts))
    big = [path for path in files if path.stat().st_size >= BIG_FILE] or [
        path for path in files if path.stat().st_size >= EDIT_BYTES
    ]
    for index, path in enumerate(big):
        draw = np.random.default_rng([SEED, 2, number, index])
        size = path.stat().st_size
        places = sorted(int(place) for place in draw.integers(0, size, EDITS))
        changed = path.with_name(path.name + ".new")
        with path.open("rb") as source, changed.open("wb") as target:
            for start, end in zip([0, *places], [*places, size], strict=True):
                _copy(source.fileno(), target.fileno(), end - start)
                if end != size:
                    os.write(target.fileno(), draw.bytes(EDIT_BYTES))
        changed.replace(path)


def _copy(source: int, target: int, count: int) -> None:
    while count:
        block = os.read(source, min(count, MIB))
        os.write(target, block)
        count -= len(block)


def _write_distinct(path: Path, stream: int, size: int) -> None:
    bits = np.random.SFC64([SEED, 3, stream])
    with path.open("wb") as target:
        for start in range(0, size, 8 * MIB):
            words = np.asarray(bits.random_raw(MIB), dtype="<u8")
            target.write(words.tobytes()[: size - start])


def _write_layers(path: Path, stream: int, size: int, *, deep: bool) -> None:
    """Write picture layers of 8 or 16 bits a sample: neighbours are alike, the low bits are grain.

    Of the 8-bit ones, two fifths are empty, as most of a detail layer is. zstd at level 1 makes them about 2.9 times
    smaller, and the 16-bit ones 1.3 times: what real ones were measured at.
    """
    draw = np.random.default_rng([SEED, 4, stream])
    kind, grain, top, drift_by, empty = ("<u2", 200, 65535, 600, 0.0) if deep else ("u1", 4, 255, 12, 0.4)
    width = 4096
    with path.open("wb") as target:
        written = 0
        while written < size:
            middle = draw.integers(top // 4, top * 3 // 4)
            anchors = middle + draw.integers(-drift_by, drift_by, 65).astype(np.float64)
            drift = np.interp(np.linspace(0, 64, 256 * width), np.arange(65), anchors)
            samples = np.clip(drift + draw.integers(-grain, grain + 1, drift.size), 0, top).astype(kind)
            samples[: int(samples.size * empty)] = 0
            block = samples.tobytes()[: size - written]
            target.write(block)
            written += len(block)


def _write_audio(path: Path, stream: int, size: int) -> None:
    """Write 16-bit samples of a noisy tone, which a byte-wise compressor cannot shrink."""
    draw = np.random.default_rng([SEED, 5, stream])
    with path.open("wb") as target:
        for start in range(0, size, 4 * MIB):
            time = np.arange(start // 2, start // 2 + 2 * MIB) / 48_000
            tone = 9000 * np.sin(2 * np.pi * 220 * time) + draw.normal(0, 3000, time.size)
            target.write(np.clip(tone, -32768, 32767).astype("<i2").tobytes()[: size - start])


MAKERS = {
    "mixed": mixed,
    "video": video,
    "small": small,
    "distinct": distinct,
    "media": real,
    "tiny": tiny,
    "sparse": sparse,
}


def main() -> None:
    """Do what the command line says."""
    what, folder, value = sys.argv[1:]
    if what == "revise":
        revise(Path(folder), int(value))
    else:
        MAKERS[what](Path(folder), float(value))


if __name__ == "__main__":
    main()
