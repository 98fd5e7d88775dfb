"""The tiny repositories, made once; tests that break something take a copy."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from argon2 import low_level

from mediavault.keys import passphrase as stretching
from tests.hostile.tiny import KINDS, Tiny, make_tiny


@pytest.fixture(scope="session")
def both_tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tiny]:
    """Make both repositories. Shared: copy one before changing it."""
    return {kind: make_tiny(tmp_path_factory.mktemp(kind), encrypted=kind == "encrypted") for kind in KINDS}


@pytest.fixture(params=KINDS)
def tiny(request: pytest.FixtureRequest, both_tiny: dict[str, Tiny], tmp_path: Path) -> Iterator[Tiny]:
    """Give a copy of one repository, and be its user."""
    copy = both_tiny[request.param].copy(tmp_path)
    with copy.user():
        yield copy


@pytest.fixture
def sealed(both_tiny: dict[str, Tiny], tmp_path: Path) -> Iterator[Tiny]:
    """Give a copy of the encrypted one, and be its user."""
    copy = both_tiny["encrypted"].copy(tmp_path)
    with copy.user():
        yield copy


@pytest.fixture
def remembered_argon2(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run Argon2id once for each passphrase, salt and cost: it takes the longer part of a second."""
    known: dict[object, bytes] = {}
    real = low_level.hash_secret_raw

    def remember(*arguments: Any, **options: Any) -> bytes:
        key = (arguments, tuple(sorted(options.items())))
        if key not in known:
            known[key] = real(*arguments, **options)
        return known[key]

    monkeypatch.setattr(stretching, "hash_secret_raw", remember)
