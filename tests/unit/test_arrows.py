"""Arrows of the architecture that import-linter does not draw: the standard library, and who may read the environment."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (ROOT / "mediavault", ROOT / "mediavault_server", ROOT / "backends" / "mediavault_backends")
PURE = ("model", "formats", "chunking", "codecs")
OUTSIDE_WORLD = {"os", "pathlib", "socket", "subprocess", "time", "shutil", "tempfile", "io", "mediavault_backends"}
ROOTS = {
    "mediavault/api.py",
    "mediavault/cli/dispatch.py",
    "mediavault/cli/session.py",
    "mediavault/compose.py",
    "mediavault_server/main.py",
}
"""The composition roots: they alone read the environment and open backends from the registry."""


def _modules() -> Iterator[tuple[str, ast.Module]]:
    for package in PACKAGES:
        for path in sorted(package.rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


MODULES = dict(_modules())


def _imports(tree: ast.Module) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def _reads_environment(tree: ast.Module) -> bool:
    return any(
        isinstance(node, ast.Attribute) and node.attr in {"environ", "environb", "getenv", "putenv"}
        for node in ast.walk(tree)
    ) or bool(_imports(tree) & {"os.environ", "os.getenv"})


@pytest.mark.parametrize("room", PURE)
def test_pure_rooms_take_bytes_and_give_bytes(room: str) -> None:
    inside = {name: tree for name, tree in MODULES.items() if name.startswith(f"mediavault/{room}/")}
    assert inside
    touching = {name: _imports(tree) & OUTSIDE_WORLD for name, tree in inside.items()}
    assert {name: names for name, names in touching.items() if names} == {}


def test_only_the_composition_roots_read_the_environment() -> None:
    assert {name for name, tree in MODULES.items() if _reads_environment(tree)} <= ROOTS


def test_only_the_composition_roots_open_backends_from_the_registry() -> None:
    opening = {
        name
        for name, tree in MODULES.items()
        if any(found.startswith("mediavault_backends.registry") for found in _imports(tree))
    }
    assert opening <= ROOTS


def test_ops_never_print_or_exit() -> None:
    for name, tree in MODULES.items():
        if name.startswith("mediavault/ops/"):
            called = {
                node.func.id
                for node in ast.walk(tree)
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            }
            assert not called & {"print", "input", "exit"}, name
            assert "sys.exit" not in _imports(tree), name


@pytest.mark.parametrize("name", sorted(name for name in MODULES if name.endswith("__init__.py")))
def test_a_package_re_exports_nothing(name: str) -> None:
    assert _imports(MODULES[name]) == set()
    assert len(MODULES[name].body) <= 1
