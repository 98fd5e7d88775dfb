"""How the `storage` commands show what was done: lines for people, a document under `--json`, a bar while it goes on."""

import json
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TextIO

import msgspec
from rich import progress as rich_progress
from rich.console import Console

from mediavault.errors import MediaVaultError
from mediavault.hosting.checking import Checked, Finding
from mediavault.hosting.classes import Held
from mediavault.hosting.copying import Copied
from mediavault.hosting.restoring import Restored
from mediavault.hosting.tiering import Policy, Tiered
from mediavault.progress import SILENT, Progress
from mediavault_backends.multi_mend import Difference
from mediavault_server.storage_price import Pricer

LINE_EVERY: Final = 5.0
"""Seconds between lines of progress, where there is no terminal to draw a bar on."""

_UNITS: Final = ("KiB", "MiB", "GiB", "TiB")


class Bar:
    """A bar on a terminal's stderr."""

    def __init__(self) -> None:
        self._bar: rich_progress.Progress | None = None

    def start(self, total: int | None, unit: str, label: str) -> None:
        """Begin a piece of work of `total` bytes."""
        del unit
        self._bar = rich_progress.Progress(
            rich_progress.TextColumn("{task.description}", markup=False),
            rich_progress.BarColumn(),
            rich_progress.DownloadColumn(binary_units=True),
            rich_progress.TransferSpeedColumn(),
            rich_progress.TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._bar.add_task(label, total=total)
        self._bar.start()

    def advance(self, amount: int) -> None:
        """Tell that `amount` more bytes are done."""
        if self._bar is not None:
            self._bar.advance(self._bar.task_ids[0], amount)

    def done(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


class Lines:
    """A line on stderr now and then; work that is soon done writes none."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._total: int | None = None
        self._label = ""
        self._amount = 0
        self._next = 0.0
        self._lock = threading.Lock()

    def start(self, total: int | None, unit: str, label: str) -> None:
        """Begin a piece of work of `total` bytes."""
        del unit
        self._total, self._label, self._amount = total, label, 0
        self._next = time.monotonic() + LINE_EVERY

    def advance(self, amount: int) -> None:
        """Tell that `amount` more bytes are done."""
        with self._lock:
            self._amount += amount
            if time.monotonic() < self._next:
                return
            self._next = time.monotonic() + LINE_EVERY
            whole = f" of {byte_size(self._total)}" if self._total else ""
            self._stream.write(f"{self._label}: {byte_size(self._amount)}{whole}\n")
            self._stream.flush()

    def done(self) -> None:
        """End it."""


def progress_for(*, quiet: bool) -> Progress:
    """Return where long work reports how far it is."""
    if quiet:
        return SILENT
    return Bar() if sys.stderr.isatty() else Lines(sys.stderr)


def byte_size(count: int) -> str:
    """Return a size in the largest unit that leaves at least one whole: `1.5 GiB`."""
    if count < 1024:
        return f"{count} B"
    size, steps = count / 1024, 0
    while size >= 999.5 and steps < len(_UNITS) - 1:
        size, steps = size / 1024, steps + 1
    return f"{size:.1f} {_UNITS[steps]}"


def show_copy(reports: Iterable[Copied], source: str, target: str, *, pricer: Pricer | None, as_json: bool) -> bool:
    """Show a copy, each repository when it is done; return whether nothing was damaged.

    With a `pricer` it is a dry run, and what the copy would cost is shown too.
    """
    shown, dry_run = [], pricer is not None
    done = "to copy" if dry_run else "copied"
    for report in reports:
        shown.append(report)
        for damage in report.damage:
            _say(f"damaged: {damage}")
        for key in report.kept:
            _say(f"warning: only {target} has {key}; whoever knows its secret can still open that repository there.")
        if not as_json:
            moved = f", {_counted(report.refs, 'ref')} {'to move' if dry_run else 'moved'}" if report.refs else ""
            left = ", NOT FINISHED: the source is damaged" if report.damage else ""
            sent = f"{_counted(report.objects, 'object')} ({byte_size(report.bytes)}) {done}"
            _line(f"{report.name}: {sent}, {report.there:,} there already{moved}{left}")
    objects, size = sum(report.objects for report in shown), sum(report.bytes for report in shown)
    there, refs = sum(report.there for report in shown), sum(report.refs for report in shown)
    fine = not any(report.damage for report in shown)
    costs = pricer(objects, size) if pricer else {}
    if as_json:
        document = {
            "source": source,
            "destination": target,
            "dry_run": dry_run,
            "complete": fine and not dry_run,
            "objects": objects,
            "bytes": size,
            "there": there,
            "refs": refs,
            "repositories": msgspec.to_builtins(shown),
        }
        if pricer:
            document["costs"] = {side: one.document() if one else None for side, one in costs.items()}
        _document(document)
    else:
        many = "1 repository" if len(shown) == 1 else f"{len(shown):,} repositories"
        _line(
            f"{many}: {_counted(objects, 'object')} ({byte_size(size)}) {done} from {source} to {target}, {there:,} there already."
        )
        for side, one in costs.items():
            _line(f"{side.capitalize()}: {' '.join(one.words()) if one else 'no price known.'}")
    return fine


def show_check(reports: Iterable[Checked], place: str, against: str, *, as_json: bool) -> Sequence[Finding]:
    """Show checks and comparisons, each repository when it is done; return what was found."""
    shown = []
    for report in reports:
        shown.append(report)
        if as_json:
            continue
        for finding in report.findings:
            where = f" (object {finding.object})" if finding.object else ""
            at = "" if finding.offset is None else f", at byte {finding.offset}"
            _line(f"{finding.what}: {finding.key}{at}{where}: {finding.reason}")
        held = f"{_counted(report.packs, 'pack')} ({byte_size(report.bytes)}) and {_counted(report.others, 'other object')}"
        what = f"compared with {against}" if report.compared else "checked"
        result = f"{len(report.findings):,} found wrong" if report.findings else "all as it should be"
        _line(f"{report.name}: {held} {what}: {result}")
    findings = [finding for report in shown for finding in report.findings]
    if as_json:
        _document({"store": place, "against": against, "ok": not findings, "repositories": msgspec.to_builtins(shown)})
    return findings


def show_tiers(reports: Iterable[Tiered], policy: Policy, *, dry_run: bool, as_json: bool) -> None:
    """Show what was moved between classes, each repository when it is done."""
    shown = []
    done = "to move" if dry_run else "moved"
    for report in reports:
        shown.append(report)
        if report.archived.packs:
            _say(
                f"warning: {report.name}: {_held(report.archived)} needed by branches or tags cannot be read: run"
                f" `mediagit-server storage restore --project {report.name}`."
            )
        if not as_json:
            kept = f", {_held(report.needed_again)} needed again" if report.needed_again.packs else ""
            gone = f", {_held(report.gone)} gone meanwhile" if report.gone.packs else ""
            moves = f"{_held(report.to_cold)} {done} to {policy.cold}, {_held(report.to_hot)} to {policy.hot}"
            _line(f"{report.name}: {moves}{kept}{gone}")
    sums = {
        name: sum((getattr(report, name) for report in shown), Held()) for name in ("to_cold", "to_hot", "archived")
    }
    before, after = _by_class(report.before for report in shown), _by_class(report.after for report in shown)
    if as_json:
        document = {
            "dry_run": dry_run,
            "cold": policy.cold,
            "hot": policy.hot,
            **msgspec.to_builtins({**sums, "before": before, "after": after, "repositories": shown}),
        }
        _document(document)
        return
    for name in sorted({*before, *after}):
        _line(
            f"{name}: {_held(before.get(name, Held()))} before, {_held(after.get(name, Held()))} {'then' if dry_run else 'now'}"
        )


def show_waiting(reports: Iterable[Restored], seconds: float, *, quiet: bool) -> None:
    """Say what is waited for."""
    left = sum((report.asked + report.under_way for report in reports), Held())
    if not quiet:
        _say(f"{_held(left)} on the way; looking again in {seconds:.0f} s")


def show_restores(reports: Iterable[Restored], *, dry_run: bool, as_json: bool) -> None:
    """Show how far archived packs are."""
    shown = list(reports)
    if as_json:
        document = {"dry_run": dry_run, "done": all(report.done for report in shown)}
        _document({**document, "repositories": msgspec.to_builtins(shown)})
        return
    for report in shown:
        asked = f"{_held(report.asked)} {'to be asked for' if dry_run else 'asked for'}"
        gone = f", {_held(report.gone)} gone meanwhile" if report.gone.packs else ""
        more = "; these tell which others are needed: run the command again when they are ready" if report.more else ""
        _line(f"{report.name}: {asked}, {_held(report.under_way)} under way, {_held(report.ready)} ready{gone}{more}")


def show_healed(differences: Iterable[Difference], pair: str, *, dry_run: bool, as_json: bool) -> Sequence[Difference]:
    """Show in what two stores differ, each key when it was seen to; return all of it."""
    shown = []
    for found in differences:
        shown.append(found)
        if not as_json:
            reason = f": {found.reason}" if found.reason else ""
            end = ", mended" if found.mended else "" if dry_run or found.what == "archived" else ", NOT MENDED"
            _line(f"{found.what} at {found.store}: {found.key} ({byte_size(found.size)}){reason}{end}")
    mended = Held(sum(found.mended for found in shown), sum(found.size for found in shown if found.mended))
    if as_json:
        document = {"store": pair, "dry_run": dry_run, "equal": all(found.mended for found in shown)}
        _document(
            {**document, "mended": mended.packs, "bytes": mended.bytes, "differences": [f._asdict() for f in shown]}
        )
    elif not shown:
        _line(f"{pair}: both hold the same")
    else:
        _line(f"{pair}: {_counted(len(shown), 'object')} differed, {mended.packs:,} mended ({byte_size(mended.bytes)})")
    return shown


def show_error(error: MediaVaultError, code: int, *, as_json: bool) -> None:
    """Say what happened, what is untouched and what to do next; under `--json` as a document too."""
    sys.stdout.flush()
    lines = [f"error: {error.message}"]
    lines += [f"       {error.untouched}"] if error.untouched else []
    lines += [f"  next: {error.hint}"] if error.hint else []
    for line in lines:
        _say(line)
    if as_json:
        words = {"message": error.message, "untouched": error.untouched, "hint": error.hint, "exit_code": code}
        _document({"error": words})


def _by_class(classes: Iterable[Mapping[str, Held]]) -> dict[str, Held]:
    found: dict[str, Held] = {}
    for one in classes:
        for name, held in one.items():
            found[name] = found.get(name, Held()) + held
    return found


def _held(held: Held) -> str:
    return f"{_counted(held.packs, 'pack')} ({byte_size(held.bytes)})"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _line(text: str) -> None:
    sys.stdout.write(f"{_harmless(text)}\n")
    sys.stdout.flush()


def _say(text: str) -> None:
    sys.stderr.write(f"{_harmless(text)}\n")


def _document(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2).replace("\x7f", "\\u007f") + "\n")


def _harmless(text: str) -> str:
    """Return words without what a terminal would obey: they may quote keys and answers of any origin."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
