"""mediagit status: what changed since the last commit."""

from collections.abc import Sequence
from typing import Annotated

import typer

from mediavault.cli import session
from mediavault.cli.exit_codes import ExitCode
from mediavault.cli.render import Console
from mediavault.cli.text import counted, printable, short_id
from mediavault.cli.verb import Context, PassphraseFile, verb_app
from mediavault.ops.status import RepositoryStatus, status

app = verb_app()
_SHOWN = 200


@app.command(name="status")
def status_command(
    ctx: Context,
    *,
    paths: Annotated[list[str] | None, typer.Argument(metavar="PATH...", help="Look only at these.")] = None,
    passphrase_file: PassphraseFile = None,
) -> int:
    """Show what changed since the last commit, and what the next one will hold.

    Files are compared by size and time, and read only where these do not tell. Nothing is changed.

    \b
    mediagit status        the whole project
    mediagit status shots  one folder of it
    """  # noqa: D301 -- a backspace keeps the lines of a paragraph
    with (
        session.reading(ctx.obj, passphrase_file=passphrase_file) as repository,
        session.stage_of(ctx.obj, repository) as stage,
    ):
        report = status(repository, stage, tuple(session.paths_of(repository.layout, paths or [])))
    show(ctx.obj.console, report)
    return ExitCode.OK


def show(console: Console, report: RepositoryStatus) -> None:
    """Render the state."""
    changes = report.changes
    if report.unfinished:
        console.warn("This clone is not finished: run the same `mediagit clone` again, and it brings the rest.")
    if console.json:
        console.document(
            {
                "branch": report.branch,
                "commit": report.commit.hex() if report.commit else None,
                "upstream": report.upstream or None,
                "ahead": report.ahead,
                "behind": report.behind,
                "staged": [change.path for change in changes.staged],
                "modified": changes.modified,
                "deleted": changes.deleted,
                "untracked": changes.untracked,
                "staged_changes": [{"path": change.path, "change": change.kind.value} for change in changes.staged],
                "unfinished": report.unfinished or None,
                "problems": [{"path": p.path, "reason": p.reason, "hint": p.hint} for p in changes.problems],
            }
        )
        return
    console.line(_place(console, report))
    _section(
        console,
        "In the next commit:",
        "green",
        [(change.kind.value, change.path) for change in changes.staged],
        "take one out again with `mediagit restore --staged PATH`",
    )
    working = [("modified", path) for path in changes.modified] + [("deleted", path) for path in changes.deleted]
    _section(
        console,
        "Changed, not chosen yet:",
        "yellow",
        working,
        "choose with `mediagit add PATH`, take back with `mediagit restore PATH`",
    )
    _section(
        console,
        "New, never added:",
        "cyan",
        [("new", path) for path in changes.untracked],
        "choose with `mediagit add PATH`",
    )
    _section(
        console,
        "Cannot be versioned:",
        "red",
        [("", f"{p.path} {p.reason}. {p.hint}".rstrip()) for p in changes.problems],
        "",
    )
    if changes.clean and not changes.untracked:
        console.line(
            "Nothing to commit: every file is as in the last commit." if report.commit else "Nothing here yet."
        )


def _place(console: Console, report: RepositoryStatus) -> str:
    if report.branch is None:
        return f"At commit {short_id(report.commit or b'')}, on no branch"
    text = f"On branch {console.paint('bold', printable(report.branch))}"
    if report.commit is None:
        return f"{text}, before its first commit"
    if not report.upstream:
        return text
    upstream = printable(report.upstream)
    parts = [f"{counted(report.ahead, 'commit')} to push"] if report.ahead else []
    parts += [f"{counted(report.behind, 'commit')} to pull"] if report.behind else []
    return f"{text}: {', '.join(parts)} ({upstream})" if parts else f"{text}, as {upstream}"


def _section(console: Console, title: str, color: str, rows: Sequence[tuple[str, str]], hint: str) -> None:
    if not rows:
        return
    console.line("")
    console.line(f"{title}  ({hint})" if hint else title)
    for kind, path in rows[:_SHOWN]:
        label = f"{kind}:".ljust(10) if kind else ""
        console.line(f"  {console.paint(color, label + printable(path))}")
    if len(rows) > _SHOWN:
        console.line(f"  ... and {len(rows) - _SHOWN:,} more")
