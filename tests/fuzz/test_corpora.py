"""Every kept input, and mutations of good ones: nothing but a refusal, in bounded memory, and canonical bytes stay."""

import gc
import tracemalloc
from contextlib import ExitStack
from hashlib import sha1
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.mutations import mutated
from tests.fuzz.targets import TARGETS, Check, Target, attempt

CORPORA = Path(__file__).parent / "corpora"
"""What reaches all code that fuzzing reached; made anew by `python -m tests.fuzz TARGET --keep`."""
FOUND = Path(__file__).parent / "found"
"""What once broke something."""
FIXED = 2 << 20
A_BYTE = 64
TOTAL = 1 << 20


def kept(name: str) -> list[bytes]:
    return [path.read_bytes() for folder in (CORPORA, FOUND) for path in sorted((folder / name).glob("*"))]


@pytest.fixture(scope="module")
def open_checks() -> Any:
    with ExitStack() as stack:
        checks: dict[str, Check] = {}

        def of(name: str) -> Check:
            if name not in checks:
                checks[name] = stack.enter_context(TARGETS[name].opened())
            return checks[name]

        yield of


def peak_of(target: Target, check: Check, data: bytes) -> int:
    """Return how many bytes Python held for one input at the most."""
    tracemalloc.start()
    try:
        attempt(target, check, data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_good_input_is_accepted(name: str, open_checks: Any) -> None:
    target = TARGETS[name]
    assert all(attempt(target, open_checks(name), seed) for seed in target.seeds[:1])


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_kept_inputs_break_nothing_and_take_little_memory(name: str, open_checks: Any) -> None:
    target, check = TARGETS[name], open_checks(name)
    inputs = [*target.seeds, *kept(name)]
    for data in inputs:
        attempt(target, check, data)  # what is loaded or cached once is none of the input's doing
    gc.collect()
    for data in inputs:
        assert peak_of(target, check, data) <= FIXED + A_BYTE * len(data) + target.memory, data[:200]


@pytest.mark.parametrize("name", sorted(TARGETS))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_mutated_inputs_break_nothing(name: str, data: Any, open_checks: Any) -> None:
    target = TARGETS[name]
    attempt(target, open_checks(name), data.draw(mutated(target.seeds, target.longest)))


def test_the_corpora_are_small_and_named_by_their_content() -> None:
    files = [path for folder in (CORPORA, FOUND) for path in folder.rglob("*") if path.is_file()]
    assert {path.parent.name for path in files} <= set(TARGETS)
    assert sum(path.stat().st_size for path in files) < TOTAL
    for path in files:
        assert path.name == sha1(path.read_bytes()).hexdigest()  # libFuzzer's names
