import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediavault.errors import IntegrityError
from mediavault.store.ancestry import commits_between, is_ancestor, peel
from mediavault.store.frames import FrameStore
from mediavault_backends.fault import FaultBackend
from mediavault_backends.memory import MemoryBackend
from tests.stored import Stored, append_all, commit, open_store, tag, tree

ROOT = tree()


def store_of(folder: Path, *objects: Stored) -> FrameStore:
    store = open_store(MemoryBackend())
    with store.writer(folder, plain=True) as writer:
        append_all(writer, [ROOT, *objects])
    return store


def chain(length: int, *start: Stored, name: str = "chain") -> list[Stored]:
    commits: list[Stored] = []
    for n in range(length):
        parents = commits[-1:] if commits else list(start)
        commits.append(commit(ROOT, *parents, message=f"{name} {n}"))
    return commits


def test_a_commit_is_its_own_ancestor_and_that_of_its_children(tmp_path: Path) -> None:
    line = chain(5)
    store = store_of(tmp_path, *line)
    assert is_ancestor(store, line[2].id, line[2].id)
    assert is_ancestor(store, line[0].id, line[4].id)
    assert not is_ancestor(store, line[4].id, line[0].id)


def test_branches_are_not_each_others_ancestors_until_they_merge(tmp_path: Path) -> None:
    line = chain(3)
    left, right = chain(4, line[-1], name="left"), chain(2, line[-1], name="right")
    merge = commit(ROOT, left[-1], right[-1])
    store = store_of(tmp_path, *line, *left, *right, merge)
    assert not is_ancestor(store, right[-1].id, left[-1].id)
    assert is_ancestor(store, right[-1].id, merge.id)
    assert commits_between(store, merge.id, [left[-1].id]) == [merge.id, right[1].id, right[0].id]
    assert set(commits_between(store, merge.id, [line[-1].id])) == {one.id for one in [merge, *left, *right]}
    assert commits_between(store, line[-1].id, [merge.id]) == []
    assert len(commits_between(store, merge.id, [])) == 10


def test_old_history_is_not_read(tmp_path: Path) -> None:
    line = chain(200)
    stray = commit(ROOT, line[197], message="stray")
    inner = store_of(tmp_path, *line, stray).backend
    backend = FaultBackend(inner)
    store = open_store(backend)
    assert is_ancestor(store, line[197].id, line[199].id)
    assert not is_ancestor(store, stray.id, line[199].id)
    assert commits_between(store, line[199].id, [line[197].id]) == [line[199].id, line[198].id]
    assert sum(call.method == "read" for call in backend.calls) < 15


def test_a_missing_commit_and_another_object_are_told(tmp_path: Path) -> None:
    line = chain(3)
    store = store_of(tmp_path, line[0], line[2])
    with pytest.raises(IntegrityError, match=line[1].id.hex()):
        is_ancestor(store, line[0].id, line[2].id)
    with pytest.raises(IntegrityError, match="is a tree, not a commit"):
        commits_between(store, line[0].id, [ROOT.id])


def test_tags_are_peeled(tmp_path: Path) -> None:
    (only,) = chain(1)
    inner = tag(only, "inner")
    outer = tag(inner, "outer")
    store = store_of(tmp_path, only, inner, outer)
    assert peel(store, outer.link) == only.link
    assert peel(store, only.link) == only.link
    with pytest.raises(IntegrityError, match="not a tag"):
        peel(store, outer.link._replace(id=only.id))


@given(st.integers(0, 10_000))
def test_histories_agree_with_sets(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    chosen = random.Random(seed)
    commits: list[Stored] = []
    above: dict[bytes, set[bytes]] = {}
    for n in range(20):
        parents = chosen.sample(commits, min(len(commits), chosen.choice([0, 1, 1, 1, 2, 3])))
        made = commit(ROOT, *parents, message=f"{seed} {n}")
        commits.append(made)
        above[made.id] = {made.id}.union(*(above[parent.id] for parent in parents))
    store = store_of(tmp_path_factory.mktemp("spool"), *commits)
    new = chosen.choice(commits).id
    old = [one.id for one in chosen.sample(commits, 2)]
    between = commits_between(store, new, old)
    assert set(between) == above[new] - above[old[0]] - above[old[1]]
    assert len(between) == len(set(between))
    assert all(above[later].isdisjoint(between[:at]) for at, later in enumerate(between))
    assert is_ancestor(store, old[0], new) == (old[0] in above[new])
