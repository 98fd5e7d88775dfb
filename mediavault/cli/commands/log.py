"""mediagit log: list commits, newest first."""

import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime, time
from itertools import zip_longest
from typing import Annotated, Any, Final

import typer

from mediavault.cli import session
from mediavault.cli.arguments import Arguments, DashCommand, revisions_and_paths
from mediavault.cli.changes import file_document, name_document, name_lines, size_lines, status_lines, summary
from mediavault.cli.exit_codes import ExitCode
from mediavault.cli.log_format import Wording, wording
from mediavault.cli.looking import Detail, NameOnly, NameStatus, NoPager, Stat, detail_of
from mediavault.cli.pager import paged
from mediavault.cli.render import Console, to_json
from mediavault.cli.text import printable, rfc3339
from mediavault.cli.verb import Context, PassphraseFile, verb_app
from mediavault.errors import UsageError
from mediavault.history.graph import Graph
from mediavault.history.ranges import ends
from mediavault.ops.diff import measure
from mediavault.ops.log import LogEntry, Wanted, draw_log, files_of, plan_log, run_log, signature
from mediavault.ops.repository import Repository
from mediavault.ops.revisions import resolver
from mediavault.progress import SILENT, Progress

app = verb_app()
_MEMORY_BYTES: Final = 8 << 20
"""A longer document waits on disk until it is whole."""


@app.command(name="log", cls=DashCommand)
def log_command(
    ctx: Context,
    *,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[REV...] [--] [PATH...]",
            help="Where to begin (A..B: what B has and A has not; A...B: what only one of them has; ^A: not what A has),"
            " and only commits that changed these files or folders.",
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Begin at every branch and tag, remote ones too.")] = False,
    limit: Annotated[
        int | None, typer.Option("-n", "--max-count", min=0, metavar="N", help="At most so many commits.")
    ] = None,
    skip: Annotated[int, typer.Option("--skip", min=0, metavar="N", help="Pass over the first N of them.")] = 0,
    since: Annotated[
        str | None,
        typer.Option("--since", "--after", metavar="DATE", help="Committed then or later: 2026-01-31, or with a time."),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option("--until", "--before", metavar="DATE", help="Committed then or earlier; a date means its end."),
    ] = None,
    author: Annotated[
        list[str] | None,
        typer.Option("--author", metavar="REGEX", help="Found in `Name <email>` of the author; any of several."),
    ] = None,
    grep: Annotated[
        list[str] | None, typer.Option("--grep", metavar="REGEX", help="Found in the message; any of several.")
    ] = None,
    ignore_case: Annotated[
        bool, typer.Option("--regexp-ignore-case", "-i", help="Take a and A for the same in --author and --grep.")
    ] = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on under the names that the one file had before it was renamed.")
    ] = False,
    reverse: Annotated[bool, typer.Option("--reverse", help="The oldest of what is listed first.")] = False,
    graph: Annotated[bool, typer.Option("--graph", help="Draw the lines of history beside the commits.")] = False,
    oneline: Annotated[
        bool, typer.Option("--oneline", help="One line a commit: the same as --format oneline.")
    ] = False,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            "--pretty",
            metavar="FORMAT",
            help="oneline, medium, full, or a template such as '%h %an %s' with git's placeholders.",
        ),
    ] = "medium",
    stat: Stat = False,
    name_status: NameStatus = False,
    name_only: NameOnly = False,
    no_pager: NoPager = False,
    passphrase_file: PassphraseFile = None,
) -> int:
    """List commits, newest first.

    What a commit changed is told against its first parent. --since and --until go by the time of the commit, which
    --format full shows beside that of its author.

    \b
    mediagit log --oneline --graph --all  all branches in one drawing
    mediagit log -- shots/010             what changed this folder
    mediagit log --follow -- shots/a.mov  one file, through its renames
    mediagit log origin/main..            what you did not push yet
    mediagit log --since 2026-01-31 --author ada --stat  what Ada changed since then
    mediagit log --format '%h %an: %s' -n 5              your own words for each commit
    """  # noqa: D301 -- a backspace keeps the lines of a paragraph
    console = ctx.obj.console
    if graph and reverse:
        raise UsageError(
            "A drawing has the newest commit on top.",
            untouched="Nothing was listed.",
            hint="Leave out --graph or --reverse.",
        )
    look = _Look(
        wording("oneline" if oneline else form),
        detail_of(Detail.NOTHING, stat=stat, name_status=name_status, name_only=name_only),
        apart=not oneline and form in {"medium", "full"},
    )
    with ExitStack() as stack:
        repository = stack.enter_context(session.reading(ctx.obj, passphrase_file=passphrase_file))
        given = _arguments(ctx, repository, words or [])
        wanted = Wanted(
            since=_moment(since, time.min) if since else None,
            until=_moment(until, time.max) if until else None,
            authors=author or (),
            messages=grep or (),
            ignore_case=ignore_case,
            paths=() if follow else tuple(given.paths),
            follow=_one_file(given.paths) if follow else "",
        )
        plan = plan_log(repository, given.revisions, every=every, wanted=wanted, skip=skip, limit=limit)
        progress = _Search(console.progress())
        found = draw_log(repository, plan, progress) if graph else run_log(repository, plan, progress, reverse=reverse)
        view = _View(console, repository, look, given.paths)
        stack.callback(progress.done)
        progress.start(None, "commits", "Searching")
        if console.json:
            _write_list(view.document(entry) for entry in found)
            return ExitCode.OK
        stack.enter_context(paged(console, None if no_pager else session.pager_of(ctx.obj)))
        count = 0
        drawing = Graph() if graph else None
        for entry in found:
            progress.done()
            view.show(entry, drawing, first=not count)
            count += 1
    if not count:
        console.say(_nothing(given, wanted, limited=every or skip > 0 or limit == 0))
    return ExitCode.OK


class _Look:
    """How commits are to be shown: their words, how much of their files, and whether an empty line parts them."""

    def __init__(self, words: Wording, detail: Detail, *, apart: bool) -> None:
        self.words = words
        self.detail = detail
        self.apart = apart


class _Search:
    """Tells how far a search is until it has found something: what is found tells more."""

    def __init__(self, shown: Progress) -> None:
        self._shown = shown
        self._ended = False

    def start(self, total: int | None, unit: str, label: str) -> None:
        """Begin."""
        self._shown.start(total, unit, label)

    def advance(self, amount: int) -> None:
        """Tell that so many commits were looked at."""
        if not self._ended:
            self._shown.advance(amount)

    def done(self) -> None:
        """Fall silent."""
        if not self._ended:
            self._ended = True
            self._shown.done()


class _View:
    """Shows commits of one repository."""

    def __init__(self, console: Console, repository: Repository, look: _Look, paths: Sequence[str]) -> None:
        self._console = console
        self._repository = repository
        self._look = look
        self._paths = paths

    def show(self, entry: LogEntry, drawing: Graph | None, *, first: bool) -> None:
        """Write one commit, with what it changed and the lines of history beside it."""
        lines = self._look.words(self._console, entry)
        files = self._file_lines(entry)
        if files:
            lines += ["", *files] if self._look.apart else files
        if drawing is None:
            if self._look.apart and not first:
                self._console.line()
            self._console.lines(lines)
            return
        gap = [drawing.beside()] if self._look.apart and not first else drawing.gap(entry.id)
        self._console.lines(row.rstrip() for row in gap)
        rows = drawing.rows(entry.id, entry.lines_to)
        width = max(len(rows[0]), len(drawing.beside()))
        if len(rows) < len(lines):
            rows += [drawing.beside()] * (len(lines) - len(rows))
        for row, line in zip_longest(rows, lines, fillvalue=""):
            self._console.line(f"{row:<{width}}{line}".rstrip())

    def document(self, entry: LogEntry) -> dict[str, Any]:
        """Return a commit as JSON; with what it changed and the name of a followed file, where these are asked for."""
        found = document(entry)
        if entry.path:
            found |= {"path": entry.path, "old_path": entry.old_path or None}
        if self._look.detail is Detail.SIZES:
            changes = measure(self._repository, self._files(entry), {}, SILENT)
            found["files"] = [file_document(change) for change in changes]
        elif self._look.detail is not Detail.NOTHING:
            found["files"] = [name_document(change) for change in self._files(entry)]
        return found

    def _file_lines(self, entry: LogEntry) -> list[str]:
        if self._look.detail is Detail.NOTHING:
            return []
        if self._look.detail is Detail.NAMES:
            return name_lines(self._files(entry))
        if self._look.detail is Detail.STATUS:
            return status_lines(self._console, self._files(entry))
        changes = measure(self._repository, self._files(entry), {}, SILENT)
        return [*size_lines(self._console, changes), *([summary(changes)] if changes else [])]

    def _files(self, entry: LogEntry) -> Sequence[Any]:
        return files_of(self._repository, entry, self._paths)


def _arguments(ctx: Context, repository: Repository, words: list[str]) -> Arguments:
    find = resolver(repository)
    return revisions_and_paths(ctx, repository.layout, words, lambda text: ends(find, repository.reader, [text], None))


def _one_file(paths: Sequence[str]) -> str:
    if len(paths) != 1 or not paths[0]:
        raise UsageError(
            "--follow takes one file.", untouched="Nothing was listed.", hint="mediagit log --follow -- PATH"
        )
    return paths[0]


def _moment(text: str, end: time) -> int:
    """Return a time that was typed, in seconds; a date alone means its start or its end, here."""
    try:
        if len(text) == 10:
            return int(datetime.combine(datetime.fromisoformat(text).date(), end).astimezone().timestamp())
        return int(datetime.fromisoformat(text).astimezone().timestamp())
    except (ValueError, OverflowError):
        raise UsageError(
            f"{text!r} is not a date.",
            untouched="Nothing was listed.",
            hint="Write it as 2026-01-31, 2026-01-31T18:00 or 2026-01-31T18:00+01:00.",
        ) from None


def _nothing(given: Arguments, wanted: Wanted, *, limited: bool) -> str:
    """Return why nothing is listed."""
    if given.paths and wanted in (Wanted(paths=wanted.paths), Wanted(follow=wanted.follow)):
        return f"No commit changed {', '.join(printable(path) for path in given.paths) or 'anything'}."
    return "No commit fits." if given.revisions or limited or wanted != Wanted() else "No commit yet."


def _write_list(documents: Iterable[dict[str, Any]]) -> None:
    """Write a list of documents once the last one is there, so that an error leaves no half of it; long ones wait on disk."""
    with tempfile.SpooledTemporaryFile(_MEMORY_BYTES, "w+", encoding="utf-8") as spool:
        spool.writelines(_pieces(documents))
        spool.seek(0)
        shutil.copyfileobj(spool, sys.stdout)


def _pieces(documents: Iterable[dict[str, Any]]) -> Iterator[str]:
    before = "["
    for found in documents:
        yield before + "\n  " + to_json(found).replace("\n", "\n  ")
        before = ","
    yield "[]\n" if before == "[" else "\n]\n"


def document(entry: LogEntry) -> dict[str, Any]:
    """Return a commit as a JSON document."""
    commit = entry.commit
    return {
        "id": entry.id.hex(),
        "parents": [parent.hex() for parent in commit.parents],
        "author": signature(commit.author),
        "author_name": commit.author.name,
        "author_email": commit.author.email,
        "time": rfc3339(commit.authored),
        "committer": signature(commit.committer),
        "commit_time": rfc3339(commit.committed),
        "message": commit.message,
        "tree": commit.tree.hex(),
        "refs": list(entry.refs),
    }
