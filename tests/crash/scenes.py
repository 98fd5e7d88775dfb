"""The verbs that are stopped, each with the state it starts from; what stopping them must leave is for the tests."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from tests.conftest import PASSPHRASE
from tests.crash.facts import Facts
from tests.crash.stem import Order, Outcome, Stem

KIB = 1024


@dataclass(frozen=True)
class Scene:
    """A command and what it works on; all below one folder, `world`.

    Attributes:
        name: of the scene.
        command: the command line; `{url}` and `{world}` are filled in.
        prepare: brings a copy of the first state to where the command begins.
        where: the folder that it runs in, below `world`.
        project: the repository that it changes.
        serves: whether it needs the server.
        done: exit codes, other than 0, with which it may say that all is done already when it is run again, with a
            part of what it says.
        passphrase: whether it must have one.
        whole_tree: whether working files are brought from one whole state to another.
        hosted: the project on the server that it changes.
    """

    name: str
    command: Sequence[str]
    prepare: "Callable[[World], None]"
    where: str = "ann"
    project: str = "ann"
    serves: bool = False
    done: Sequence[tuple[int, str]] = ()
    passphrase: bool = False
    whole_tree: bool = False
    hosted: str = "studio/film"


class World:
    """A user's settings and keys (`home`), projects (`ann`, `bob`) and a server's storage (`srv`) in one folder."""

    def __init__(self, folder: Path, stem: Stem) -> None:
        self.folder = folder
        self.stem = stem
        self.url = f"http://127.0.0.1:{stem.port}/studio/film"

    def copy(self, folder: Path) -> "World":
        """Return a copy at another place."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return World(folder, self.stem)

    @property
    def storage(self) -> Path:
        """Where the server keeps everything."""
        return self.folder / "srv"

    def order(
        self,
        *commands: Sequence[str],
        where: str = "ann",
        serves: bool = False,
        passphrase: bool = False,
        stop_at: int = 0,
        film: bool = False,
        facts: str = "",
        lose: int = 0,
        lose_how: str = "",
        retries: int = 0,
        apart: bool = False,
    ) -> Order:
        """Return an order for command lines here."""
        scratch = self.folder.parent / "scratch"
        scratch.mkdir(exist_ok=True)
        env = {
            "MEDIAGIT_HOME": str(self.folder / "home"),
            "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
            "MEDIAGIT_NETWORK__RETRIES": str(retries),
            "MEDIAGIT_CORE__WORKERS": "2",
            "TMPDIR": str(scratch),
        }
        if passphrase:
            env["MEDIAGIT_PASSPHRASE"] = PASSPHRASE
        return Order(
            commands=[[part.format(url=self.url, world=self.folder) for part in command] for command in commands],
            cwd=str(self.folder / where),
            env=env,
            stop_at=stop_at,
            film=str(self.folder) if film else "",
            storage=str(self.storage) if serves else "",
            lose=lose,
            lose_how=lose_how,
            facts=str(self.folder / facts) if facts else "",
            apart=apart,
        )

    def run(self, *commands: str, where: str = "ann", serves: bool = False, passphrase: bool = False) -> Outcome:
        """Run command lines that must succeed; words are separated by spaces."""
        outcome = self.stem.run(
            self.order(*(line.split(" ") for line in commands), where=where, serves=serves, passphrase=passphrase)
        )
        assert not any(outcome.codes), outcome.errors
        return outcome

    def begin(
        self,
        scene: Scene,
        *,
        stop_at: int = 0,
        film: bool = False,
        lose: int = 0,
        lose_how: str = "",
        retries: int = 0,
        apart: bool = False,
        facts: str = "",
    ) -> Outcome:
        """Run a scene's command."""
        return self.stem.run(
            self.order(
                scene.command,
                where=scene.where,
                serves=scene.serves,
                passphrase=scene.passphrase,
                stop_at=stop_at,
                film=film,
                lose=lose,
                lose_how=lose_how,
                retries=retries,
                apart=apart,
                facts=facts,
            )
        )

    def facts(self, project: str) -> Facts:
        """Describe a project or a storage."""
        found = self.stem.run(self.order(where=".", facts=project)).facts
        assert isinstance(found, Facts)
        return found

    def write(self, path: str, content: bytes | str) -> None:
        """Write a working file."""
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)


def noise(name: str, size: int) -> bytes:
    """Return bytes that do not compress."""
    return blake3(name.encode()).digest(size)


def first_world(folder: Path, stem: Stem) -> World:
    """Make the state that all scenes begin from.

    Ann has two branches, `main` and `grade`, which differ in every way that files can differ. She pushed `main`; then Bob
    cloned it, and pushed a commit on `main` and a branch `shared`.
    """
    world = World(folder, stem)
    for name in ("home", "ann", "srv"):
        (folder / name).mkdir(parents=True)
    world.run("init .", passphrase=True)
    for path, content in _FIRST.items():
        world.write(f"ann/{path}", content)
    (folder / "ann/latest.mov").symlink_to("day 1.mov")
    (folder / "ann/render.sh").chmod(0o755)
    world.run("add .", "commit -m First", "tag first")
    world.run("switch -c grade")
    for path in ("old.txt", "shots/b.txt", "look", "latest.mov"):
        (folder / "ann" / path).unlink()
    world.write("ann/look/warm.cube", "a folder where a file was")
    world.write("ann/day 1.mov", noise("day 1, graded", 300 * KIB))
    world.write("ann/shots/a.txt", "graded")
    world.write("ann/shots/new/c.txt", "new")
    (folder / "ann/latest.mov").symlink_to("shots/a.txt")
    (folder / "ann/render.sh").chmod(0o644)
    world.run("add .", "commit -m Grade", "switch main")
    world.run(f"remote add origin {world.url}")
    world.run("push -u origin main", serves=True)
    world.run(f"clone {world.url} bob", where=".", serves=True, passphrase=True)
    world.write("bob/sound.wav", noise("sound", 200 * KIB))
    world.write("bob/shots/a.txt", "from Bob")
    (folder / "bob/old.txt").unlink()
    world.run("add .", "commit -m Sound", where="bob")
    world.run("switch -c shared", where="bob")
    world.write("bob/shared.txt", "shared")
    world.run("add .", "commit -m Shared", where="bob")
    world.run("tag -m Cut second", where="bob")
    world.run("push origin main shared second", where="bob", serves=True)
    world.write("ann/notes.txt", USER["notes.txt"])
    world.write("ann/keep.txt", USER["keep.txt"])
    world.run("status")
    return world


_FIRST: dict[str, bytes | str] = {
    "day 1.mov": noise("day 1", 300 * KIB),
    "keep.txt": "kept by all",
    "look": "a file where a folder will be",
    "old.txt": "old",
    "render.sh": "#!/bin/sh\n",
    "shots/a.txt": "a",
    "shots/b.txt": "b",
}
USER = {"notes.txt": "never added, and dear to Ann", "keep.txt": "changed, and not added"}
"""What Ann wrote and no commit holds; every scene must leave it."""


def _nothing(_: World) -> None:
    """Begin at the first state."""


def _edited(world: World) -> None:
    world.write("ann/shots/a.txt", "edited")
    world.write("ann/day 1.mov", noise("day 1", 300 * KIB) + b"longer")
    world.write("ann/day 2.mov", noise("day 2", 500 * KIB))
    (world.folder / "ann/old.txt").unlink()


def _added(world: World) -> None:
    _edited(world)
    outcome = world.stem.run(world.order(["add", "shots", "old.txt", "day 1.mov", "day 2.mov"]))
    assert outcome.codes == [0], outcome.errors


def _committed(world: World) -> None:
    _added(world)
    world.run("commit -m Second")


def _detached(world: World) -> None:
    world.run("switch --detach main")
    _added(world)


def _fetched(world: World) -> None:
    world.run("fetch", serves=True)


def _in_new_folder(world: World) -> None:
    world.write("new/notes.txt", USER["notes.txt"])


def _new_remote(world: World) -> None:
    world.run(f"remote add nas {world.url}-2")


def _with_passphrase(world: World) -> None:
    world.write("passphrase", PASSPHRASE)


def _grade_pushed(world: World) -> None:
    world.run("push origin grade", serves=True)


def _grade_followed(world: World) -> None:
    world.run("push -u origin grade", serves=True)


_CLEAN = "nothing new to commit"
SCENES = (
    Scene("init", ["init", "."], _in_new_folder, "new", "new", passphrase=True, done=[(2, "is a repository already")]),
    Scene(
        "init --no-encryption",
        ["init", "--no-encryption", "."],
        _in_new_folder,
        "new",
        "new",
        done=[(2, "is a repository already")],
    ),
    Scene(
        "add",
        ["add", "shots", "old.txt", "day 1.mov", "day 2.mov"],
        _edited,
        done=[(1, "nothing of that name was added before")],
    ),
    Scene("commit", ["commit", "-m", "Second"], _added, done=[(1, _CLEAN)]),
    Scene("commit, detached", ["commit", "-m", "Second"], _detached, done=[(1, _CLEAN)]),
    Scene("commit -a", ["commit", "-am", "Second"], _edited, done=[(1, _CLEAN)]),
    Scene("commit --amend", ["commit", "--amend", "-m", "Better"], _added),
    Scene("switch", ["switch", "grade"], _nothing, whole_tree=True),
    Scene("switch --detach", ["switch", "--detach", "grade"], _nothing, whole_tree=True),
    Scene("switch -c", ["switch", "-c", "new", "grade"], _nothing, whole_tree=True, done=[(2, "a branch new already")]),
    Scene("switch -c, here", ["switch", "-c", "new"], _nothing, done=[(2, "a branch new already")]),
    Scene("switch, a remote's branch", ["switch", "shared"], _fetched, whole_tree=True),
    Scene("restore", ["restore", "--source", "grade", "--", "shots", "day 1.mov", "look"], _nothing, whole_tree=True),
    Scene(
        "restore --staged",
        ["restore", "--staged", "--", "shots", "old.txt", "day 1.mov", "day 2.mov"],
        _added,
        done=[(1, "Nothing called")],
    ),
    Scene("rm", ["rm", "-r", "shots", "old.txt"], _nothing, whole_tree=True, done=[(1, "is not part of the project")]),
    Scene("rm --cached", ["rm", "--cached", "old.txt"], _nothing, done=[(1, "is not part of the project")]),
    Scene("mv", ["mv", "old.txt", "older.txt"], _nothing, whole_tree=True, done=[(1, "is not a file or folder")]),
    Scene("mv, a folder", ["mv", "shots", "plates"], _nothing, whole_tree=True, done=[(1, "is not a file or folder")]),
    Scene(
        "mv, into a folder", ["mv", "old.txt", "day 1.mov", "shots"], _nothing, done=[(1, "is not a file or folder")]
    ),
    Scene("branch", ["branch", "new"], _nothing, done=[(2, "a branch new already")]),
    Scene("branch -d", ["branch", "-D", "grade"], _grade_followed, done=[(1, "There is no branch grade")]),
    Scene("branch -m", ["branch", "-m", "main", "trunk"], _nothing, done=[(1, "There is no branch main")]),
    Scene("tag", ["tag", "-m", "Words", "new"], _nothing, done=[(2, "There is a tag new already")]),
    Scene("tag -d", ["tag", "-d", "first"], _nothing, done=[(1, "There is no tag first")]),
    Scene("remote add", ["remote", "add", "nas", "http://127.0.0.1:1/a/b"], _nothing, done=[(2, "nas")]),
    Scene("remote rename", ["remote", "rename", "origin", "nas"], _fetched, done=[(1, "origin")]),
    Scene("config", ["config", "set", "user.name", "Ann"], _nothing),
    Scene(
        "key add",
        ["key", "add", "--local", "--new-passphrase-file", "{world}/passphrase", "bob"],
        _with_passphrase,
        done=[(2, "There is a key bob")],
    ),
    Scene("gc", ["gc"], _committed),
    Scene("fetch", ["fetch"], _nothing, serves=True),
    Scene("pull", ["pull"], _nothing, serves=True, whole_tree=True),
    Scene("push", ["push", "origin", "grade"], _nothing, serves=True),
    Scene(
        "push -u, a new project",
        ["push", "-u", "--tags", "nas", "main"],
        _new_remote,
        serves=True,
        hosted="studio/film-2",
    ),
    Scene(
        "push --delete",
        ["push", "--delete", "origin", "grade"],
        _grade_pushed,
        serves=True,
        done=[(1, "There is no branch grade")],
    ),
    Scene(
        "clone",
        ["clone", "{url}", "copy"],
        _nothing,
        ".",
        "copy",
        serves=True,
        whole_tree=True,
        done=[(2, "is not empty")],
    ),
)
"""Every verb that changes something."""
