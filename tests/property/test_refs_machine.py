"""Refs under several writers, renewals and lost replies, against a plain dict of histories."""

from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from mediavault.errors import RefMovedError
from mediavault.formats.ref import value_hash
from mediavault.model.ids import Kind, Link
from mediavault.refs.advance import accept_value
from mediavault.refs.blobs import ref_key
from mediavault.refs.observed import Observed, check_observed
from mediavault.refs.ref_store import RefState, RefStore
from mediavault.refs.signing import KeyedSigner
from mediavault_backends.api import Backend, Body, Condition, Matches, Version
from mediavault_backends.errors import NotFoundError, OutcomeUnknownError
from mediavault_backends.memory import MemoryBackend

REPOSITORY = b"r" * 16
NAMES = ["heads/main", "heads/Main", "heads/main/x", "tags/v1"]
TARGETS = st.one_of(st.none(), st.binary(min_size=32, max_size=32).map(lambda oid: Link(Kind.COMMIT, oid)))


class Unreliable(MemoryBackend):
    """Loses replies to puts as it is told: before the put takes effect, or after."""

    def __init__(self) -> None:
        super().__init__()
        self.faults: list[bool | None] = []

    def put(self, key: str, body: Body, *, when: Condition) -> Version:
        fault = self.faults.pop() if self.faults else None
        if fault is False:
            raise OutcomeUnknownError("lost before", key=key)
        version = super().put(key, body, when=when)
        if fault is True:
            raise OutcomeUnknownError("lost after", key=key)
        return version


class RefsMachine(RuleBasedStateMachine):
    """Writers hold states that they read at some time, and move refs from them, directly or through a server."""

    states = Bundle("states")
    signer: ClassVar = KeyedSigner({0: b"k" * 32})

    @initialize()
    def start(self) -> None:
        self.backend = Unreliable()
        self.histories: dict[str, list[bytes]] = {name: [] for name in NAMES}
        self.targets: dict[str, Link | None] = dict.fromkeys(NAMES)
        self.observed: dict[str, Observed | None] = dict.fromkeys(NAMES)

    @rule(target=states, name=st.sampled_from(NAMES))
    def read(self, name: str) -> RefState:
        return self.refs.read(name)

    @rule(target=states, state=states, to=TARGETS, faults=st.lists(st.sampled_from([None, True, False]), max_size=4))
    def move(self, state: RefState, to: Link | None, faults: list[bool | None]) -> RefState:
        self.backend.faults = list(faults)
        try:
            moved = self.refs.move(state, to, 1)
        except RefMovedError:
            assert self.is_outdated(state)
            return state
        finally:
            self.backend.faults = []
        self.note(state, moved.value_bytes, to)
        return moved

    @rule(state=states, to=TARGETS, faults=st.lists(st.sampled_from([None, True, False]), max_size=4))
    def push(self, state: RefState, to: Link | None, faults: list[bool | None]) -> None:
        value = self.refs.next_value(state, to, 2)
        if self.histories[state.name][-1:] == [value]:
            return  # asking again is success, and no move
        expected = value_hash(state.value_bytes) if state.value_bytes else None
        self.backend.faults = list(faults)
        try:
            accept_value(self.backend, REPOSITORY, state.name, value, expected=expected)
        except RefMovedError:
            assert self.is_outdated(state)
        else:
            self.note(state, value, to)
        finally:
            self.backend.faults = []

    @rule(name=st.sampled_from(NAMES), nonce=st.binary(min_size=16, max_size=16))
    def renew(self, name: str, nonce: bytes) -> None:
        try:
            blob = self.backend.get(ref_key(name))
        except NotFoundError:
            return
        self.backend.put(ref_key(name), blob.data[:-16] + nonce, when=Matches(blob.version))

    @invariant()
    def refs_are_what_the_last_move_made_them(self) -> None:
        for name in NAMES:
            state = self.refs.read(name)
            assert state.target == self.targets[name]
            if self.histories[name]:
                assert state.value_bytes == self.histories[name][-1]
            assert len(self.refs.log(name)) >= len(self.histories[name])
            self.observed[name] = check_observed(name, self.observed[name], state.value_bytes or None)

    @property
    def refs(self) -> RefStore:
        backend: Backend = self.backend
        return RefStore(backend, REPOSITORY, self.signer)

    def is_outdated(self, state: RefState) -> bool:
        history = self.histories[state.name]
        return bool(history) and state.value_bytes != history[-1]

    def note(self, state: RefState, value: bytes, to: Link | None) -> None:
        assert not self.is_outdated(state)
        self.histories[state.name].append(value)
        self.targets[state.name] = to


TestRefs = RefsMachine.TestCase
