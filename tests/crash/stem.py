"""Runs commands in forked copies of one warm process, where each can end for good before any durable step.

`os._exit` in a fork is a real crash: no `finally` runs, the kernel frees the locks, and what was written stays. Starting
from a process that has imported everything makes that cheap enough to do thousands of times. A server, where a
command needs one, runs in the same fork over a real loopback socket, so its durable steps are announced there as well.
"""

import contextlib
import gc
import importlib
import io
import json
import os
import pickle
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

CRASHED: Final = 77
"""The exit code of a fork that ended before a durable step."""
ROOT: Final = Path(__file__).resolve().parent.parent.parent
NOW: Final = 1_763_700_000
"""The time in every fork, so that a command that is run again makes the same commit."""


@dataclass(frozen=True)
class Order:
    """What a fork is to do.

    Attributes:
        commands: command lines, one after the other in the same fork.
        cwd: where.
        env: added to the environment.
        stop_at: the durable step (from 1) before which the fork ends; 0 for never.
        film: a folder whose pictures are taken before each durable step; empty for none.
        storage: serve this storage meanwhile; empty for no server.
        lose: the request (from 1) whose answer does not arrive; 0 for none.
        lose_how: `before` the server acted, `after` it did, or after `half` of the answer's body.
        facts: a project to describe after the commands, see `facts.describe`; empty for none.
        apart: run the server in a process of its own, which alone ends at `stop_at`, counted in its own steps.
    """

    commands: Sequence[Sequence[str]]
    cwd: str
    env: Mapping[str, str] = field(default_factory=dict)
    stop_at: int = 0
    film: str = ""
    storage: str = ""
    lose: int = 0
    lose_how: str = ""
    facts: str = ""
    apart: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of an order.

    Attributes:
        crashed: the fork ended before a durable step, as ordered; the rest is empty then.
        codes: exit code of each command.
        output: stdout of each.
        errors: stderr of each.
        steps: durable steps that were announced.
        requests: requests that the server saw.
        film: what `power.Recorder` recorded.
        facts: what `facts.describe` found.
        server_crashed: a server apart ended as ordered.
        server_steps: durable steps of a server apart that did not.
    """

    crashed: bool = False
    codes: Sequence[int] = ()
    output: Sequence[str] = ()
    errors: Sequence[str] = ()
    steps: int = 0
    requests: int = 0
    film: Any = None
    facts: Any = None
    server_crashed: bool = False
    server_steps: int = 0


class Stem:
    """The warm process, seen from a test; a context manager. `port` is where the servers of its forks listen."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from tests.crash.stem import serve_orders; serve_orders()"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))},
        )
        self.port: int = self._read()["port"]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()

    def run(self, order: Order) -> Outcome:
        """Carry out an order in a fork of its own."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asdict(order)).encode() + b"\n")
        self._process.stdin.flush()
        found = self._read()
        if isinstance(found, str):
            raise AssertionError(found)  # noqa: TRY004 -- what went wrong in the fork
        outcome: Outcome = found
        return outcome

    def _read(self) -> Any:
        assert self._process.stdout is not None
        size = int.from_bytes(self._process.stdout.read(8), "little")
        data = self._process.stdout.read(size)
        if not size:
            raise AssertionError("the warm process is gone")
        return pickle.loads(data)


# ------------------------------------------------------------------------------ inside the warm process


def serve_orders() -> None:
    """Carry out orders from stdin until it ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _warm_up()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        _send(answers, {"port": listener.getsockname()[1]})
        for line in sys.stdin:
            _send(answers, _in_fork(Order(**json.loads(line)), listener))


def _warm_up() -> None:
    from mediavault.cli import dispatch

    gc.disable()
    for verb in dispatch.VERBS:
        dispatch.load(verb)
    for module in (
        "mediavault.ops.checkout",
        "mediavault.codecs.seal",
        "mediavault.objects.reader",
        "mediavault.objects.codec",
        "mediavault.workspace.materialise",
        "mediavault.store.verify",
        "mediavault.store.salvage",
        "mediavault.history.merge_base",
        "mediavault_server.app",
        "uvicorn.loops.auto",
        "tests.crash.power",
        "tests.crash.facts",
    ):
        importlib.import_module(module)
    gc.freeze()  # else each fork would copy what the collector marks


def _send(answers: IO[bytes], value: object) -> None:
    data = pickle.dumps(value)
    answers.write(len(data).to_bytes(8, "little") + data)
    answers.flush()


def _in_fork(order: Order, listener: socket.socket) -> Outcome | str:
    """Return the outcome, or what went wrong."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        code = 1
        try:
            with os.fdopen(writing, "wb") as file:
                pickle.dump(_carry_out(order, listener), file)
            code = 0
        except BaseException:  # noqa: BLE001 -- a fork must never return into the loop that made it
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        data = file.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code == CRASHED:
        return Outcome(crashed=True)
    if code:
        return f"the fork for {order} failed with {code}"
    found: Outcome = pickle.loads(data)
    return found


class _Steps:
    """Counts durable steps, and ends the process before the one that was ordered."""

    def __init__(self, stop_at: int) -> None:
        self.seen = 0
        self._stop_at = stop_at
        self._lock = threading.Lock()

    def __call__(self, _: object) -> None:
        with self._lock:
            self.seen += 1
            if self.seen == self._stop_at:
                os._exit(CRASHED)


def _carry_out(order: Order, listener: socket.socket) -> Outcome:
    from mediavault_backends import fsio
    from tests.crash import facts, power

    os.environ.update(order.env)
    tempfile.tempdir = order.env["TMPDIR"]
    _stand_still()
    codes, output, errors = [], [], []
    recorder = power.Recorder(Path(order.film)) if order.film else None
    steps = _Steps(0 if order.apart else order.stop_at)
    with contextlib.ExitStack() as stack:
        _leave_disks_alone(stack, recorder)
        if recorder is not None:
            stack.enter_context(fsio.observe(recorder))
        stack.enter_context(fsio.observe(steps))
        apart = stack.enter_context(_serving_apart(order, listener)) if order.apart else None
        server = stack.enter_context(_serving(order, listener)) if order.storage and not order.apart else None
        for command in order.commands:
            code, out, err = _run(order.cwd, command)
            codes.append(code)
            output.append(out)
            errors.append(err)
    return Outcome(
        codes=codes,
        output=output,
        errors=errors,
        steps=steps.seen,
        requests=server.requests if server else 0,
        film=recorder.end() if recorder else None,
        facts=facts.describe(Path(order.facts)) if order.facts else None,
        server_crashed=apart.crashed if apart else False,
        server_steps=apart.steps if apart else 0,
    )


def _run(cwd: str, command: Sequence[str]) -> tuple[int, str, str]:
    from mediavault.cli.dispatch import run

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(["-C", cwd, *command])
    return code, out.getvalue(), err.getvalue()


def _stand_still() -> None:
    """Let every fork have the same time; and passphrases cost little, which is no matter of crashes."""
    from mediavault import compose
    from mediavault.keys import passphrase
    from mediavault.model.objects import Moment
    from mediavault.wire import http

    stretch: Any = vars(passphrase)["hash_secret_raw"]

    def cheaply(secret: bytes, salt: bytes, **cost: Any) -> Any:
        return stretch(secret, salt, **{**cost, "time_cost": 1, "memory_cost": 64, "parallelism": 1})

    http.Wire.wait = lambda *_: None  # type: ignore[method-assign] # nobody waits between two tries
    compose.now = lambda: Moment(NOW, 0)
    vars(passphrase)["hash_secret_raw"] = cheaply


def _leave_disks_alone(stack: contextlib.ExitStack, recorder: Any) -> None:
    """Let nobody wait for the disk: what a process wrote survives its crash anyway. A recorder hears when a sync ends."""
    from unittest import mock

    from mediavault_backends import fsio

    def synced(_: object) -> None:
        if recorder is not None:
            recorder.synced()

    def sync_filesystem(path: Path) -> None:
        fsio.announce("sync-filesystem", path)
        synced(path)

    class Unsynced(sqlite3.Connection):
        def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
            return super().execute(sql.replace("synchronous = FULL", "synchronous = OFF"), *values)

    def connect(*values: Any, **options: Any) -> sqlite3.Connection:
        return plain_connect(*values, **options, factory=Unsynced)

    plain_connect = sqlite3.connect
    stack.enter_context(mock.patch("sqlite3.connect", connect))
    stack.enter_context(mock.patch("os.fsync", synced))
    stack.enter_context(mock.patch("mediavault_backends.fsio.sync_filesystem", sync_filesystem))


class _LosingAnswers:
    """An application in front of the server's, which breaks the connection of one request; counts them all."""

    def __init__(self, app: Any, nth: int, how: str) -> None:
        self._app = app
        self._nth = nth
        self._how = how
        self.requests = 0
        self.transports: dict[tuple[str, int], Any] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        self.requests += 1
        if self.requests != self._nth:
            await self._app(scope, receive, send)
            return
        answer: list[Any] = []

        async def keep(message: Any) -> None:
            answer.append(message)

        if self._how != "before":
            await self._app(scope, receive, keep)
        if self._how == "half":
            body = b"".join(message.get("body", b"") for message in answer[1:])
            await send(answer[0])
            await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        transport = self.transports[tuple(scope["client"])]
        if self._how == "half":
            transport.close()  # what was given to it still goes out
        else:
            transport.abort()


@contextlib.contextmanager
def _serving(order: Order, listener: socket.socket) -> Iterator[_LosingAnswers]:
    """Run the server's application in a thread."""
    import uvicorn

    from mediavault_backends.local import LocalBackend
    from mediavault_server.app import create_app
    from mediavault_server.connection import GuardedConnection
    from mediavault_server.settings import ServerSettings

    storage = LocalBackend(Path(order.storage), create=True)
    app = _LosingAnswers(create_app(ServerSettings(storage={}), storage), order.lose, order.lose_how)

    class Connection(GuardedConnection):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            app.transports[transport.get_extra_info("peername")[:2]] = transport

    config = uvicorn.Config(
        app, http=Connection, ws="none", log_config=None, access_log=False, lifespan="on", server_header=False
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield app
    finally:
        server.should_exit = True
        thread.join()


@dataclass
class _Apart:
    """How a server in a process of its own ended."""

    crashed: bool = False
    steps: int = 0


@contextlib.contextmanager
def _serving_apart(order: Order, known: socket.socket) -> Iterator[_Apart]:
    """Run the server in a process of its own, at a port that is closed when it dies; the settings name it meanwhile."""
    reading, writing = os.pipe()
    ends, go_on = os.pipe()
    server = os.fork()
    if server == 0:
        try:
            os.close(go_on)
            _serve_until_told(order, writing, ends)
        finally:
            os._exit(1)
    os.close(writing)
    os.close(ends)
    old, new = f":{known.getsockname()[1]}/", f":{int.from_bytes(os.read(reading, 4), 'little')}/"
    settings = Path(order.cwd, ".mediagit/mediagit.toml")
    settings.write_text(settings.read_text().replace(old, new))
    apart = _Apart()
    try:
        yield apart
    finally:
        settings.write_text(settings.read_text().replace(new, old))
        os.close(go_on)
        apart.steps = int.from_bytes(os.read(reading, 4), "little")
        os.close(reading)
        apart.crashed = os.waitstatus_to_exitcode(os.waitpid(server, 0)[1]) == CRASHED


def _serve_until_told(order: Order, answers: int, ends: int) -> None:
    """Serve until the other end of a pipe is closed, then tell how many durable steps there were."""
    from mediavault_backends import fsio

    steps = _Steps(order.stop_at)
    with fsio.observe(steps), socket.create_server(("127.0.0.1", 0)) as listener, _serving(order, listener):
        os.write(answers, listener.getsockname()[1].to_bytes(4, "little"))
        os.read(ends, 1)
    os.write(answers, steps.seen.to_bytes(4, "little"))
