"""Keeps what was measured, group by group, so that one can be measured anew alone; and writes it as a document.

RESULTS.json holds the figures, REMARKS.md what a person has to say of a group: the document is made of both.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.bench import Table

INTRODUCTION = """\
Rows are measured in groups, each with its date, its code and its command. Ratios are medians of the pairs within a round,
with least and greatest. Before every run earlier writes are on the disk and the disk is silent, and either the page cache is
empty (cold) or what the run reads was read just before (warm), for all tools alike. Every restored tree was compared byte
for byte with its source before a time counts. What is wanted is meant for scale 1: in small trials the start of a program
is most of its time. [docs/performance.md](../docs/performance.md) tells where the time goes.
"""


@dataclass(frozen=True)
class Section:
    """What one run of one group of rows gave.

    Attributes:
        key: the group's name, with "cold" where the page cache was emptied.
        date: of the day, in UTC.
        code: the commit that was measured.
        machine: processors, system, interpreter.
        command: how to measure it again.
        conditions: scale, rounds, page cache.
        tools: name, version and conditions of each tool.
        absent: names of tools that are not installed.
        tables: the results.
        command_lines: by tool and step.
    """

    key: str
    date: str
    code: str
    machine: str
    command: str
    conditions: str
    tools: list[list[str]]
    absent: list[str]
    tables: list[Table]
    command_lines: dict[str, list[str]]


def load(path: Path) -> dict[str, Section]:
    """Return the sections of a file by their keys; none when there is no such file."""
    if not path.exists():
        return {}
    return {
        one["key"]: Section(**{**one, "tables": [Table(**table) for table in one["tables"]]})
        for one in json.loads(path.read_text(encoding="utf-8"))
    }


def save(path: Path, sections: Mapping[str, Section], order: Sequence[str], remarks: str = "") -> None:
    """Write the figures to `path` and the document to the same name with `.md`."""
    ordered = sorted(sections.values(), key=lambda one: (order.index(one.key.split()[0]), one.key))
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps([asdict(one) for one in ordered], ensure_ascii=False, indent=1)
    path.write_text(text + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(document(ordered, remarks), encoding="utf-8")


def document(sections: Sequence[Section], remarks: str = "") -> str:
    """Lay out sections.

    Args:
        sections: in their order.
        remarks: a person's words, under a heading `## key` for each section they speak of; what stands before the
            first heading speaks of all.
    """
    head, *said = re.split(r"^## +(.+)\n", remarks, flags=re.MULTILINE)
    words = dict(zip(said[::2], said[1::2], strict=True))
    lines = ["# Results", "", INTRODUCTION]
    lines += [head.strip(), ""] if head.strip() else []
    lines += ["## What was compared", "", *_rows([["tool", "version", "conditions"], *_tools(sections)]), ""]
    missed = [sentence for one in sections for table in one.tables for sentence in table.missed()]
    lines += ["## What is missed", "", *([f"- {each}" for each in missed] or ["Nothing."]), ""]
    for one in sections:
        lines += [
            f"## {one.key}",
            "",
            f"{one.date}, {one.code}, `{one.command}`: {one.conditions}.  ",
            f"{one.machine}.",
            "",
        ]
        lines += [f"Not installed: {', '.join(one.absent)}.", ""] if one.absent else []
        lines += [words[one.key].strip(), ""] if words.get(one.key, "").strip() else []
        for table in one.tables:
            lines += [f"### {table.title}", ""]
            lines += [table.note, ""] if table.note else []
            lines += [*_rows(table.cells), ""]
    lines += ["## The command lines", "", "```"]
    for step, commands in _command_lines(sections).items():
        lines += [f"# {step}", *commands]
    return "\n".join([*lines, "```", ""])


def _tools(sections: Sequence[Section]) -> list[list[str]]:
    """Return each tool once; a version that differs between sections stands in a row of its own."""
    found = {(name, version): [name, version, words] for one in sections for name, version, words in one.tools}
    return list(found.values())


def _command_lines(sections: Sequence[Section]) -> dict[str, list[str]]:
    """Return the command lines of each tool and step once: numbers of versions aside, sections do not differ in them."""
    return {step: commands for one in reversed(sections) for step, commands in one.command_lines.items()}


def _rows(cells: Sequence[Sequence[str]]) -> list[str]:
    head, *rows = cells
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
