"""Rows for object storage: push and clone of incompressible media on MinIO, through the server, by signed URLs, without a server, beside boto3.

MinIO is the one that `make services` builds. boto3's transfer manager sends and fetches the very packs that a push sends, to and
from plain files: what the store gives on this machine. A clone is durable when it ends, so boto3's files are synced too, in its
time; how it does without that is told besides.
"""

import shutil
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from benchmarks import measure, trees
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
WANTED = {SERVED: 0.7, SIGNED: 0.9, DIRECTLY: 0.9}
MAX_REQUESTS = 32.0
MAX_PEAK = 512e6


@dataclass
class Measured:
    """What the rounds brought, by what was done and how, such as ("push", SIGNED).

    Attributes:
        ours: the runs of mediagit.
        theirs: those of boto3 next to them; a clone's with its sync.
        unsynced: boto3's fetches, without theirs.
        calls: calls of the store for each GiB.
    """

    ours: dict[tuple[str, str], list[Run]] = field(default_factory=lambda: defaultdict(list))
    theirs: dict[tuple[str, str], list[Run]] = field(default_factory=lambda: defaultdict(list))
    unsynced: dict[str, list[Run]] = field(default_factory=lambda: defaultdict(list))
    calls: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))


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
    """Push and clone in each way, boto3 next to mediagit, and before it in every other round; round 0 only warms up."""
    environment = {**ours.environment(), **cloud, "PYTHONPATH": str(ROOT)}
    packs = packs_of(ours.work / "tree", bench.options.work / "packs", smallest=0)
    with _ways(environment, number) as ways:
        for how, url in ways.items():
            way = _Way(bench, ours, environment, packs, found, how, count=bool(number))
            pair = [partial(way.by_boto, f"boto-{number}-{url.rpartition('/')[2]}"), partial(way.by_us, url)]
            for take in pair if number % 2 else reversed(pair):
                take()


@dataclass
class _Way:
    """One way to push and clone, in one round; `count` unless it only warms up."""

    bench: Bench
    ours: MediaGit
    environment: Mapping[str, str]
    packs: Path
    found: Measured
    how: str
    count: bool

    def by_boto(self, prefix: str) -> None:
        """Send the packs, and fetch them to the disk, by boto3's transfer manager."""
        program, fetched = (sys.executable, "-m", "benchmarks.boto_client"), self.bench.options.work / "fetched"
        sent = self._timed("boto3", "push", *program, "put", BUCKET, prefix, str(self.packs))
        came = self._timed("boto3", "clone", *program, "get", BUCKET, prefix, str(fetched))
        synced = measure.run([Command(("sync", "-f", str(fetched)), fetched)], self.environment, self.bench.log)
        print(f"  sync      boto3          {synced.seconds:7.2f} s", flush=True)
        shutil.rmtree(fetched)
        if self.count:
            self.found.theirs["push", self.how].append(sent)
            self.found.theirs["clone", self.how].append(replace(came, seconds=came.seconds + synced.seconds))
            self.found.unsynced[self.how].append(came)

    def by_us(self, url: str) -> None:
        """Push to an address, and clone from it."""
        copy, program = self.bench.options.work / "copy", self.ours.program
        set_remote(self.ours, url)
        for what, arguments in {
            "push": ("push", "--json", "-u", "origin", "main"),
            "clone": ("clone", "--json", url, str(copy)),
        }.items():
            run = self._timed(f"{self.ours.name}, {self.how}", what, program, *arguments)
            if self.count:
                size = max(GIB, trees.total_bytes(self.bench.options.work / "source"))
                self.found.ours[what, self.how].append(run)
                self.found.calls[what, self.how].append(said(self.bench, "requests") * GIB / size)
        compare_clone(self.ours.name, self.bench.options.work / "source", copy)
        shutil.rmtree(copy)

    def _timed(self, name: str, what: str, *arguments: str) -> Run:
        command = Command(arguments, self.ours.work / "tree")
        # Without the passphrase: the key is known on this computer, and Argon2 is no part of a transfer.
        chosen = {name: value for name, value in self.environment.items() if name != "MEDIAGIT_PASSPHRASE"}
        chosen["MEDIAGIT_DIRECT"] = "off" if self.how == SERVED else "auto"
        return self.bench.timed(name, what, [command], chosen, warm_up=not self.count, reads=[self.packs])


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
    for (what, how), runs in found.ours.items():
        theirs = found.theirs[what, how]
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
    for how, theirs in found.unsynced.items():
        ratio = _speed(found.ours["clone", how], theirs)
        cells.append([f"clone, {how}: speed, it ÷ boto3 that syncs nothing", ratio.text(), "", ""])
    for (what, how), calls in found.calls.items():
        spread = Spread.of(calls)
        cells.append([f"calls for each GiB, {what}, {how}", spread.text(1), *verdict(spread.median, MAX_REQUESTS)])
    peak = max(run.peak_bytes for runs in found.ours.values() for run in runs)
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
