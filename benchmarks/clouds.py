"""Rows for object storage: push and clone of incompressible media on MinIO, through the server, by signed URLs, without a server, beside boto3.

MinIO is the one that `make services` builds. boto3's transfer manager sends and fetches the very packs that a push sends, to and
from plain files: what the store gives on this machine. A clone is durable when it ends, so boto3's files are synced too, in its
time; how it does without that is told besides.
"""

import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import trees
from benchmarks.bench import Bench, Table, make_corpus, verdict
from benchmarks.measure import Command, Run, Spread
from benchmarks.tools import MediaGit
from benchmarks.transfers import PROJECT, compare_clone, packs_of, said, serving, set_remote
from tests.services import minio
from tests.services.conftest import make_bucket

ROOT = Path(__file__).resolve().parent.parent
SERVICES = ROOT / ".services"
GIB = 1 << 30
BUCKET = "media"
SERVED, SIGNED, DIRECTLY = "through the server", "by signed URLs", "without a server"
BOTO, UNSYNCED = "boto3", "boto3 that syncs nothing"
WANTED = {SERVED: 0.7, SIGNED: 0.9, DIRECTLY: 0.9}
MAX_REQUESTS = 32.0
MAX_PEAK = 512e6


@dataclass
class Measured:
    """What the rounds brought: runs by what was done and how, calls of the store for each GiB."""

    runs: dict[tuple[str, str], list[Run]] = field(default_factory=dict)
    calls: dict[str, list[float]] = field(default_factory=dict)


def run(bench: Bench) -> None:
    """Measure the group of rows."""
    work = bench.begin("clouds: making the corpus")
    source = work / "source"
    make_corpus("video", source, 2 * bench.options.scale)
    ours = MediaGit(work / "mediagit")
    ours.fresh(source)
    bench.untimed(ours, "ingest")
    found = Measured()
    for number in range(bench.options.rounds + 1):
        with _minio(work / "minio") as cloud:
            _round(bench, ours, cloud, found, number)
    _report(bench, found, trees.total_bytes(source))
    bench.finish()


@contextmanager
def _minio(folder: Path) -> Iterator[Mapping[str, str]]:
    """Run an empty MinIO, so that the disk has to hold one round only; give the environment in which it is found."""
    folder.mkdir()
    with minio.running(SERVICES, folder) as store:
        make_bucket(store, BUCKET)
        yield {
            "AWS_ACCESS_KEY_ID": store.access_key,
            "AWS_SECRET_ACCESS_KEY": store.secret_key,
            "AWS_ENDPOINT_URL": store.endpoint,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
    shutil.rmtree(folder)


def _round(bench: Bench, ours: MediaGit, cloud: Mapping[str, str], found: Measured, number: int) -> None:
    """Push and clone by boto3, through the server and direct; round 0 only warms up."""
    source = bench.options.work / "source"
    packs = packs_of(ours.work / "tree", bench.options.work / "packs", smallest=0)
    fetched, copy = bench.options.work / "fetched", bench.options.work / "copy"
    gibs = max(1.0, trees.total_bytes(source) / GIB)
    environment = {**ours.environment(), **cloud, "PYTHONPATH": str(ROOT)}
    # Without the passphrase: the key is known on this computer, and Argon2 is no part of a transfer.
    known = {name: value for name, value in environment.items() if name != "MEDIAGIT_PASSPHRASE"}

    def take(what: str, how: str, *commands: Sequence[str]) -> None:
        name = f"{ours.name}, {how}" if how in WANTED else how
        chosen = {**known, "MEDIAGIT_DIRECT": "off" if how == SERVED else "auto"}
        lines = [Command(tuple(arguments), ours.work / "tree") for arguments in commands]
        run = bench.timed(name, what, lines, chosen, warm_up=not number, reads=[packs])
        if number:
            found.runs.setdefault((what, how), []).append(run)
            if how in WANTED:
                found.calls.setdefault(f"{what}, {how}", []).append(said(bench, "requests") / gibs)

    boto = (sys.executable, "-m", "benchmarks.boto_client")
    take("push", BOTO, (*boto, "put", BUCKET, f"boto-{number}", str(packs)))
    get, sync = (*boto, "get", BUCKET, f"boto-{number}", str(fetched)), ("sync", "-f", str(fetched))
    take("clone", BOTO, get, sync)
    shutil.rmtree(fetched)
    take("clone", UNSYNCED, get)
    shutil.rmtree(fetched)
    with _ways(environment, number) as ways:
        for how, url in ways.items():
            set_remote(ours, url)
            take("push", how, (ours.program, "push", "--json", "-u", "origin", "main"))
            take("clone", how, (ours.program, "clone", "--json", url, str(copy)))
            compare_clone(ours.name, source, copy)
            shutil.rmtree(copy)


@contextmanager
def _ways(environment: Mapping[str, str], number: int) -> Iterator[Mapping[str, str]]:
    """Give the addresses of empty places in the bucket: two behind a server, and the bucket itself."""
    settings = {
        "MEDIAGIT_STORAGE__BACKEND": "s3",
        "MEDIAGIT_STORAGE__S3__BUCKET": BUCKET,
        "MEDIAGIT_STORAGE__S3__PREFIX": f"served-{number}",
    }
    with serving(None, {**environment, **settings}) as origin:
        yield {
            SERVED: f"{origin}/{PROJECT}",
            SIGNED: f"{origin}/{PROJECT}-signed",
            DIRECTLY: f"s3://{BUCKET}/direct-{number}",
        }


def _report(bench: Bench, found: Measured, size: int) -> None:
    cells = [["work", "MB/s", "boto3 MB/s", "peak MB", "speed, it ÷ boto3", "wanted", "held"]]
    for (what, how), runs in found.runs.items():
        if how not in WANTED:
            continue
        theirs = found.runs[what, BOTO]
        ratio = _speed(runs, theirs)
        speeds = [f"{size / 1e6 / Spread.of(run.seconds for run in taken).median:.0f}" for taken in (runs, theirs)]
        wanted = WANTED[how]
        peak = max(run.peak_bytes for run in runs)
        row = [f"{what}, {how}", *speeds, f"{peak / 1e6:.0f}", ratio.text()]
        cells.append([*row, *verdict(-ratio.median, -wanted, f"≥ {wanted:g}")])
    note = (
        "Encrypted as always, on MinIO of one process and one folder, with everything on the two cores of one machine. boto3 "
        "moves the packs themselves as plain files, unverified; a clone also opens, checks and checks out every file. Both are durable at "
        "the end of a clone: boto3 by a `sync -f` in its time."
    )
    bench.tables.append(Table("Push and clone on MinIO, incompressible", note, cells))
    cells = [["figure", "median (least-greatest)", "wanted", "held"]]
    for how in WANTED:
        ratio = _speed(found.runs["clone", how], found.runs["clone", UNSYNCED])
        cells.append([f"clone, {how}: speed, it ÷ {UNSYNCED}", ratio.text(), "", ""])
    for what, calls in found.calls.items():
        spread = Spread.of(calls)
        cells.append([f"calls for each GiB, {what}", spread.text(1), *verdict(spread.median, MAX_REQUESTS)])
    peak = max(run.peak_bytes for (_, how), runs in found.runs.items() if how in WANTED for run in runs)
    cells.append(["peak memory of mediagit", f"{peak / 1e6:.0f} MB", *verdict(peak, MAX_PEAK, "≤ 512 MB")])
    bench.tables.append(
        Table(
            "Calls and memory on MinIO, and boto3 as it comes",
            "What the client calls: the server, the store, or both.",
            cells,
        )
    )


def _speed(runs: Sequence[Run], theirs: Sequence[Run]) -> Spread:
    return Spread.of(their.seconds / our.seconds for our, their in zip(runs, theirs, strict=True))
