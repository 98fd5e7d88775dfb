"""Interrupts that come while a lock is taken, while the main thread waits, and anywhere else."""

import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from mediavault.interrupts import orderly_interrupts

interrupt = partial(signal.raise_signal, signal.SIGINT)


@pytest.fixture(autouse=True)
def _as_usual() -> Iterator[None]:
    """Take interrupts as Python does, whatever this process inherited."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, former)


def condition_of(enter: Callable[[], object], leave: Callable[..., object]) -> threading.Condition:
    """Return a condition whose lock does that when it is taken and given back."""
    lock: Any = SimpleNamespace(acquire=enter, release=leave, __enter__=enter, __exit__=leave)
    return threading.Condition(lock)


def test_an_interrupt_comes_at_once() -> None:
    steps = []
    try:
        with orderly_interrupts():
            interrupt()
            steps.append("went on")
    except KeyboardInterrupt:
        steps.append("interrupted")
    assert steps == ["interrupted"]


def test_a_lock_that_is_taken_is_given_back() -> None:
    steps = []
    condition = condition_of(interrupt, lambda *_: steps.append("given back"))
    try:
        with orderly_interrupts(), condition:
            steps.append("taken")
            time.sleep(60)
    except KeyboardInterrupt:
        steps.append("interrupted")
    assert steps == ["taken", "given back", "interrupted"]


def test_an_interrupt_that_was_put_off_comes_once() -> None:
    caught = 0
    with orderly_interrupts():
        for _ in range(2):
            try:
                with condition_of(interrupt, lambda *_: None):
                    interrupt()  # the user presses again
            except KeyboardInterrupt:
                caught += 1
            time.sleep(0.05)
    assert caught == 2


def test_an_interrupt_that_comes_too_late_is_none() -> None:
    with orderly_interrupts():
        condition_of(interrupt, lambda *_: None).__enter__()
    time.sleep(0.05)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize(
    "wait",
    [
        pytest.param(lambda: threading.Event().wait(60), id="event"),
        pytest.param(lambda: threading.Semaphore(0).acquire(timeout=60), id="semaphore"),
        pytest.param(lambda: queue.Queue[int]().get(timeout=60), id="queue"),
        pytest.param(lambda: Future[int]().result(60), id="future"),
        pytest.param(lambda: time.sleep(60), id="sleep"),
    ],
)
def test_who_waits_is_interrupted(wait: Callable[[], object]) -> None:
    main = threading.get_ident()
    user = threading.Timer(0.1, partial(signal.pthread_kill, main, signal.SIGINT))
    user.start()
    with pytest.raises(KeyboardInterrupt), orderly_interrupts():
        wait()
    user.join()


def test_who_never_stays_at_a_step_is_interrupted_too() -> None:
    room: dict[str, Any] = {"__name__": "queue", "interrupt": interrupt}
    exec("def turn(): pass\ndef spin():\n    interrupt()\n    while True:\n        turn(); turn(); turn()", room)
    with pytest.raises(KeyboardInterrupt), orderly_interrupts():
        room["spin"]()


def test_a_command_that_takes_interrupts_its_own_way_is_left_alone() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with orderly_interrupts():
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_other_threads_change_nothing() -> None:
    seen = []

    def work() -> None:
        with orderly_interrupts():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]
