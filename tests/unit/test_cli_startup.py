"""What a command imports before it works: start-up counts, so each verb loads only what it needs."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from mediavault.cli.dispatch import VERBS
from mediavault.cli.main import VERSION

HEAVY = ("cryptography", "zstandard", "pyfastcdc", "argon2", "keyring", "urllib3", "rich", "starlette", "pydantic")


def modules_of(code: str, cwd: Path) -> set[str]:
    """Run code in a fresh interpreter and return the names of all modules it has loaded by then."""
    script = f"import sys\n{code}\nprint('MODULES', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=cwd, text=True, capture_output=True, check=True)
    return set(done.stdout.rpartition("MODULES ")[2].split())


def verb(*arguments: str) -> str:
    return f"from mediavault.cli.dispatch import run\nassert run({list(arguments)!r}) == 0"


def heavy_in(modules: set[str]) -> set[str]:
    return {name for name in HEAVY if name in modules}


def test_the_version_is_the_installed_one_and_imports_nothing(tmp_path: Path) -> None:
    assert metadata.version("mediavault") == VERSION
    code = "sys.argv = ['mediagit', '--version']\nfrom mediavault.cli.main import main\nmain()"
    loaded = modules_of(code, tmp_path) - modules_of("pass", tmp_path)
    assert loaded == {"mediavault", "mediavault.cli", "mediavault.cli.main"}


def test_the_overview_needs_no_typer(tmp_path: Path) -> None:
    modules = modules_of(verb(), tmp_path)
    assert "typer" not in modules
    assert not heavy_in(modules)


@pytest.mark.parametrize("name", sorted(VERBS))
def test_loading_a_verb_loads_no_other(name: str, tmp_path: Path) -> None:
    modules = modules_of(f"from mediavault.cli.dispatch import load\nload({name!r})", tmp_path)
    commands = {module.rpartition(".")[2] for module in modules if module.startswith("mediavault.cli.commands.")}
    shared = {"pull": {"fetch"}, "clone": {"fetch"}, "show": {"log", "diff"}}.get(name, set())
    assert name in commands
    assert commands <= {name} | shared
    assert "rich" not in modules
    assert "pydantic" not in modules
    assert "keyring" not in modules


@pytest.mark.parametrize("name", ["status", "config", "remote", "version", "switch", "branch"])
def test_light_verbs_load_no_heavy_library(name: str, tmp_path: Path) -> None:
    assert not heavy_in(modules_of(f"from mediavault.cli.dispatch import load\nload({name!r})", tmp_path))


def test_the_status_of_a_clean_repository_loads_no_cryptography(tmp_path: Path) -> None:
    made = f"{verb('init', '--no-encryption', '.')}\n{verb('commit', '--allow-empty', '-m', 'x')}"
    modules_of(made, tmp_path)
    assert not heavy_in(modules_of(verb("status"), tmp_path))
