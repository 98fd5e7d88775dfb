"""A checkout is stopped before every durable step that it takes; the old or the new tree must come of it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from mediavault.model.ids import ObjectId
from mediavault.model.objects import ManifestEntry
from mediavault.workspace import arriving_files
from mediavault.workspace.arriving_files import ArrivingFiles
from mediavault.workspace.layout import Head
from mediavault.workspace.materialise import Intent, recover, run_checkout
from mediavault_backends import fsio
from tests.checkouts import Files, LinkTo, Program, Project

OLD: Files = {
    "a": b"1" * 2500,
    "b/c": b"old",
    "b/d/e": Program(b"#!"),
    "gone/deep/x": b"x",
    "file": b"was a file",
    "folder/in/side": b"was in a folder",
    "same": b"same",
    "l": LinkTo("a"),
}
NEW: Files = {
    "a": b"2" * 2500,
    "b/c": b"new",
    "b/d/e": b"#!",
    "file/in": b"is in a folder",
    "folder": b"is a file",
    "new/er/y": b"y",
    "same": b"same",
    "l": LinkTo("b/c"),
}
MANY: Files = {f"many/{number}": bytes([number]) for number in range(20)}


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut short what brings bytes to the disk: these tests see what a process leaves, whose pages all survive it."""
    monkeypatch.setattr(os, "fsync", lambda _fd: None)
    monkeypatch.setattr(fsio, "sync_filesystem", lambda path: fsio.announce("sync-filesystem", path))


class PowerCut(BaseException):
    """The process ends here: nothing that it does afterwards takes effect."""


@contextmanager
def cut_before(number: int) -> Iterator[list[fsio.Step]]:
    """Let `number` steps happen, and none after; yields the steps that were asked for."""
    steps: list[fsio.Step] = []

    def observe(step: fsio.Step) -> None:
        steps.append(step)
        if len(steps) > number:
            raise PowerCut

    with fsio.observe(observe):
        yield steps


def made(root: Path, many: bool) -> tuple[Project, ObjectId, ObjectId, Files]:
    """Return a project at its old tree; with `many` files the checkout syncs in a batch."""
    new = {**NEW, **MANY} if many else NEW
    project = Project(root)
    old_tree, new_tree = project.tree(OLD), project.tree(new)
    project.switch(None, old_tree)
    return project, old_tree, new_tree, new


def steps_of_a_whole_run(root: Path, many: bool) -> list[fsio.Step]:
    project, old, new, _ = made(root, many)
    with project, cut_before(1 << 30) as steps:
        project.switch(old, new, head="other")
    return steps


def check(project: Project, old: ObjectId, new: ObjectId, new_files: Files, *, finished: bool) -> None:
    if finished:
        assert project.working() == new_files
        assert project.layout.read_head() == Head("other")
        assert project.status(new).clean
        assert project.built() == new
    else:
        assert project.working() == OLD
        assert project.layout.read_head() == Head("main")
        assert project.status(old).clean
        assert project.built() == old
    assert not project.layout.checkout.exists()
    assert recover(project.layout) is None


@pytest.mark.parametrize("many", [False, True])
def test_every_point_leaves_the_old_or_the_new_tree(tmp_path: Path, many: bool) -> None:
    whole = steps_of_a_whole_run(tmp_path / "whole", many)
    journal = next(at for at, step in enumerate(whole) if step.path.name == "journal" and step.kind == "rename")
    assert {"create", "rename", "unlink", "make-folder", "change-mode"} <= {step.kind for step in whole}
    outcomes = set()
    for number in range(len(whole) + 1):
        project, old, new, new_files = made(tmp_path / f"{many}-{number}", many)
        plan = project.plan(old, new)
        with cut_before(number):
            if number < len(whole):
                with pytest.raises(PowerCut):
                    project.run(plan, "other")
            else:
                project.run(plan, "other")
        report = recover(project.layout)
        # After the journal's last two steps (its removal, the folder's sync) there is nothing left to tell.
        if number <= journal:
            assert report is None or not report.finished
        else:
            assert report is None or report.finished
            assert report is None or report.verb == "switch to 'other'"
        check(project, old, new, new_files, finished=number > journal)
        outcomes.add(None if report is None else report.finished)
        project.stage.close()
    assert outcomes == {None, False, True}


def test_a_recovery_may_be_stopped_at_every_point_too(tmp_path: Path) -> None:
    whole = steps_of_a_whole_run(tmp_path / "whole", many=False)
    journal = next(at for at, step in enumerate(whole) if step.path.name == "journal" and step.kind == "rename")
    for first in range(journal + 1, len(whole), 4):
        for second in range(0, len(whole) - first + 2, 3):
            project, old, new, new_files = made(tmp_path / f"{first}-{second}", many=False)
            plan = project.plan(old, new)
            with cut_before(first), pytest.raises(PowerCut):
                project.run(plan, "other")
            with cut_before(second), suppress(PowerCut):
                recover(project.layout)
            recover(project.layout)
            check(project, old, new, new_files, finished=True)
            project.stage.close()


def test_what_a_person_does_between_crash_and_recovery_is_kept(tmp_path: Path) -> None:
    whole = steps_of_a_whole_run(tmp_path / "whole", many=False)
    journal = next(at for at, step in enumerate(whole) if step.path.name == "journal" and step.kind == "rename")
    left: set[str] = set()
    for number in range(journal + 1, len(whole) - 1):
        project, old, new, _ = made(tmp_path / str(number), many=False)
        plan = project.plan(old, new)
        with cut_before(number), pytest.raises(PowerCut):
            project.run(plan, "other")
        for path in ("a", "b/c", "gone/deep/x", "new/er/y", "same"):
            if not (project.root / path).is_dir() and path != "folder":
                project.write(path, b"mine")
        report = recover(project.layout)
        working = project.working()
        for path in ("a", "b/c", "gone/deep/x", "new/er/y", "same"):
            assert working[path] == b"mine", (number, path)
        assert working["folder"] == b"is a file"
        status = project.status(new)
        assert {"a", "b/c", "new/er/y", "same"} <= set(status.modified)
        assert status.untracked == ["gone/deep/x"]
        left.update(report.left if report else ())
        project.stage.close()
    assert left >= {"a", "b/c", "gone/deep/x", "new/er/y"}


def test_a_pull_moves_its_ref_whenever_it_was_stopped(tmp_path: Path) -> None:
    moved: list[Intent] = []
    intent = Intent("pull", ref="heads/main", ref_from=b"1" * 32, ref_to=b"2" * 32)
    for number in range(0, 1 << 10, 3):
        project, old, new, new_files = made(tmp_path / str(number), many=False)
        plan = project.plan(old, new)
        moved.clear()
        with cut_before(number) as steps, suppress(PowerCut):
            run_checkout(plan, project.layout, project.stage, project.reader, intent, finish=moved.append)
        if len(steps) < number:
            project.close()
            break
        recover(project.layout, moved.append)
        assert project.working() == (new_files if moved else OLD)
        assert project.status(new if moved else old).clean
        assert all(one == intent for one in moved)
        project.stage.close()
    assert moved == [intent]


def test_a_damaged_stage_does_not_keep_a_checkout_from_being_finished(tmp_path: Path) -> None:
    project, old, new, new_files = made(tmp_path / "p", many=False)
    plan = project.plan(old, new)
    with cut_before(40), pytest.raises(PowerCut):
        project.run(plan, "other")
    project.stage.close()
    project.layout.stage_file.write_bytes(b"damaged" * 1000)
    report = recover(project.layout)
    assert report is not None
    assert report.finished
    assert project.working() == new_files
    assert project.layout.read_head() == Head("other")


def test_files_written_while_they_came_count_only_with_the_whole_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arriving_files, "LARGE", 2000)
    monkeypatch.setattr(arriving_files, "SYNC_BYTES", 1000)
    outcomes = set()
    for number in range(1 << 10):
        project = Project(tmp_path / str(number))
        tree = project.tree({**OLD, "b/large": b"large" * 900})
        with cut_before(number) as steps, suppress(PowerCut):
            checked_out_as_it_comes(project, tree)
        report = recover(project.layout)
        begun = any(step.path.name == "journal" and step.kind == "rename" for step in steps[:number])
        assert report is None or report.finished == begun
        assert project.working() == ({**OLD, "b/large": b"large" * 900} if begun else {})
        assert project.status(tree if begun else None).clean
        assert not project.layout.checkout.exists()
        outcomes.add(begun)
        project.stage.close()
        if len(steps) <= number:
            break
    assert outcomes == {False, True}
    kinds = [step.kind if step.path.name != "journal" else "journal" for step in steps]
    assert kinds.index("sync-filesystem") < kinds.index("journal")


def checked_out_as_it_comes(project: Project, tree: ObjectId) -> None:
    """Check out into nothing, the large files from chunks that are put one by one, last chunk first."""
    plan = project.plan(None, tree)
    entries = [
        entry for write in plan.writes if write.child for entry in project.reader.chunk_list(write.link(), write.size)
    ]
    coming = {entry.chunk for entry in entries}
    with ArrivingFiles(project.layout.checkout, plan, project.reader, coming) as files:
        for entry in reversed(entries):
            content = b"".join(project.reader.chunks([ManifestEntry(entry.chunk, entry.length)]))
            files.put(entry.chunk, content)
        written = files.finish()
    assert written
    run_checkout(plan, project.layout, project.stage, project.reader, Intent("clone"), written=written)
