"""Any sequence of verbs with `gc --now` between them: all that something leads to always reads, byte for byte."""

import random
import shutil
import tempfile
from pathlib import Path
from unittest import mock

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from mediavault.store.index import ObjectIndex
from mediavault_backends.local import LocalBackend
from tests.film import new_film

Tree = dict[str, bytes]

PATHS = ["a.mov", "b.mov", "shots/c.exr", "shots/d.exr"]
BRANCHES = ["main", "grade", "sound"]
LENGTHS = [0, 40, 9_000, 300_000]
"""Empty, a chunk that shares a pack with others, and enough for a manifest of several chunks."""


class GcMachine(RuleBasedStateMachine):
    """A project and what its branches, its tag and its stage hold."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="mediagit-gc-"))
        self.home = mock.patch.dict("os.environ", {"MEDIAGIT_HOME": str(self.folder / "home")})
        self.home.start()
        self.film = new_film(self.folder / "film", "--no-encryption")
        self.film("config", "set", "core.pack_size", "1MiB")
        self.branch = "main"
        self.staged: Tree = {}
        self.commits: dict[str, Tree] = {}
        self.heads: dict[str, str] = {}
        self.write("a.mov", 1, 300_000)
        self.commit(amend=False)

    def teardown(self) -> None:
        if hasattr(self, "home"):
            self.home.stop()
            shutil.rmtree(self.folder)

    @rule(path=st.sampled_from(PATHS), seed=st.integers(0, 3), length=st.sampled_from(LENGTHS))
    def write(self, path: str, seed: int, length: int) -> None:
        """Few seeds, so that what was forgotten comes back."""
        self.staged[path] = random.Random(seed).randbytes(length)
        self.film.write(path, self.staged[path])
        self.film("add", path)

    @rule(path=st.sampled_from(PATHS))
    def remove(self, path: str) -> None:
        if path in self.staged:
            self.film("rm", "-f", path)
            del self.staged[path]

    @rule(amend=st.booleans())
    def commit(self, *, amend: bool) -> None:
        head = self.heads.get(self.branch)
        flags = ["--amend"] if amend and head else []
        new = self.film.json("commit", "--allow-empty", "-m", f"State {len(self.commits)}", *flags)["id"]
        self.commits[new] = dict(self.staged)
        self.heads[self.branch] = new

    @rule(name=st.sampled_from(BRANCHES))
    def switch(self, name: str) -> None:
        if self.staged != self.commits[self.heads[self.branch]] or name == self.branch:
            return
        self.film("switch", *([] if name in self.heads else ["-c"]), name)
        self.heads.setdefault(name, self.heads[self.branch])
        self.branch = name
        self.staged = dict(self.commits[self.heads[name]])

    @rule(name=st.sampled_from(BRANCHES))
    def forget(self, name: str) -> None:
        if name in self.heads and name != self.branch:
            self.film("branch", "-D", name)
            del self.heads[name]

    @rule(back=st.booleans())
    def rewind(self, *, back: bool) -> None:
        """Let another branch stand where this one does, or this one's parent did."""
        parents = self.film.json("show")["parents"] if back else []
        target = parents[0] if parents else self.heads[self.branch]
        if self.branch != "sound" and target in self.commits:
            self.film("branch", "--force", "sound", target)
            self.heads["sound"] = target

    @rule(immediately=st.booleans())
    def gc(self, *, immediately: bool) -> None:
        self.film("gc", *(["--now"] if immediately else []))

    @rule()
    def keep_little_and_compact(self) -> None:
        self.film("gc", "--keep-days", "0")
        ObjectIndex(LocalBackend(self.film.root / ".mediagit/store")).compact(keep=1)

    @invariant()
    def everything_that_something_leads_to_reads(self) -> None:
        if not self.heads:
            return
        assert self.film.json("verify")["ok"]
        for commit in set(self.heads.values()):
            listed = {file["path"] for file in self.film.json("ls", commit)["files"]}
            assert listed == set(self.commits[commit])
            if self.commits[commit]:
                self.film("restore", "--source", commit, *self.commits[commit])
            for path, content in self.commits[commit].items():
                assert (self.film.root / path).read_bytes() == content
        for path in PATHS:
            (self.film.root / path).unlink(missing_ok=True)
        if self.staged:
            self.film("restore", ".")
        for path, content in self.staged.items():
            assert (self.film.root / path).read_bytes() == content


GcMachine.TestCase.settings = settings(max_examples=20, stateful_step_count=20)
TestGc = GcMachine.TestCase
