"""Flags of the verbs that show what changed: how much of it, and whether through a pager."""

from enum import Enum, auto
from typing import Annotated, TypeAlias

import typer

from mediavault.errors import UsageError

Stat: TypeAlias = Annotated[bool, typer.Option("--stat", help="Sizes and chunks of each file; of text files no lines.")]
NameStatus: TypeAlias = Annotated[
    bool,
    typer.Option("--name-status", help="A letter (A added, M modified, D deleted, R renamed) and the path of each."),
]
NameOnly: TypeAlias = Annotated[bool, typer.Option("--name-only", help="The paths alone.")]
Unified: TypeAlias = Annotated[
    int, typer.Option("--unified", "-U", min=0, metavar="N", help="Lines to show around a change in a text file.")
]
NoPager: TypeAlias = Annotated[
    bool, typer.Option("--no-pager", help="Do not show long output page by page ($MEDIAGIT_PAGER, $PAGER, less).")
]


class Detail(Enum):
    """How much to show of files that differ."""

    NOTHING = auto()
    NAMES = auto()
    STATUS = auto()
    SIZES = auto()
    LINES = auto()


def detail_of(
    otherwise: Detail, *, stat: bool = False, name_status: bool = False, name_only: bool = False, patch: bool = False
) -> Detail:
    """Return what flags ask for.

    Raises:
        UsageError: more than one is given.
    """
    asked = [
        detail
        for flag, detail in (
            (stat, Detail.SIZES),
            (name_status, Detail.STATUS),
            (name_only, Detail.NAMES),
            (patch, Detail.LINES),
        )
        if flag
    ]
    if len(asked) > 1:
        raise UsageError(
            "--stat, --name-status, --name-only and --patch exclude each other.",
            untouched="Nothing was compared.",
            hint="Choose one of them.",
        )
    return asked[0] if asked else otherwise
