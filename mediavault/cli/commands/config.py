"""mediagit config: show and change settings."""

from pathlib import Path
from typing import Annotated, Any

import typer

from mediavault.cli import session
from mediavault.cli.exit_codes import ExitCode
from mediavault.cli.text import printable
from mediavault.cli.verb import Context, Invocation, verb_app
from mediavault.config import LoadedSettings, find_key, is_secret, known_keys
from mediavault.errors import NotARepositoryError, NotFoundError
from mediavault.ops.settings import change_settings
from mediavault.workspace.layout import Layout

app = verb_app(no_args_is_help=True)
KeyName = Annotated[str, typer.Argument(metavar="KEY", help="Such as user.name.")]
User = Annotated[bool, typer.Option("--user", help="In your own file, for all repositories.")]
_HIDDEN = "(hidden)"


@app.callback()
def config() -> None:
    """Show and change settings.

    They come from files and from the environment; `mediagit.toml.example` explains each one.

    \b
    mediagit config set --user user.name "Anna B."  for all your repositories
    mediagit config get core.workers                one value
    mediagit config list --show-origin              what is set, and where
    """  # noqa: D301 -- a backspace keeps the lines of a paragraph


def _layout() -> Layout | None:
    try:
        return session.find_layout()
    except NotARepositoryError:
        return None


def _load(invocation: Invocation) -> LoadedSettings:
    return session.settings_of(invocation, _layout())


@app.command(name="list")
def list_command(
    ctx: Context,
    show_origin: Annotated[bool, typer.Option("--show-origin", help="Tell where each value comes from.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Settings that have their default too.")] = False,
) -> int:
    """List what is set, and where."""
    loaded = _load(ctx.obj)
    console = ctx.obj.console
    values: dict[str, tuple[Any, str]] = {}
    if everything:
        values = {known.pattern: (known.default, "default") for known in known_keys() if "*" not in known.pattern}
    values |= {key: (value, loaded.origins[key]) for key, value in loaded.values.items()}
    shown = {key: (_HIDDEN if is_secret(key) and value else value, origin) for key, (value, origin) in values.items()}
    if console.json:
        console.document(
            [{"key": key, "value": value, "origin": origin} for key, (value, origin) in sorted(shown.items())]
        )
        return ExitCode.OK
    for key, (value, origin) in sorted(shown.items()):
        text = printable(f"{key} = {_text(value)}")
        console.line(f"{text}    {console.paint('dim', printable(origin))}" if show_origin else text)
    return ExitCode.OK


@app.command()
def get(ctx: Context, key: KeyName) -> int:
    """Show one value, the default where nothing is set."""
    known = find_key(key)
    loaded = _load(ctx.obj)
    value, origin = loaded.values.get(key, known.default), loaded.origins.get(key, "default")
    if "*" in known.pattern and key not in loaded.values:
        raise NotFoundError(f"{key} is not set.", hint="`mediagit config list` shows what is.")
    console = ctx.obj.console
    if console.json:
        console.document({"key": key, "value": value, "origin": origin})
    else:
        console.line(_text(value))
    return ExitCode.OK


@app.command(name="set")
def set_command(
    ctx: Context, key: KeyName, value: Annotated[str, typer.Argument(help="The new value.")], user: User = False
) -> int:
    """Set a value, for this repository unless you say otherwise."""
    path = _file(ctx.obj, user=user)
    change_settings(path, {key: value})
    return _done(ctx, key, path)


@app.command()
def unset(ctx: Context, key: KeyName, user: User = False) -> int:
    """Take a value out, so that the next layer's counts."""
    path = _file(ctx.obj, user=user)
    change_settings(path, {key: None})
    return _done(ctx, key, path)


def _file(invocation: Invocation, *, user: bool) -> Path:
    return session.user_settings_file(invocation) if user else session.find_layout().settings_file


def _done(ctx: Context, key: str, path: Path) -> int:
    console = ctx.obj.console
    if console.json:
        console.document({"key": key, "file": str(path)})
    else:
        console.result(f"Changed {key} in {path}")
    return ExitCode.OK


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
