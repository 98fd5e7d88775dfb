"""Rows for transfers over loopback HTTP with local storage: push and clone, requests and bytes, the server beside nginx.

git-lfs is measured against giftless (PyPI: giftless 0.6.2 under gunicorn, with PyJWT below 2.10) where BENCH_GIFTLESS
names a Python that has both.
"""

import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks import trees
from benchmarks.bench import NOT_INSTALLED, REPOSITORIES, Bench, Table, make_corpus, verdict
from benchmarks.measure import Command, CommandFailedError, Run, Spread
from benchmarks.tools import GitLfs, MediaGit

ROOT = Path(__file__).resolve().parent.parent
PROJECT = "studio/film"
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
GIFTLESS = os.environ.get("BENCH_GIFTLESS", "")
LFS = "git-lfs with giftless"
MAX_REQUESTS = 32.0
GIB = 1 << 30
EDITED = 0.01
START_SECONDS = 30.0
SAME_CLIENT = "One client for both, 1 MiB at a time, one connection after another. Both durable: the server by its own fsyncs, nginx by a `sync -f` in the time of its PUTs."


@dataclass
class Measured:
    """What the rounds brought, by tool or server."""

    pushes: dict[str, list[Run]] = field(default_factory=dict)
    clones: dict[str, list[Run]] = field(default_factory=dict)
    puts: dict[str, list[Run]] = field(default_factory=dict)
    gets: dict[str, list[Run]] = field(default_factory=dict)
    behind_nginx: dict[str, list[Run]] = field(default_factory=dict)
    requests: dict[str, list[float]] = field(default_factory=dict)
    resent: list[float] = field(default_factory=list)


def run(bench: Bench) -> None:
    """Measure the group of rows."""
    work = bench.begin("transfers: making the corpus")
    source = work / "source"
    make_corpus("video", source, bench.options.scale)
    size = trees.total_bytes(source)
    ours = MediaGit(work / "mediagit")
    ours.fresh(source)
    bench.untimed(ours, "ingest")
    lfs = GitLfs(work / "git-lfs") if GIFTLESS and GitLfs in bench.options.peers else None
    if lfs is not None:
        lfs.fresh(source)
        bench.untimed(lfs, "ingest")
    found = Measured()
    for number in range(bench.options.rounds + 1):
        _round(bench, ours, source, found, warm_up=number == 0)
        if lfs is not None:
            _round_of_lfs(bench, lfs, source, found, warm_up=number == 0)
    _edits(bench, ours, found)
    _report(bench, found, size)
    bench.finish()


def _round(bench: Bench, ours: MediaGit, source: Path, found: Measured, *, warm_up: bool) -> None:
    """Push and clone, through the server alone and with nginx before it; then put and get the same packs raw."""
    work, tree = bench.options.work, ours.work / "tree"
    storage, copy = work / "srv", work / "copy"
    for folder in (storage, copy, work / "raw"):
        shutil.rmtree(folder, ignore_errors=True)
    environment = ours.environment()
    with serving(storage, environment) as origin:
        set_remote(ours, f"{origin}/{PROJECT}")
        command = Command((ours.program, "push", "--json", "-u", "origin", "main"), tree)
        pushed = bench.timed(ours.name, "push", [command], environment, warm_up=warm_up, reads=[tree / ".mediagit"])
        up = said(bench, "requests")
        cloned = _clone(bench, ours, f"{origin}/{PROJECT}", copy, "clone", warm_up=warm_up)
        down = said(bench, "requests")
        compare_clone(ours.name, source, copy)
        shutil.rmtree(copy)
        packs = packs_of(tree, work / "packs")
        _make_project(f"{origin}/{PROJECT}-raw", tree)
        raw = {
            "mediagit-server": _raw(bench, "mediagit-server", f"{origin}/{PROJECT}-raw/packs", packs, warm_up=warm_up)
        }
        if NGINX is not None:
            with _nginx(NGINX, work / "nginx", _front(origin, storage)) as front:
                fed = _clone(bench, ours, f"{front}/{PROJECT}", copy, "clone, packs from nginx", warm_up=warm_up)
            compare_clone(ours.name, source, copy)
            shutil.rmtree(copy)
            with _nginx(NGINX, work / "nginx", _dav(work / "raw")) as alone:
                raw["nginx"] = _raw(bench, "nginx", f"{alone}/packs", packs, synced=work / "raw", warm_up=warm_up)
    if warm_up:
        return
    found.pushes.setdefault(ours.name, []).append(pushed)
    found.clones.setdefault(ours.name, []).append(cloned)
    if NGINX is not None:
        found.behind_nginx.setdefault("packs from nginx", []).append(fed)
    for name, (put, got) in raw.items():
        found.puts.setdefault(name, []).append(put)
        found.gets.setdefault(name, []).append(got)
    gibs = trees.total_bytes(source) / GIB
    found.requests.setdefault("pushed", []).append(up / max(1.0, gibs))
    found.requests.setdefault("cloned", []).append(down / max(1.0, gibs))


def _round_of_lfs(bench: Bench, lfs: GitLfs, source: Path, found: Measured, *, warm_up: bool) -> None:
    work, tree = bench.options.work, lfs.work / "tree"
    storage, bare, copy = work / "lfs-srv", work / "bare.git", work / "copy"
    for folder in (storage, bare, copy):
        shutil.rmtree(folder, ignore_errors=True)
    environment = lfs.environment()
    with _giftless(work, storage) as origin:
        url = f"lfs.url={origin}/{PROJECT}"
        for command in (("init", "-q", "--bare", "-b", "main", str(bare)), ("config", "lfs.locksverify", "false")):
            subprocess.run(["git", *command], cwd=tree, env=environment, check=True, capture_output=True)
        push = Command(("git", "-c", url, "push", "-q", str(bare), "main"), tree)
        pushed = bench.timed(LFS, "push", [push], environment, warm_up=warm_up, reads=[tree / ".git"])
        attributes = work / "attributes"
        attributes.write_text("* filter=lfs diff=lfs merge=lfs -text\n")
        filters = ("-c", "filter.lfs.process=git-lfs filter-process", "-c", "filter.lfs.required=true")
        clone = ("git", "-c", url, "-c", f"core.attributesFile={attributes}", *filters, "clone", "-q", str(bare))
        cloned = bench.timed(LFS, "clone", [Command((*clone, str(copy)), work)], environment, warm_up=warm_up)
    compare_clone(LFS, source, copy)
    shutil.rmtree(copy)
    if not warm_up:
        found.pushes.setdefault(LFS, []).append(pushed)
        found.clones.setdefault(LFS, []).append(cloned)


def compare_clone(name: str, source: Path, copy: Path) -> None:
    """Check that a clone holds what was pushed."""
    found = trees.differences(source, copy, ignore=REPOSITORIES)
    if found:
        raise CommandFailedError(f"{name} brought something else:\n" + "\n".join(found[:10]))


def _edits(bench: Bench, ours: MediaGit, found: Measured) -> None:
    """Push, replace a hundredth of each file, push again: what is sent beside what is new."""
    tree, environment = ours.work / "tree", ours.environment()
    shutil.rmtree(bench.options.work / "srv", ignore_errors=True)
    with serving(bench.options.work / "srv", environment) as origin:
        set_remote(ours, f"{origin}/{PROJECT}")
        push = Command((ours.program, "push", "--json", "-u", "origin", "main"), tree)
        bench.timed(ours.name, "push", [push], environment)
        for number in range(bench.options.rounds):
            for index, file in enumerate(sorted(tree.glob("*.mov"))):
                _edit(file, [number, index])
            add, commit = (ours.program, "add", "--json", "."), (ours.program, "commit", "-m", "edit")
            bench.timed(ours.name, "add", [Command(add, tree)], environment)
            stored = said(bench, "bytes_stored")
            bench.timed(ours.name, "commit", [Command(commit, tree)], environment)
            bench.timed(ours.name, "second push", [push], environment)
            found.resent.append(said(bench, "bytes_sent") / stored)


def _edit(file: Path, seed: Sequence[int]) -> None:
    draw = np.random.default_rng([41, *seed])
    size = file.stat().st_size
    length = max(1, int(size * EDITED))
    with file.open("r+b") as target:
        target.seek(int(draw.integers(0, size - length)))
        target.write(draw.bytes(length))


def _report(bench: Bench, found: Measured, size: int) -> None:
    names = {"push": found.pushes, "clone": found.clones}
    for what, runs in names.items():
        bench.times(
            f"{what.capitalize()} over loopback HTTP, incompressible", _lfs_note(found), runs, {LFS: 0.5}, size=size
        )
        if LFS not in runs:
            table = bench.tables[-1]
            table.cells.append([LFS, NOT_INSTALLED, *[""] * (len(table.cells[0]) - 4), "", "≤ 0.5", ""])
    cells = [["transfer", "median (least-greatest)", "wanted", "held"]]
    for what, counts in found.requests.items():
        spread = Spread.of(counts)
        cells.append([f"requests for each GiB {what}", spread.text(1), *verdict(spread.median, MAX_REQUESTS)])
    spread = Spread.of(found.resent)
    cells.append(["second push: bytes sent ÷ bytes of new chunks", spread.text(3), *verdict(spread.median, 1.1)])
    note = "Packs of 64 MiB. The second push follows an edit of 1 % of each file, in one place; it also carries metadata and pack tables."
    bench.tables.append(Table("Requests and bytes of transfers", note, cells))
    if NGINX is not None:
        bench.tables.append(_beside_nginx(found, size))


def _lfs_note(found: Measured) -> str:
    return "" if LFS in found.pushes else "git-lfs has no server of its own; BENCH_GIFTLESS names one."


def _beside_nginx(found: Measured, size: int) -> Table:
    """Compare speeds, higher being better, round by round."""
    cells = [["work", "mediagit-server MB/s", "nginx MB/s", "speed, it ÷ nginx", "wanted", "held"]]
    pairs: Mapping[str, tuple[Sequence[Run], Sequence[Run], float]] = {
        "PUT of packs": (found.puts["mediagit-server"], found.puts["nginx"], 0.6),
        "GET of packs": (found.gets["mediagit-server"], found.gets["nginx"], 0.6),
        "clone, with packs from": (found.clones[MediaGit.name], found.behind_nginx["packs from nginx"], 0.85),
    }
    for what, (ours, theirs, wanted) in pairs.items():
        ratio = Spread.of(their.seconds / our.seconds for our, their in zip(ours, theirs, strict=True))
        speeds = [f"{size / 1e6 / Spread.of(run.seconds for run in runs).median:.0f}" for runs in (ours, theirs)]
        cells.append([what, *speeds, ratio.text(), *verdict(-ratio.median, -wanted, f"≥ {wanted:g}")])
    return Table("The server beside nginx", SAME_CLIENT, cells)


def _clone(bench: Bench, ours: MediaGit, url: str, copy: Path, step: str, *, warm_up: bool) -> Run:
    # Without the passphrase: the key is known on this computer, and Argon2 is no part of a transfer.
    environment = {name: value for name, value in ours.environment().items() if name != "MEDIAGIT_PASSPHRASE"}
    command = Command((ours.program, "clone", "--json", url, str(copy)), bench.options.work)
    return bench.timed(ours.name, step, [command], environment, warm_up=warm_up, reads=[bench.options.work / "srv"])


def _raw(
    bench: Bench, name: str, url: str, packs: Path, *, synced: Path | None = None, warm_up: bool
) -> tuple[Run, Run]:
    environment = {"PATH": os.environ["PATH"]}
    runs = []
    for verb in ("put", "get"):
        commands = [Command((sys.executable, "-m", "benchmarks.pack_client", verb, url, str(packs)), ROOT)]
        if verb == "put" and synced is not None:
            commands.append(Command(("sync", "-f", str(synced)), ROOT))
        runs.append(bench.timed(name, f"{verb} packs", commands, environment, warm_up=warm_up, reads=[packs]))
    return runs[0], runs[1]


def said(bench: Bench, key: str) -> int:
    """Return a number of the document that the last command printed: the log holds nothing beside it but progress."""
    text = bench.log.read_text(errors="replace")
    return int(json.loads(text[text.index("{") : text.rindex("}") + 1])[key])


def set_remote(ours: MediaGit, url: str) -> None:
    """Let `origin` be at this address, and forget what was seen at another."""
    for arguments in (("remote", "remove", "origin"), ("remote", "add", "origin", url)):
        subprocess.run(
            [ours.program, *arguments], cwd=ours.work / "tree", env=ours.environment(), check=False, capture_output=True
        )


def packs_of(tree: Path, folder: Path, *, smallest: int = 1 << 20) -> Path:
    """Link the packs of a repository that are larger than `smallest` into one folder, by their names."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for pack in sorted((tree / ".mediagit" / "store" / "packs").glob("*/*")):
        # Metadata packs want what they link to first, in an order that names do not tell.
        if pack.stat().st_size > smallest:
            os.link(pack, folder / pack.name)
    return folder


def _make_project(url: str, tree: Path) -> None:
    host, _, path = url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host)
    connection.request("PUT", f"/{path}/config", (tree / ".mediagit" / "store" / "config").read_bytes())
    if connection.getresponse().status != 201:
        raise CommandFailedError(f"{url} could not be made")
    connection.close()


@contextmanager
def serving(storage: Path | None, environment: Mapping[str, str]) -> Iterator[str]:
    """Run mediagit-server on a folder, or on what the environment names; give its origin."""
    program = str(Path(sys.executable).parent / "mediagit-server")
    command = [program, *(["--storage", str(storage)] if storage else []), "--port", "0", "--no-auth"]
    with subprocess.Popen(command, env=dict(environment), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.fullmatch(r"Listening on (\S+)\n", process.stdout.readline())
            if found is None:
                raise CommandFailedError("mediagit-server does not start")
            yield found[1]
        finally:
            process.terminate()


@contextmanager
def _nginx(program: str, folder: Path, server: str) -> Iterator[str]:
    """Run nginx with one server block; give its origin."""
    (folder / "scratch").mkdir(parents=True, exist_ok=True)
    port = _free_port()
    scratch = "".join(
        f"{kind}_temp_path {folder}/scratch/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;" if os.getuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        f"{user} worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/errors;\n"
        f"events {{ worker_connections 64; }}\nhttp {{ access_log off; sendfile on; tcp_nopush on;\n"
        f"client_max_body_size 0; client_body_buffer_size 1m;\n{scratch}"
        f"server {{ listen 127.0.0.1:{port}; {server} }} }}\n"
    )
    yield from _running([program, "-p", str(folder), "-c", str(folder / "nginx.conf")], port, None)


def _dav(root: Path) -> str:
    (root / "packs").mkdir(parents=True, exist_ok=True)
    return f"root {root}; location / {{ dav_methods PUT; }}"


def _front(origin: str, storage: Path) -> str:
    """Say how nginx serves packs itself and asks the server for all else."""
    pack = f"^/{PROJECT}/packs/(?<two>[0-9a-f][0-9a-f])(?<rest>[0-9a-f]+)$"
    return (
        f'location ~ "{pack}" {{ alias {storage}/{PROJECT}/packs/$two/$two$rest; }}\n'
        f"location / {{ proxy_pass {origin}; proxy_http_version 1.1; proxy_set_header Host $http_host; }}"
    )


@contextmanager
def _giftless(work: Path, storage: Path) -> Iterator[str]:
    """Run giftless with local storage; give its origin."""
    port = _free_port()
    (work / "giftless.yaml").write_text(
        "AUTH_PROVIDERS: [giftless.auth.allow_anon:read_write]\n"
        "TRANSFER_ADAPTERS: {basic: {factory: 'giftless.transfer.basic_streaming:factory', options: "
        "{storage_class: 'giftless.storage.local_storage:LocalStorage', "
        f"storage_options: {{path: {storage}}}}}}}}}\n"
    )
    command = [GIFTLESS, "-m", "gunicorn", "-w", "2", "--timeout", "600", "-b", f"127.0.0.1:{port}"]
    environment = {**os.environ, "GIFTLESS_CONFIG_FILE": str(work / "giftless.yaml"), "PYTHONWARNINGS": "ignore"}
    yield from _running([*command, "giftless.wsgi_entrypoint:app"], port, environment)


def _running(command: Sequence[str], port: int, environment: Mapping[str, str] | None) -> Iterator[str]:
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + START_SECONDS
            while not _listens(port):
                if time.monotonic() > deadline or process.poll() is not None:
                    raise CommandFailedError(f"{command[0]} does not start")
                time.sleep(0.02)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port
