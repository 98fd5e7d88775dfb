"""config and version, and what a wrong setting does to every verb."""

import json
from pathlib import Path

import pytest

from mediavault.config import known_keys
from tests.film import Film, new_film


@pytest.fixture
def film(tmp_path: Path) -> Film:
    return new_film(tmp_path / "film", "--no-encryption")


def test_values_are_set_shown_and_taken_out(film: Film, own_user: Path) -> None:
    assert film("config", "get", "core.workers").strip() == "0"
    film("config", "set", "core.workers", "2", "--user")
    film("config", "set", "core.workers", "3")
    assert film.json("config", "get", "core.workers") == {
        "key": "core.workers",
        "value": 3,
        "origin": str(film.root / ".mediagit" / "mediagit.toml"),
    }
    film("config", "unset", "core.workers")
    assert film.json("config", "get", "core.workers")["origin"] == str(own_user / "mediagit.toml")
    assert film("config", "list", "--show-origin", env={"MEDIAGIT_CORE__WORKERS": "4"}).split() == [
        "core.workers",
        "=",
        "4",
        "MEDIAGIT_CORE__WORKERS",
    ]


def test_a_new_files_first_setting_may_be_any(film: Film) -> None:
    film("config", "set", "core.pack_size", "8MiB")
    film("config", "set", "core.padding", "false")
    text = (film.root / ".mediagit" / "mediagit.toml").read_text()
    assert 'pack_size = "8MiB"' in text
    assert film.json("config", "get", "core.pack_size")["value"] == 8 << 20
    assert film("config", "get", "core.padding").strip() == "false"


def test_all_settings_are_listed_on_request(film: Film) -> None:
    listed = {entry["key"] for entry in film.json("config", "list", "--all")}
    assert listed == {known.pattern for known in known_keys() if "*" not in known.pattern}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("set", "core.wrokers", "1"), "core.workers"),
        (("set", "core.workers", "many"), "many"),
        (("get", "nonsense"), "Unknown setting"),
        (("unset", "nonsense"), "Unknown setting"),
        (("set", "remote.origin.url", ""), "url"),
    ],
)
def test_what_is_unknown_or_does_not_fit_is_refused(film: Film, arguments: tuple[str, ...], words: str) -> None:
    assert words in film("config", *arguments, exit_code=2)
    assert not (film.root / ".mediagit" / "mediagit.toml").exists()


def test_a_named_setting_that_is_not_set(film: Film) -> None:
    film("config", "get", "remote.origin.url", exit_code=1)


def test_an_unknown_key_stops_every_verb_and_names_the_nearest(film: Film) -> None:
    (film.root / ".mediagit" / "mediagit.toml").write_text("[core]\npack_sise = 1\n")
    for verb in (("status",), ("add", "."), ("config", "list")):
        shown = film(*verb, exit_code=2)
        assert "core.pack_sise" in shown
        assert "core.pack_size" in shown
    (film.root / ".mediagit" / "mediagit.toml").unlink()
    assert "MEDIAGIT_PASSPHRASE" in film("status", exit_code=2, env={"MEDIAGIT_PASSPHRAZE": "x"})


def test_outside_a_repository_the_users_file_is_enough(tmp_path: Path) -> None:
    outside = Film(tmp_path)
    outside("config", "set", "--user", "user.name", "Ada")
    assert outside("config", "get", "user.name").strip() == "Ada"
    outside("config", "set", "user.name", "Ada", exit_code=1)


def test_the_version_tells_the_format_and_the_libraries(tmp_path: Path) -> None:
    shown = Film(tmp_path).json("version")
    assert shown["format"] == 1
    assert set(shown["libraries"]) >= {"blake3", "cryptography", "pyfastcdc", "zstandard"}
    assert shown["version"] in Film(tmp_path)("version")
    assert json.dumps(shown)
