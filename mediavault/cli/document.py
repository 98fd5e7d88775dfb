"""Writes the part of docs/cli.md that the commands themselves know: usage, arguments, flags and examples of every verb.

`python -m mediavault.cli.document docs/cli.md` brings the file up to date; all outside the two marks is left as it is.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import typer

from mediavault.cli.dispatch import GROUPS, load
from mediavault.cli.exit_codes import ExitCode

BEGIN: Final = "<!-- from here on written by `make docs` out of the commands' help texts -->"
END: Final = "<!-- up to here -->"
SHARED: Final = frozenset({"--json", "--quiet", "--no-color", "--help"})
"""Flags of every verb, which the document explains once."""


def document(text: str) -> str:
    """Return the text of docs/cli.md with its verbs as the commands are now.

    Raises:
        ValueError: the marks are missing.
    """
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the document lacks the lines {BEGIN} and {END}")
    return f"{head}{BEGIN}\n\n{verbs()}\n{END}{tail}"


def verbs() -> str:
    """Return the sections of all verbs."""
    lines: list[str] = []
    for group, names in GROUPS.items():
        lines += [f"### {group}", ""]
        for name in names:
            lines += _verb(load(name), f"mediagit {name}")
    return "\n".join(lines)


def _verb(command: Any, name: str) -> Iterator[str]:
    yield f"#### {name}"
    yield ""
    yield from _body(command, name)
    for word, child in getattr(command, "commands", {}).items():
        yield f"**{name} {word}**"
        yield ""
        yield from _body(child, f"{name} {word}")


def _body(command: Any, name: str) -> Iterator[str]:
    context = typer.Context(command, info_name=name)
    prose, examples = _parts(command.help or "")
    for paragraph in prose:
        yield paragraph
        yield ""
    pieces = [piece.replace("[OPTIONS]", "[FLAGS]").strip("{}") for piece in command.collect_usage_pieces(context)]
    yield "```"
    yield " ".join([name, *pieces])
    yield "```"
    yield ""
    rows = list(_rows(command, context))
    if rows:
        yield "| | |"
        yield "| --- | --- |"
        yield from (f"| `{left}` | {right} |" for left, right in rows)
        yield ""
    if examples:
        yield "```sh"
        yield from examples
        yield "```"
        yield ""


def _parts(text: str) -> tuple[list[str], list[str]]:
    """Return the paragraphs of a help text, each in one line, and the lines of its examples."""
    prose: list[str] = []
    examples: list[str] = []
    for paragraph in text.split("\n\n"):
        if paragraph.lstrip("\n").startswith("\b"):
            examples += [_commented(line) for line in paragraph.replace("\b", "").strip("\n").splitlines()]
        else:
            prose.append(" ".join(paragraph.split()))
    return prose, examples


def _commented(line: str) -> str:
    """Return an example whose explanation a shell would pass over."""
    command, gap, words = line.strip().rpartition("  ")
    return f"{command}{gap}# {words}" if command else words


def _rows(command: Any, context: typer.Context) -> Iterator[tuple[str, str]]:
    for parameter in command.params:
        if SHARED.intersection(parameter.opts) or getattr(parameter, "hidden", False):
            continue
        record = parameter.get_help_record(context)
        if record is not None:
            left, right = record
            yield left.replace("|", "\\|"), right.replace("|", "\\|")


def main(arguments: list[str]) -> int:
    """Bring the named document up to date."""
    if len(arguments) != 1:
        sys.stderr.write("python -m mediavault.cli.document docs/cli.md\n")
        return ExitCode.USAGE
    path = Path(arguments[0])
    path.write_text(document(path.read_text(encoding="utf-8")), encoding="utf-8")
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
