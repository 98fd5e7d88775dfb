"""What every verb shares: the shape of its Typer app, and the state of this one invocation."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from mediavault.cli.render import Console

PassphraseFile: TypeAlias = Annotated[
    Path | None,
    typer.Option("--passphrase-file", metavar="FILE", help="Read the passphrase from this file, where one is needed."),
]
"""The flag of every verb that may have to unlock a repository."""


@dataclass(slots=True)
class Invocation:
    """One run of the command: its environment, its flags, its ways out."""

    environ: Mapping[str, str]
    debug: bool = False
    console: Console = field(default_factory=Console)


class Context(typer.Context):
    """Typer's context, with what `obj` holds."""

    obj: Invocation


def verb_app(**options: Any) -> typer.Typer:
    """Return an app for one verb: plain help, no completion, no tracebacks of its own."""
    return typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        **options,
    )
