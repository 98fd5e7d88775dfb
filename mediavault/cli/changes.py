"""Words and JSON for files that differ, for every verb that shows them."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from mediavault.cli.render import Console
from mediavault.cli.text import byte_size, counted, printable
from mediavault.history.diff import DiffKind, FileDiff
from mediavault.model.objects import Mode
from mediavault.ops.diff import MeasuredDiff

_COLORS: Final = {
    DiffKind.ADDED: "green",
    DiffKind.DELETED: "red",
    DiffKind.MODIFIED: "yellow",
    DiffKind.MODE: "cyan",
    DiffKind.RENAMED: "cyan",
}
_LETTERS: Final = {
    DiffKind.ADDED: "A",
    DiffKind.DELETED: "D",
    DiffKind.MODIFIED: "M",
    DiffKind.MODE: "M",
    DiffKind.RENAMED: "R",
}
_MODES: Final = {Mode.FILE: "file", Mode.EXECUTABLE: "executable", Mode.SYMLINK: "symlink", Mode.TREE: "folder"}


def mode_name(mode: Mode) -> str:
    """Return what an entry is called: `file`, `executable`, `symlink` or `folder`."""
    return _MODES[mode]


def file_document(change: MeasuredDiff) -> dict[str, Any]:
    """Return one file that differs as JSON; sizes in bytes, null where there was or is no file."""
    file, chunks = change.file, change.chunks
    return {
        "path": file.path,
        "old_path": file.old_path or None,
        "change": file.kind.value,
        "size_before": file.old.size if file.old else None,
        "size_after": file.new.size if file.new else None,
        "mode_before": mode_name(file.old.mode) if file.old else None,
        "mode_after": mode_name(file.new.mode) if file.new else None,
        "chunks_shared": chunks.shared_chunks,
        "chunks_new": chunks.new_chunks,
        "bytes_shared": chunks.shared_bytes,
        "bytes_new": chunks.new_bytes,
    }


def show_files(console: Console, changes: Sequence[MeasuredDiff]) -> None:
    """Write a line for each file, and what they come to."""
    console.lines(size_lines(console, changes))
    if changes:
        console.result(summary(changes))


def size_lines(console: Console, changes: Sequence[MeasuredDiff]) -> list[str]:
    """Return a line for each file: what happened to it, its sizes, and how much of it is new."""
    names = [_name(change.file) for change in changes]
    width = min(max((len(name) for name in names), default=0), 60)
    lines = []
    for name, change in zip(names, changes, strict=True):
        kind = change.file.kind
        label = console.paint(_COLORS[kind], f"{kind.value:<8}")
        lines.append(f"  {label}  {name:<{width}}  {_sizes(change.file)}{_chunks(change)}".rstrip())
    return lines


def status_lines(console: Console, changes: Iterable[FileDiff]) -> list[str]:
    """Return a letter and the path of each file, as git writes them: `M<tab>path`, `R<tab>old<tab>new`."""
    return [
        "\t".join([console.paint(_COLORS[change.kind], _LETTERS[change.kind]), *map(printable, _both(change))])
        for change in changes
    ]


def name_lines(changes: Iterable[FileDiff]) -> list[str]:
    """Return the paths of files."""
    return [printable(change.path) for change in changes]


def name_document(change: FileDiff) -> dict[str, Any]:
    """Return the names of a file that differs as JSON."""
    return {"path": change.path, "old_path": change.old_path or None, "change": change.kind.value}


def _both(change: FileDiff) -> list[str]:
    return [change.old_path, change.path] if change.old_path else [change.path]


def _name(file: FileDiff) -> str:
    return f"{printable(file.old_path)} -> {printable(file.path)}" if file.old_path else printable(file.path)


def _sizes(file: FileDiff) -> str:
    old, new = file.old, file.new
    if new is None:
        return byte_size(old.size) if old else ""
    if new.mode is Mode.SYMLINK:
        return f"link to {printable(new.target)}"
    if old is None or file.kind in (DiffKind.RENAMED, DiffKind.MODE):
        text = byte_size(new.size)
    else:
        text = f"{byte_size(old.size)} -> {byte_size(new.size)}"
    if old is not None and old.mode is not new.mode:
        text += f", now {'an' if new.mode is Mode.EXECUTABLE else 'a'} {mode_name(new.mode)}"
    return text


def _chunks(change: MeasuredDiff) -> str:
    renamed = change.file.kind is DiffKind.RENAMED and change.chunks.new_chunks > 0
    if not renamed and (change.file.kind is not DiffKind.MODIFIED or change.file.new is None):
        return ""
    shared, new = change.chunks.shared_chunks, change.chunks.new_chunks
    if not shared + new:
        return ""
    return f": {new:,} of {counted(shared + new, 'chunk')} new, {byte_size(change.chunks.new_bytes)}"


def summary(changes: Sequence[MeasuredDiff]) -> str:
    """Return what changes come to: how many files of each kind, how much is new."""
    kinds = [change.file.kind for change in changes]
    words = {
        DiffKind.ADDED: "added",
        DiffKind.MODIFIED: "changed",
        DiffKind.DELETED: "deleted",
        DiffKind.RENAMED: "renamed",
        DiffKind.MODE: "with another mode",
    }
    parts = [f"{kinds.count(kind):,} {word}" for kind, word in words.items() if kind in kinds]
    new_chunks = sum(change.chunks.new_chunks for change in changes)
    new = byte_size(sum(change.chunks.new_bytes for change in changes))
    shared = byte_size(sum(change.chunks.shared_bytes for change in changes))
    return f"{counted(len(changes), 'file')}: {', '.join(parts)}. {new} new in {counted(new_chunks, 'chunk')}, {shared} shared."
