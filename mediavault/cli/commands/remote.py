"""mediagit remote: name the servers this repository is shared with."""

from typing import Annotated

import typer

from mediavault import compose
from mediavault.cli import session
from mediavault.cli.exit_codes import ExitCode
from mediavault.cli.text import printable
from mediavault.cli.verb import Context, verb_app
from mediavault.ops import remotes
from mediavault.ops.repository import locked

app = verb_app(invoke_without_command=True)
Name = Annotated[str, typer.Argument(help="What you call it, such as origin.")]
Url = Annotated[
    str,
    typer.Argument(
        help="http(s)://HOST[:PORT]/TEAM/PROJECT of a server, or file:///FOLDER, s3://BUCKET/PREFIX, az://CONTAINER/PREFIX, gs://BUCKET/PREFIX."
    ),
]


@app.callback()
def remote(
    ctx: Context,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the addresses too.")] = False,
) -> int:
    """List the servers and stores this repository is shared with, or change the list.

    Nothing is sent or fetched here; the names are for `push`, `fetch` and `pull`.

    \b
    mediagit remote add origin http://nas:3000/studio/film       name a server
    mediagit remote add nas file:///mnt/nas/projects/film        or a shared folder, which needs none
    mediagit remote add cloud s3://studio-media/film             or a bucket, with the credentials of its own tools
    mediagit remote -v                                           names and addresses
    mediagit remote set-url origin http://nas2:3000/studio/film  it moved
    """  # noqa: D301 -- a backspace keeps the lines of a paragraph
    if ctx.invoked_subcommand is not None:
        return ExitCode.OK
    return _list(ctx, addresses=verbose)


@app.command(name="list")
def list_command(ctx: Context) -> int:
    """List names and addresses."""
    return _list(ctx, addresses=True)


def _list(ctx: Context, *, addresses: bool) -> int:
    console = ctx.obj.console
    found = remotes.list_remotes(session.settings_of(ctx.obj, session.find_layout()).settings)
    if console.json:
        console.document([{"name": entry.name, "url": entry.url} for entry in found])
        return ExitCode.OK
    width = max((len(entry.name) for entry in found), default=0)
    console.lines(
        f"{entry.name:<{width}}  {printable(entry.url)}" if addresses else printable(entry.name) for entry in found
    )
    if not found:
        console.say("No remote yet. Name one with `mediagit remote add origin http://HOST:3000/TEAM/PROJECT`.")
    return ExitCode.OK


@app.command()
def add(ctx: Context, name: Name, url: Url) -> int:
    """Name a server, or a store that needs none."""
    compose.check_address(url)
    layout = session.find_layout()
    with locked(layout):
        remotes.add_remote(layout, session.settings_of(ctx.obj, layout).settings, name, url)
    return _done(ctx, name, url, f"{name} is {url}")


@app.command(name="set-url")
def set_url(ctx: Context, name: Name, url: Url) -> int:
    """Change the address of a remote."""
    compose.check_address(url)
    layout = session.find_layout()
    with locked(layout):
        remotes.set_url(layout, session.settings_of(ctx.obj, layout).settings, name, url)
    return _done(ctx, name, url, f"{name} is now {url}")


@app.command(name="get-url")
def get_url(ctx: Context, name: Name) -> int:
    """Show the address of a server."""
    url = remotes.remote_url(session.settings_of(ctx.obj, session.find_layout()).settings, name)
    console = ctx.obj.console
    if console.json:
        console.document({"name": name, "url": url})
    else:
        console.line(url)
    return ExitCode.OK


@app.command()
def remove(ctx: Context, name: Name) -> int:
    """Forget a server; what was fetched from it stays."""
    with session.writing(ctx.obj) as (repository, _):
        remotes.remove_remote(repository, name, compose.now().seconds)
    return _done(ctx, name, None, f"{name} is forgotten")


@app.command()
def rename(ctx: Context, old: Name, new: Annotated[str, typer.Argument(help="Its new name.")]) -> int:
    """Call a server by another name."""
    with session.writing(ctx.obj) as (repository, _):
        remotes.rename_remote(repository, old, new, compose.now().seconds)
        url = remotes.remote_url(repository.settings, old)
    return _done(ctx, new, url, f"{old} is now called {new}")


def _done(ctx: Context, name: str, url: str | None, words: str) -> int:
    if ctx.obj.console.json:
        ctx.obj.console.document({"name": name, "url": url})
    else:
        ctx.obj.console.result(printable(words))
    return ExitCode.OK
