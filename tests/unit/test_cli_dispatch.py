"""The command line before and around a verb: global flags, help, mistakes, errors as words."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mediavault.cli.dispatch import GROUPS, VERBS, load, overview, run
from tests.conftest import installed

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True)
def stay(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_overview_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {verb} " in shown for verb in VERBS)
    assert run(["--help"]) == 0
    assert capsys.readouterr().out == shown == overview()


def test_every_verb_has_a_module_help_and_the_shared_flags() -> None:
    for verb in VERBS:
        command = load(verb)
        assert command.help, verb
        leaves = list(getattr(command, "commands", {}).values()) or [command]
        for leaf in [*leaves, command]:
            flags = {option for parameter in leaf.params for option in parameter.opts}
            assert {"--json", "--quiet", "--no-color"} <= flags, f"{verb} {leaf.name}"
            assert leaf.help, f"{verb} {leaf.name}"


def test_every_module_of_a_verb_is_in_the_table() -> None:
    folder = Path(load.__code__.co_filename).parent / "commands"
    assert {file.stem for file in folder.glob("*.py")} - {"__init__"} == set(VERBS)
    assert len(VERBS) == sum(len(group) for group in GROUPS.values())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["comit"], "Did you mean `mediagit commit`?"),
        (["qqqqq"], "`mediagit --help` lists the verbs."),
        (["--nonsense", "status"], "-C DIR, --debug"),
        (["-C"], "-C DIR, --debug"),
        (["-C", "nowhere", "status"], "Cannot work in nowhere"),
        (["status", "--nonsense"], "`mediagit status --help`"),
        (["log", "-n", "many"], "`mediagit log --help`"),
        (["clone"], "`mediagit clone --help`"),
        (["remote", "explode"], "`mediagit remote --help`"),
    ],
)
def test_wrong_usage_exits_2_and_says_what_to_type(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    shown = capsys.readouterr()
    assert not shown.out
    assert words in shown.err
    assert "Traceback" not in shown.err


def test_help_of_a_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["add", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "Usage: mediagit add" in shown
    assert run(["help", "add"]) == 0
    assert capsys.readouterr().out == shown


def test_an_error_says_what_happened_and_what_to_type(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status"]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("error: There is no repository")
    assert "mediagit init" in shown


def test_an_error_under_json_is_a_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", "--json"]) == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["exit_code"] == 1
    assert error["message"]
    assert error["hint"]


def test_several_folders_add_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert run(["-C", "a", "-C", "b", "init", "--no-encryption", "c"]) == 0
    assert (tmp_path / "a" / "b" / "c" / ".mediagit" / "HEAD").exists()
    capsys.readouterr()


def test_a_defect_is_an_error_without_traceback_unless_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def explode(_verb: str) -> None:
        raise ZeroDivisionError("of the mind")

    monkeypatch.setattr("mediavault.cli.dispatch.load", explode)
    assert run(["status"]) == 1
    shown = capsys.readouterr().err
    assert "This should not have happened" in shown
    assert "Traceback" not in shown
    assert run(["--debug", "status"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_an_interrupt_exits_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(_verb: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mediavault.cli.dispatch.load", interrupt)
    assert run(["status"]) == 130
    assert "Run the same command again" in capsys.readouterr().err


def test_a_reader_that_hangs_up_is_no_traceback() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [installed("mediagit"), "version"], stdout=write, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(write)
    assert done.returncode == 1
    assert not done.stderr


def test_flags_after_the_verb_work_in_groups_too(mediagit: Run, tmp_path: Path) -> None:
    mediagit("init", "--no-encryption", ".")
    assert json.loads(mediagit("remote", "--json").stdout) == []
    assert json.loads(mediagit("remote", "list", "--json").stdout) == []
    assert json.loads(mediagit("config", "list", "--json").stdout) == []
    assert not mediagit("remote", "add", "origin", "http://h/a/b", "-q").stdout
    assert (tmp_path / ".mediagit" / "mediagit.toml").exists()
