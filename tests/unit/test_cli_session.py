"""Who commits and when, from settings or from the system: always an answer."""

import os
import pwd
from datetime import datetime

import pytest

from mediavault import compose
from mediavault.config import Settings, User


def test_the_author_is_the_configured_one() -> None:
    person = compose.author(Settings(user=User(name=" Ada\nLovelace\x00 ", email="ada@example.org")))
    assert (person.name, person.email) == ("AdaLovelace", "ada@example.org")


def test_without_settings_it_is_the_systems_user() -> None:
    person = compose.author(Settings())
    assert person.name
    assert person.email.startswith(pwd.getpwuid(os.getuid()).pw_name + "@")


def test_a_user_whom_the_system_does_not_know_can_commit_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(_: int) -> None:
        raise KeyError

    monkeypatch.setattr("pwd.getpwuid", nobody)
    person = compose.author(Settings(user=User(name="\x07\x07")))
    assert person.name == f"user{os.getuid()}"
    assert "@" in person.email


def test_a_very_long_name_is_cut_at_a_whole_letter() -> None:
    person = compose.author(Settings(user=User(name="ü" * 3000)))
    assert set(person.name) == {"ü"}
    assert len(person.name.encode()) <= 1000


def test_the_time_has_this_computers_zone() -> None:
    now = compose.now()
    assert abs(now.seconds - datetime.now().astimezone().timestamp()) < 60
    offset = datetime.now().astimezone().utcoffset()
    assert offset is not None
    assert now.offset == offset.total_seconds() // 60
    assert compose.utc_text(now).endswith("Z")
