"""`mediagit-server storage copy` and `verify` as they are typed: words, documents, exit codes, SIGKILL, a server that goes on."""

import argparse
import inspect
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from mediavault import errors
from mediavault.cli.exit_codes import exit_code as cli_exit_code
from mediavault.formats.ref import decode_ref_value
from mediavault.hosting.checking import compare_stores, verify_store
from mediavault.hosting.contents import find_repositories
from mediavault.store.keys import PACKS
from mediavault.wire.client import HttpRemote
from mediavault_backends import errors as backend_errors
from mediavault_backends.api import Absent, Backend, Body, Condition, Version
from mediavault_backends.local import LocalBackend
from mediavault_backends.memory import MemoryBackend
from mediavault_server import storage_command, storage_report
from mediavault_server.main import _make_ready, main
from tests.conftest import installed
from tests.integration.conftest import Server, launch
from tests.integration.studio import Studio, noise
from tests.storages import FILM, MARK, PLAIN, Filled, Watched, fill, flip, held, keys, largest, part, prefix_of

Ran = tuple[int, str, str]
Run = Callable[..., Ran]

KILL_AT_STEP = """
import itertools, os, signal, sys
from mediavault_backends import fsio

left, counted = int(sys.argv.pop(1)), sys.argv.pop(1)
numbers = itertools.count(1)

def step(_):
    if next(numbers) == left:
        os.kill(os.getpid(), signal.SIGKILL)

from mediavault_server.main import main
with fsio.observe(step):
    code = main(sys.argv[1:])
open(counted, "w").write(str(next(numbers) - 1))
sys.exit(code)
"""
"""Runs mediagit-server, and kills it before the given durable step; or writes down how many there were."""


@pytest.fixture
def source(tmp_path: Path) -> LocalBackend:
    return LocalBackend(tmp_path / "old", create=True)


@pytest.fixture
def filled(source: LocalBackend, tmp_path: Path) -> Filled:
    return fill(source, tmp_path)


@pytest.fixture
def old(source: LocalBackend, filled: Filled, tmp_path: Path) -> str:
    """Return the address of a folder with two repositories."""
    del source, filled
    return f"file://{tmp_path}/old"


@pytest.fixture
def new(tmp_path: Path) -> str:
    """Return the address of a folder that is not there."""
    return f"file://{tmp_path}/new"


@pytest.fixture
def storage_of(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `mediagit-server storage` in this process; returns its exit code, stdout and stderr."""

    def run(*words: str) -> Ran:
        capsys.readouterr()
        try:
            code = main(["storage", *words])
        except SystemExit as ended:  # argparse
            code = int(ended.code or 0)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def document(ran: Ran) -> Any:
    return json.loads(ran[1])


def sound(store: Backend) -> bool:
    return not [finding for report in verify_store(store) for finding in report.findings]


def same(store: Backend, other: Backend) -> bool:
    return not [finding for report in compare_stores(store, other) for finding in report.findings]


def test_the_installed_command_copies_and_checks(old: str, new: str, tmp_path: Path) -> None:
    command = [installed("mediagit-server"), "storage"]
    for words in (["copy", old, new, "--bandwidth", "1GiB/s"], ["verify", new], ["verify", old, "--against", new]):
        ended = subprocess.run([*command, *words], capture_output=True, text=True, check=False, cwd=tmp_path)
        assert (ended.returncode, ended.stderr) == (0, ""), words
        assert "studio/film: " in ended.stdout
        assert "Studio-B/raw: " in ended.stdout
    assert held(LocalBackend(tmp_path / "new")) == held(LocalBackend(tmp_path / "old"))


def test_what_was_copied_is_summed_up(storage_of: Run, old: str, new: str, source: LocalBackend) -> None:
    code, out, err = storage_of("copy", old, new)
    assert (code, err) == (0, "")
    count = len(held(source))
    assert out.splitlines()[-1].startswith(f"2 repositories: {count} objects (")
    assert f"copied from {old} to {new}, 0 there already." in out
    assert "3 refs moved" in out
    code, out, _ = storage_of("copy", old, new)
    assert code == 0
    assert f"2 repositories: 0 objects (0 B) copied from {old} to {new}, {count} there already." in out
    assert "moved" not in out


def test_documents_tell_the_same(storage_of: Run, old: str, new: str, source: LocalBackend, tmp_path: Path) -> None:
    planned = storage_of("copy", old, new, "--dry-run", "--json")
    assert planned[0] == 0
    assert not (tmp_path / "new").exists()
    told = document(planned)
    assert (told["dry_run"], told["complete"], told["objects"]) == (True, False, len(held(source)))
    told = document(storage_of("copy", old, new, "--json"))
    assert (told["source"], told["destination"]) == (old, new)
    assert (told["complete"], told["objects"], told["there"], told["refs"]) == (True, len(held(source)), 0, 4)
    assert told["bytes"] == sum(map(len, held(source).values()))
    assert [report["name"] for report in told["repositories"]] == [PLAIN, FILM]
    told = document(storage_of("verify", old, "--against", new, "--json"))
    assert (told["ok"], told["store"], told["against"]) == (True, old, new)
    assert [(report["name"], report["compared"]) for report in told["repositories"]] == [
        (PLAIN, False),
        (FILM, False),
        (PLAIN, True),
        (FILM, True),
    ]
    assert told["repositories"][1]["packs"] == len(keys(part(source), PACKS)) == told["repositories"][3]["packs"]


def test_a_dry_run_says_what_it_would_do(storage_of: Run, old: str, new: str, tmp_path: Path) -> None:
    code, out, _ = storage_of("copy", old, new, "--dry-run")
    assert code == 0
    assert "to copy" in out
    assert "3 refs to move" in out
    assert not (tmp_path / "new").exists()


def test_a_flipped_byte_at_the_destination_is_named(storage_of: Run, old: str, new: str, tmp_path: Path) -> None:
    assert storage_of("copy", old, new)[0] == 0
    store = LocalBackend(tmp_path / "new")
    key = largest(store, f"{prefix_of(FILM)}{PACKS}")
    flip(store, key, 999)
    for words in (["verify", new], ["verify", old, "--against", new]):
        code, out, _ = storage_of(*words)
        assert code == 5
        assert key in out
    assert f"different: {key}, at byte 999: " in out
    told = document(storage_of("verify", new, "--json"))
    assert not told["ok"]
    assert {finding["key"] for report in told["repositories"] for finding in report["findings"]} == {key}


def test_what_is_missing_or_extra_exits_1(storage_of: Run, old: str, new: str, tmp_path: Path) -> None:
    storage_of("copy", old, new)
    store = LocalBackend(tmp_path / "new")
    store.delete(f"{prefix_of(FILM)}keys/config")
    code, out, _ = storage_of("verify", old, "--against", new)
    assert code == 1
    assert f"missing: {prefix_of(FILM)}keys/config: " in out
    code, out, _ = storage_of("verify", new, "--against", old)
    assert code == 1
    assert f"extra: {prefix_of(FILM)}keys/config: " in out


def test_a_damaged_source_exits_5_and_says_what_is_not_finished(
    storage_of: Run, old: str, new: str, source: LocalBackend
) -> None:
    key = keys(source, f"{prefix_of(FILM)}{PACKS}")[0]
    flip(source, key)
    code, out, err = storage_of("copy", old, new)
    assert code == 5
    assert f"damaged: {key}: " in err
    assert "studio/film" in out
    assert "NOT FINISHED" in out
    told = document(storage_of("copy", old, new, "--json"))
    assert told["complete"] is False
    assert told["repositories"][1]["damage"]


def test_slots_that_only_the_destination_has_are_warned_of(
    storage_of: Run, old: str, new: str, source: LocalBackend
) -> None:
    storage_of("copy", old, new)
    source.delete(f"{prefix_of(FILM)}keys/config")
    code, _, err = storage_of("copy", old, new)
    assert code == 0
    assert f"warning: only {new} has {prefix_of(FILM)}keys/config" in err


# Which stores


def test_the_configuration_names_a_store(storage_of: Run, old: str, tmp_path: Path) -> None:
    there = tmp_path / "there.toml"
    there.write_text(f'[storage.local]\npath = "{tmp_path}/new"\n')
    here = tmp_path / "here.toml"
    here.write_text(f'[storage.local]\npath = "{tmp_path}/old"\n')
    assert storage_of("copy", "config", f"config:{there}", "--config", str(here))[0] == 0
    assert same(LocalBackend(tmp_path / "old"), LocalBackend(tmp_path / "new"))
    assert storage_of("verify", "config", "--config", str(there), "--against", old)[0] == 0
    code, _, err = storage_of("verify", "config")
    assert code == 2
    assert "names no storage" in err


def test_a_pair_is_filled_on_both_sides(storage_of: Run, old: str, tmp_path: Path) -> None:
    pair = tmp_path / "pair.toml"
    pair.write_text(
        f"""
        [storage]
        backend = "multi"
        [storage.multi]
        primary = "here"
        secondary = "there"
        mode = "mirror"
        journal = "{tmp_path}/journal"
        [storage.multi.here]
        backend = "local"
        path = "{tmp_path}/here"
        [storage.multi.there]
        backend = "local"
        path = "{tmp_path}/there"
        """
    )
    code, out, err = storage_of("copy", old, f"config:{pair}")
    assert code == 0, out + err
    for side in ("here", "there"):
        assert same(LocalBackend(tmp_path / "old"), LocalBackend(tmp_path / side))
    assert storage_of("verify", f"config:{pair}", "--against", old)[0] == 0


def test_addresses_take_what_else_is_known_from_configuration_and_environment(old: str, tmp_path: Path) -> None:
    opened: list[Mapping[str, object]] = []
    asked: list[str] = []
    store = Watched(MemoryBackend(), lambda _, method, key: asked.append(f"{method} {key}"))

    def opener(table: Mapping[str, object], *, create: bool = False) -> Backend:
        opened.append(table)
        return LocalBackend(tmp_path / "old") if table["backend"] == "local" else store if create else MemoryBackend()

    environ = {
        "HOME": str(tmp_path),
        "MEDIAGIT_STORAGE__S3__ENDPOINT": "http://minio:9000",
        "MEDIAGIT_STORAGE__S3__BUCKET": "another",
        "AZURE_STORAGE_ACCOUNT": "studio",
        "AZURE_STORAGE_KEY": "a2V5",
    }
    assert storage_command.run(["copy", old, "s3://bucket/in/it"], environ, opener, _make_ready) == 0
    assert storage_command.run(["verify", old, "--against", "az://box"], environ, opener, _make_ready) == 1
    s3, azure = opened[1]["s3"], opened[3]["azure"]
    assert isinstance(s3, dict)
    assert isinstance(azure, dict)
    assert (s3["bucket"], s3["prefix"], s3["endpoint"]) == ("bucket", "in/it", "http://minio:9000")
    assert (azure["account_name"], azure["account_key"], azure["container"]) == ("studio", "a2V5", "box")
    assert azure["use_managed_identity"] is False
    assert same(LocalBackend(tmp_path / "old"), store)
    assert asked[0].startswith("put -probe/"), "it was asked whether it keeps conditions"
    assert keys(store, "-probe/") == []
    opened.clear()
    assert storage_command.run(["verify", "az://box"], {"HOME": str(tmp_path)}, opener, _make_ready) == 1
    azure = opened[0]["azure"]
    assert isinstance(azure, dict)
    assert azure["use_managed_identity"] is True


class Careless(Watched):
    """A store that ignores conditions."""

    def put(self, key: str, body: Body, *, when: Condition) -> Version:
        del when
        self.inner.delete(key)
        return self.inner.put(key, body, when=Absent())


def test_a_destination_that_ignores_conditions_is_refused(
    old: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    careless = Careless(MemoryBackend(), lambda *_: None)

    def opener(table: Mapping[str, object], *, create: bool = False) -> Backend:
        del create
        return LocalBackend(tmp_path / "old") if table["backend"] == "local" else careless

    assert storage_command.run(["copy", old, "s3://bucket"], {"HOME": str(tmp_path)}, opener, _make_ready) == 2
    assert "keeps conditions" in capsys.readouterr().err
    assert keys(careless, "") == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["copy", "{old}", "{old}"], "The destination is the source, or inside it."),
        (["copy", "{old}", "{old}/deeper"], "The destination is the source, or inside it."),
        (["copy", "s3://bucket/a", "s3://bucket/a/b"], "The destination is the source, or inside it."),
        (["copy", "{old}", "http://127.0.0.1:1/studio/film"], "not the address of a store"),
        (["copy", "{new}", "{old}"], "there is no folder"),
        (["verify", "{new}"], "there is no folder"),
        (["verify", "config:/nowhere.toml"], "There is no file /nowhere.toml"),
        (["copy", "{old}", "{new}", "--bandwidth", "fast"], "Not a size"),
        (["copy", "{old}", "{new}", "--bandwidth", "12"], "less than 1KiB"),
        (["copy", "{old}"], "DST"),
        (["move"], "invalid choice"),
        ([], "VERB"),
    ],
)
def test_wrong_usage_exits_2_and_changes_nothing(
    storage_of: Run, old: str, new: str, tmp_path: Path, *, words: list[str], message: str
) -> None:
    code, out, err = storage_of(*(word.format(old=old, new=new) for word in words))
    assert code == 2
    assert message in err
    assert out == ""
    assert not (tmp_path / "new").exists()


def test_a_folder_inside_a_servers_storage_is_refused(storage_of: Run, old: str, tmp_path: Path) -> None:
    LocalBackend(tmp_path / "new", create=True).put(MARK, b"{}", when=Absent())
    code, _, err = storage_of("copy", old, f"file://{tmp_path}/new/inside")
    assert code == 2
    assert "inside the storage of a server" in err
    assert storage_of("copy", old, f"file://{tmp_path}/new")[0] == 0


def test_an_error_is_a_document_too(storage_of: Run, new: str) -> None:
    ran = storage_of("verify", new, "--json")
    assert ran[0] == 2
    assert document(ran)["error"]["exit_code"] == 2
    assert "there is no folder" in document(ran)["error"]["message"]


def test_an_interruption_exits_130(tmp_path: Path, old: str, capsys: pytest.CaptureFixture[str]) -> None:
    def opener(table: Mapping[str, object], *, create: bool = False) -> Backend:
        del table, create
        raise KeyboardInterrupt

    assert storage_command.run(["verify", old], {"HOME": str(tmp_path)}, opener, _make_ready) == 130
    assert "it continues" in capsys.readouterr().err


def _made(kind: type[Exception]) -> Exception:
    return errors.WouldOverwriteError(["a"]) if kind is errors.WouldOverwriteError else kind("words")


@pytest.mark.parametrize(
    "kind",
    [
        kind
        for module, base in ((errors, errors.MediaVaultError), (backend_errors, backend_errors.BackendError))
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, base)
    ],
)
def test_errors_end_as_they_do_for_mediagit(
    kind: type[Exception], old: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def opener(table: Mapping[str, object], *, create: bool = False) -> Backend:
        del table, create
        raise _made(kind)

    assert storage_command.run(["verify", old], {"HOME": str(tmp_path)}, opener, _make_ready) == cli_exit_code(
        _made(kind)
    )
    assert "error: " in capsys.readouterr().err


# Progress


def test_lines_of_progress_say_how_much_is_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(storage_report, "LINE_EVERY", 0.0)
    lines = storage_report.Lines(sys.stderr)
    lines.start(3 << 20, "bytes", "studio/film (1 of 2)")
    lines.advance(1 << 20)
    lines.advance(1 << 19)
    lines.done()
    assert capsys.readouterr().err == (
        "studio/film (1 of 2): 1.0 MiB of 3.0 MiB\nstudio/film (1 of 2): 1.5 MiB of 3.0 MiB\n"
    )


def test_a_bar_is_drawn_and_taken_away(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    bar = storage_report.Bar()
    bar.start(1000, "bytes", "studio/film (1 of 2)")
    bar.advance(500)
    bar.done()
    bar.done()
    bar.advance(1)
    assert "studio/film (1 of 2)" in capsys.readouterr().err


def test_sizes_are_told_in_the_largest_unit() -> None:
    assert [storage_report.byte_size(size) for size in (0, 1023, 1024, 1536, 5 << 30, 7 << 50)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "1.5 KiB",
        "5.0 GiB",
        "7168.0 TiB",
    ]


def test_help_names_addresses_and_examples(storage_of: Run) -> None:
    for verb in ("copy", "verify"):
        code, out, _ = storage_of(verb, "--help")
        assert code == 0
        assert "file:///FOLDER" in out
        assert out.count(f"mediagit-server storage {verb} ") >= 2
    parser = storage_command._parser()
    assert isinstance(parser, argparse.ArgumentParser)


# SIGKILL, and a server that goes on


def test_killed_at_any_step_it_leaves_what_is_whole_and_goes_on(old: str, source: LocalBackend, tmp_path: Path) -> None:
    counted = tmp_path / "counted"

    def copy(left: int, target: Path) -> int:
        command = [
            sys.executable,
            "-c",
            KILL_AT_STEP,
            str(left),
            str(counted),
            "storage",
            "copy",
            old,
            f"file://{target}",
        ]
        return subprocess.run(command, capture_output=True, check=False, cwd=tmp_path).returncode

    assert copy(0, tmp_path / "whole") == 0
    steps = int(counted.read_text())
    assert steps > 3 * len(held(source))
    for number in range(8):
        target = tmp_path / f"killed-{number}"
        # Of a run of several threads one step fewer or more may be taken: the last ones are left out.
        assert copy(2 + number * (steps - 4) // 8, target) == -signal.SIGKILL
        store = LocalBackend(target)
        if find_repositories(store):
            assert sound(store)
        assert copy(0, target) == 0
        assert same(source, store)
        assert not [path for path in (target / ".tmp" / "spool").glob("copy-*") if path.stat().st_size]


def test_pushes_go_on_while_a_store_is_copied(
    start_server: Callable[..., Server],
    connect: Callable[..., HttpRemote],
    *,
    storage: Path,
    storage_of: Run,
    tmp_path: Path,
    new: str,
) -> None:
    remote = connect(start_server().url)
    ann = Studio(tmp_path / "ann")
    tip = ann.commit({"a.mov": noise(300_000, 0)})
    ann.push(remote, tip)
    failures: list[BaseException] = []

    def push_on() -> None:
        last = tip
        try:
            for number in range(1, 13):
                last = ann.commit({"a.mov": noise(300_000, number)}, [last.id])
                ann.push(remote, last, pack_size=100_000)
        except BaseException as error:  # noqa: BLE001 -- shown by the test
            failures.append(error)

    pusher = threading.Thread(target=push_on)
    pusher.start()
    rounds = 0
    while pusher.is_alive() or not rounds:
        rounds += 1
        code, out, err = storage_of("copy", f"file://{storage}", new)
        assert code == 0, out + err
        assert sound(LocalBackend(tmp_path / "new"))
        clone(tmp_path / "new", tmp_path / f"clone-{rounds}", connect)
    pusher.join()
    assert not failures
    assert storage_of("copy", f"file://{storage}", new)[0] == 0
    assert clone(tmp_path / "new", tmp_path / "last", connect) == {"a.mov": noise(300_000, 12)}
    assert storage_of("verify", f"file://{storage}", "--against", new)[0] == 0


def clone(storage: Path, folder: Path, connect: Callable[..., HttpRemote]) -> dict[str, bytes]:
    """Serve a copy, and return what its main branch holds for who clones it."""
    folder.mkdir()
    server = launch(storage, folder / "server.log", "--no-auth")
    try:
        remote = connect(server.url)
        studio = Studio(folder / "studio")
        studio.fetch(remote)
        target = decode_ref_value(remote.refs()["heads/main"].value_bytes).target
        assert target is not None
        return studio.files(target.id)
    finally:
        assert server.stop() == 0
