"""Commits by short names, for tests of history that need no store."""

from mediavault.history.walk import walk
from mediavault.model.ids import ObjectId
from mediavault.model.objects import Commit, Moment, Person

PERSON = Person("a", "a@example.org")


class History:
    """Commits by small ids; counts what is read."""

    def __init__(self) -> None:
        self.commits: dict[ObjectId, Commit] = {}
        self.read: list[str] = []

    def add(self, name: str, *parents: str, seconds: int = 0, generation: int = 0) -> ObjectId:
        ids = tuple(self.id(parent) for parent in parents)
        number = generation or 1 + max((self.commits[parent].generation for parent in ids), default=0)
        when = Moment(seconds, 0)
        oid = self.id(name)
        self.commits[oid] = Commit(b"t" * 32, ids, PERSON, when, PERSON, when, number, name)
        return oid

    def id(self, name: str) -> ObjectId:
        return name.encode().ljust(32, b"\0")

    def commit(self, oid: ObjectId) -> Commit:
        self.read.append(self.name(oid))
        return self.commits[oid]

    def name(self, oid: ObjectId) -> str:
        return oid.rstrip(b"\0").decode()

    def walked(self, *starts: str, without: tuple[str, ...] = ()) -> str:
        found = walk(self, [self.id(name) for name in starts], without=[self.id(name) for name in without])
        return " ".join(self.name(oid) for oid, _ in found)
