from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from mediavault.errors import NotFoundError, UsageError
from mediavault.history.resolve import Resolver
from mediavault.model.ids import Kind, Link, ObjectId
from mediavault.model.objects import Moment, Tag
from tests.checkouts import PERSON, Project


class Ref(NamedTuple):
    name: str
    target: Link | None


class Refs:
    def __init__(self, targets: dict[str, Link | None]) -> None:
        self._targets = targets

    def list(self, prefix: str = "") -> list[Ref]:
        return [Ref(name, target) for name, target in self._targets.items() if name.startswith(prefix)]


class Made(NamedTuple):
    resolver: Resolver
    commits: list[ObjectId]
    side: ObjectId
    merge: ObjectId
    tag: ObjectId


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with Project(tmp_path) as made:
        yield made


@pytest.fixture
def made(project: Project) -> Made:
    tree = project.tree({})
    commits = [project.commit(tree)]
    commits += [project.commit(tree, commits[-1], message=str(number)) for number in range(1)]
    for number in range(3):
        commits.append(project.commit(tree, commits[-1], message=f"more {number}"))
    side = project.commit(tree, commits[0], message="side")
    merge = project.commit(tree, commits[-1], side, message="merge")
    with project.writer() as writer:
        tag = project.nodes(writer).tag(Tag(Link(Kind.COMMIT, side), "v1", PERSON, Moment(0, 0), "one"))
    refs = Refs(
        {
            "heads/main": Link(Kind.COMMIT, merge),
            "heads/grade/final": Link(Kind.COMMIT, commits[1]),
            "heads/both": Link(Kind.COMMIT, commits[1]),
            "tags/both": Link(Kind.COMMIT, commits[2]),
            "tags/v1": Link(Kind.TAG, tag),
            "remotes/origin/main": Link(Kind.COMMIT, commits[-1]),
            "heads/gone": None,
        }
    )
    return Made(Resolver(project.reader, refs, merge), commits, side, merge, tag)


def test_names(made: Made) -> None:
    resolve = made.resolver.resolve
    assert resolve("HEAD").commit == resolve("@").commit == made.merge
    assert resolve("main").ref == "heads/main"
    assert resolve("heads/main").commit == made.merge
    assert resolve("grade/final").commit == made.commits[1]
    assert resolve("origin/main").ref == "remotes/origin/main"
    assert resolve("both").ref == "tags/both"
    assert resolve("heads/both").commit == made.commits[1]


def test_an_annotated_tag_leads_to_its_commit(made: Made) -> None:
    found = made.resolver.resolve("v1")
    assert (found.commit, found.ref, found.tag) == (made.side, "tags/v1", made.tag)


def test_steps(made: Made) -> None:
    resolve = made.resolver.resolve
    assert resolve("main~").commit == made.commits[-1]
    assert resolve("main~2").commit == made.commits[-2]
    assert resolve("main^2").commit == made.side
    assert resolve("main^2~1").commit == made.commits[0]
    assert resolve("main^0").commit == made.merge
    assert resolve("HEAD~~^").commit == made.commits[-3]
    assert resolve("main~0").ref == ""


def test_id_prefixes(made: Made) -> None:
    text = made.commits[1].hex()
    assert made.resolver.resolve(text).commit == made.commits[1]
    assert made.resolver.resolve(text[:12]).commit == made.commits[1]
    assert made.resolver.resolve(text[:12] + "~1").commit == made.commits[0]


def test_a_prefix_that_several_have_is_refused(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mediavault.history.resolve.MIN_PREFIX", 0)
    monkeypatch.setattr("mediavault.history.resolve._HEX", __import__("re").compile(".*"))
    monkeypatch.setattr(type(made.resolver), "_nearest", lambda *_: "")
    with pytest.raises(UsageError, match="Several commits"):
        made.resolver._by_prefix("")


@pytest.mark.parametrize(
    ("revision", "hint"),
    [("mian", "main"), ("origin/mian", "origin/main"), ("zzzzzz", "mediagit branch"), ("gone", "mediagit branch")],
)
def test_unknown_names_tell_the_nearest(made: Made, revision: str, hint: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        made.resolver.resolve(revision)
    assert hint in caught.value.hint


@pytest.mark.parametrize("revision", ["main~99", "main^3", "main~99999999999999999999", "0000000000", "abc"])
def test_what_is_not_there_is_not_found(made: Made, revision: str) -> None:
    with pytest.raises(NotFoundError):
        made.resolver.resolve(revision)


@pytest.mark.parametrize("revision", ["", "~1", "^", "main~x"])
def test_what_is_no_revision_is_wrong_usage(made: Made, revision: str) -> None:
    with pytest.raises(UsageError):
        made.resolver.resolve(revision)


def test_head_without_a_commit(project: Project) -> None:
    with pytest.raises(NotFoundError, match="no commit yet"):
        Resolver(project.reader, Refs({}), None).resolve("HEAD")


def test_a_tag_of_a_tree_names_no_commit(project: Project) -> None:
    refs = Refs({"tags/t": Link(Kind.TREE, project.tree({}))})
    with pytest.raises(NotFoundError, match="no commit"):
        Resolver(project.reader, refs, None).resolve("t")
