"""The distribution holds what it should, and its locked dependencies are complete and name no index."""

import email
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def _locked(name: str) -> dict[str, set[str]]:
    """Return {distribution: {versions}} of a requirements file, checking every line of it."""
    versions: dict[str, set[str]] = {}
    text = (ROOT / "requirements" / f"{name}.txt").read_text().replace("\\\n", " ")
    for line in text.splitlines():
        match = re.fullmatch(r"([a-z0-9-]+)==([0-9a-z.]+)( ; [^#@]+?)?(\s+--hash=sha256:[0-9a-f]{64})+\s*", line)
        assert match, f"requirements/{name}.txt: {line[:80]}"
        versions.setdefault(match[1], set()).add(match[2])
    return versions


def _wanted(requirements: list[str]) -> set[str]:
    names = {re.split(r"[\[<>=]", requirement)[0].lower().replace("_", "-") for requirement in requirements}
    return names - {"mediavault"}


def test_locked_requirements_are_pinned_hashed_and_complete() -> None:
    run, dev, build = _locked("run"), _locked("dev"), _locked("build")
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = _wanted(PROJECT["project"]["dependencies"] + extras["server"])
    assert wanted <= set(run)
    assert wanted | _wanted(extras["dev"] + extras["media"] + PROJECT["build-system"]["requires"]) <= set(dev)
    assert _wanted(PROJECT["build-system"]["requires"]) <= set(build)
    for smaller in (run, build):
        assert {name: dev.get(name) for name in smaller} == smaller


@pytest.mark.parametrize("name", ["run", "dev", "build"])
def test_locked_requirements_name_no_place_to_get_them(name: str) -> None:
    assert not re.search(r"https?:|index|find-links|@", (ROOT / "requirements" / f"{name}.txt").read_text())


def test_the_wheel_holds_three_packages_and_two_commands(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = email.message_from_bytes(archive.read(next(name for name in names if name.endswith("/METADATA"))))
        commands = archive.read(next(name for name in names if name.endswith("/entry_points.txt"))).decode()
    tops = {name.split("/")[0] for name in names}
    assert tops == {
        "mediavault",
        "mediavault_server",
        "mediavault_backends",
        f"mediavault-{PROJECT['project']['version']}.dist-info",
    }
    assert {"mediagit", "mediagit-server"} <= {line.split(" = ")[0] for line in commands.splitlines()}
    assert {"mediavault/py.typed", "mediavault_server/py.typed", "mediavault_backends/py.typed"} <= set(names)
    assert set(metadata.get_all("Provides-Extra", [])) >= {"server", "s3", "azure", "gcs", "otel", "dev", "all"}


def test_the_command_knows_its_version_without_looking_it_up() -> None:
    from mediavault.cli.main import VERSION

    assert PROJECT["project"]["version"] == VERSION
