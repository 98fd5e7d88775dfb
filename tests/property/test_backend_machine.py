"""Backends against a dict: whatever is called in whatever order, both say the same."""

import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mediavault_backends.api import Absent, Backend, FileSource, Matches, Version
from mediavault_backends.errors import NotFoundError, PreconditionFailedError
from mediavault_backends.local import LocalBackend
from mediavault_backends.memory import MemoryBackend
from mediavault_backends.prefix import prefixed

KEYS = st.sampled_from(["a", "a-b", "a.b/c", "b/c", "b/d", "refs/x%2Fy", "refs/x", "B"])
PREFIXES = st.sampled_from(["", "a", "b", "b/", "refs/x", "refs/x%2F", "zz"])
BODIES = st.one_of(
    st.binary(max_size=8),
    # On both sides of where the local store's versions stop being hashes.
    st.builds(lambda size, fill: bytes([fill]) * size, st.integers(65_530, 65_545), st.integers(0, 3)),
)


class BackendMachine(RuleBasedStateMachine):
    """Puts, reads and deletes on a backend, mirrored in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.backend = self.make(Path(self.folder.name))
        self.model: dict[str, tuple[bytes, Version]] = {}
        self.outdated: dict[str, Version] = {}

    def make(self, folder: Path) -> Backend:
        raise NotImplementedError

    def teardown(self) -> None:
        self.folder.cleanup()

    @rule(key=KEYS, body=BODIES, adopted=st.booleans())
    def create(self, key: str, body: bytes, adopted: bool) -> None:
        path = Path(self.folder.name, "body")
        if adopted:
            path.write_bytes(body)
        try:
            version = self.backend.put(key, FileSource(path, len(body), adopt=True) if adopted else body, when=Absent())
        except PreconditionFailedError:
            assert key in self.model
        else:
            assert key not in self.model
            assert not (adopted and path.exists())
            self.model[key] = (body, version)

    @precondition(lambda self: self.model)
    @rule(data=st.data(), body=BODIES)
    def replace(self, data: st.DataObject, body: bytes) -> None:
        key = data.draw(st.sampled_from(sorted(self.model)))
        old_body, old_version = self.model[key]
        version = self.backend.put(key, body, when=Matches(old_version))
        if body != old_body:
            assert version != old_version
            self.outdated[key] = old_version
        self.model[key] = (body, version)

    @precondition(lambda self: self.outdated)
    @rule(data=st.data())
    def replace_what_has_changed(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.outdated)))
        current = self.model.get(key)
        if current is not None and current[1] == self.outdated[key]:
            return  # the same content again: a hash as version is the same again, too
        try:
            self.backend.put(key, b"never", when=Matches(self.outdated[key]))
        except PreconditionFailedError:
            return
        raise AssertionError("an outdated version was taken for the present one")

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        self.backend.delete(key)
        self.model.pop(key, None)

    @rule(key=KEYS, start=st.integers(0, 12), length=st.integers(0, 12))
    def read(self, key: str, start: int, length: int) -> None:
        try:
            part = self.backend.read(key, start, length)
            stream = b"".join(self.backend.stream(key, start=start, length=length))
            blob, stat = self.backend.get(key), self.backend.stat(key)
        except NotFoundError:
            assert key not in self.model
            return
        body, version = self.model[key]
        assert part == stream == body[start : start + length]
        assert (blob.data, blob.version, stat.version, stat.size) == (body, version, version, len(body))

    @rule(prefix=PREFIXES)
    def scan(self, prefix: str) -> None:
        found = [(stat.key, stat.size, stat.version) for stat in self.backend.scan(prefix)]
        assert found == [(k, len(b), v) for k, (b, v) in sorted(self.model.items()) if k.startswith(prefix)]

    @invariant()
    def the_keys_are_the_same(self) -> None:
        assert [stat.key for stat in self.backend.scan()] == sorted(self.model)


class LocalMachine(BackendMachine):
    """A folder."""

    def make(self, folder: Path) -> Backend:
        return LocalBackend(folder / "store", create=True)


class MemoryMachine(BackendMachine):
    """A dict behind the protocol."""

    def make(self, folder: Path) -> Backend:
        del folder
        return MemoryBackend()


class PrefixMachine(BackendMachine):
    """A part of a folder."""

    def make(self, folder: Path) -> Backend:
        return prefixed(LocalBackend(folder / "store", create=True), "team/project/")


for machine, examples in ((LocalMachine, 25), (MemoryMachine, 60), (PrefixMachine, 10)):
    machine.TestCase.settings = settings(max_examples=examples, stateful_step_count=25, deadline=None)

TestLocal = LocalMachine.TestCase
TestMemory = MemoryMachine.TestCase
TestPrefix = PrefixMachine.TestCase
