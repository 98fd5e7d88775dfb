"""Answers a shell that wants to complete a command line: verbs, flags, and names where they are cheap to find.

The shell calls `mediagit __complete SHELL LINE`, where LINE is what stands before the cursor. The answer's first line
says what the rest is: `words`, or `files`, where the shell is to offer files itself; then one candidate a line, with
a tab and a few words behind it where the shell can show them. Nothing is changed, no key is needed, and what cannot be
read is left out: a completion never fails.
"""

import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

from mediavault import compose
from mediavault.cli import session
from mediavault.cli.dispatch import VERBS, load
from mediavault.cli.exit_codes import ExitCode
from mediavault.errors import MediaVaultError
from mediavault.workspace.layout import Layout
from mediavault_backends.errors import BackendError

_GLOBAL_FLAGS: Final = {"-C": "work in this folder", "--debug": "show tracebacks", "--version": "", "--help": ""}
_MOST: Final = 2000
"""Candidates after which nobody looks any more."""
_BREAKS: Final = ":="
"""Where bash cuts words besides white space; it wants only what comes behind them."""


class Candidate(NamedTuple):
    """A word that may stand where the cursor is, and what it means."""

    word: str
    words: str = ""


class Offer(NamedTuple):
    """What to offer; with `files` the shell adds the files that it sees."""

    candidates: Sequence[Candidate] = ()
    files: bool = False


class _Where(NamedTuple):
    """Where completion happens: the environment, and the folder that the command would work in."""

    variables: Mapping[str, str]
    folder: Path

    def layout(self) -> Layout:
        return Layout.find(self.folder)


def answer(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Write the candidates for a shell and a line; silent where there is nothing to offer."""
    if len(arguments) != 2:
        return ExitCode.USAGE
    shell, line = arguments
    words = split_line(line)
    try:
        offer = offer_for(words, environ)
    except (MediaVaultError, BackendError, OSError, ValueError):
        offer = Offer(files=True)
    typed = words[-1]
    cut = 1 + max(typed.rfind(mark) for mark in _BREAKS) if shell == "bash" else 0
    sys.stdout.write("files\n" if offer.files else "words\n")
    fitting = (candidate for candidate in offer.candidates if candidate.word.startswith(typed))
    for word, meaning in islice(fitting, _MOST):
        if word.isprintable():
            sys.stdout.write(f"{word[cut:]}\t{meaning}\n" if meaning and shell != "bash" else f"{word[cut:]}\n")
    return ExitCode.OK


def split_line(line: str) -> list[str]:
    """Return the words of an unfinished command line after `mediagit`; the last is the one being typed, perhaps empty."""
    for closing_quote in ("", "\\", '"', "'"):
        try:
            words = shlex.split(line + closing_quote)
            break
        except ValueError:
            continue
    else:
        words = line.split()
    if not closing_quote and (not line or line[-1].isspace()) and not line.endswith("\\ "):
        words.append("")
    return words[1:] or [""]


def offer_for(words: Sequence[str], environ: Mapping[str, str]) -> Offer:
    """Return what may stand in the place of the last word.

    Raises:
        MediaVaultError: what would have to be looked up cannot be.
    """
    folder = session.here()
    at = 0
    while at < len(words) - 1 and words[at].startswith("-"):
        if words[at] == "-C" and at + 1 < len(words) - 1:
            folder /= words[at + 1]
            at += 1
        elif words[at] == "-C":
            return Offer(files=True)
        at += 1
    rest = words[at:]
    if len(rest) == 1:
        offered = _GLOBAL_FLAGS if rest[0].startswith("-") else VERBS
        return Offer([Candidate(*pair) for pair in offered.items()])
    if rest[0] == "help":
        return Offer([Candidate(*pair) for pair in VERBS.items()])
    if rest[0] not in VERBS:
        return Offer()
    return _Line(rest[0], load(rest[0]), rest[1:], _Where(environ, folder)).offer()


class _Line:
    """A verb and the words behind it."""

    def __init__(self, verb: str, command: Any, words: Sequence[str], where: _Where) -> None:
        self._path = verb
        self._command = command
        self._words = words
        self._where = where

    def offer(self) -> Offer:
        *before, typed = self._words
        positional: list[str] = []
        awaiting = None
        dashes = False
        for at, word in enumerate(before):
            if awaiting is not None:
                awaiting = None
            elif dashes or word == "-" or not word.startswith("-"):
                children = getattr(self._command, "commands", {})
                if word in children:
                    return _Line(f"{self._path} {word}", children[word], self._words[at + 1 :], self._where).offer()
                positional.append(word)
            elif word == "--":
                dashes = True
            else:
                awaiting = self._takes_value(word)
        if awaiting is not None:
            return self._values(awaiting, [], typed)
        if typed.startswith("-") and not dashes:
            return self._flags(typed)
        if dashes and "paths" in _KINDS.get((self._path, "--"), "paths"):
            return _look("paths", self._where, typed)
        return self._arguments(positional, typed)

    def _takes_value(self, flag: str) -> Any:
        """Return the option that the next word is the value of; None when the flag is complete."""
        if "=" in flag:
            return None
        names = [flag] if flag.startswith("--") else [f"-{flag[-1]}"]
        for parameter in self._command.params:
            if parameter.param_type_name == "option" and not parameter.is_flag and set(names) & set(parameter.opts):
                return parameter
        return None

    def _flags(self, typed: str) -> Offer:
        name, equals, value = typed.partition("=")
        if equals:
            option = self._takes_value(name)
            found = self._values(option, [], value) if option is not None else Offer()
            return Offer([Candidate(f"{name}={word}", meaning) for word, meaning in found.candidates], found.files)
        candidates = [
            Candidate(option, parameter.help or "")
            for parameter in self._command.params
            if parameter.param_type_name == "option" and not parameter.hidden
            for option in parameter.opts
        ]
        return Offer([*candidates, Candidate("--help", "Show how it is used.")])

    def _arguments(self, positional: list[str], typed: str) -> Offer:
        children = getattr(self._command, "commands", {})
        if children:
            return Offer([Candidate(name, child.get_short_help_str(80)) for name, child in children.items()])
        arguments = [one for one in self._command.params if one.param_type_name == "argument"]
        number = len(positional)
        for argument in arguments:
            if argument.nargs == -1 or not number:
                return self._values(argument, positional[len(positional) - number :], typed)
            number -= 1
        return Offer()

    def _values(self, parameter: Any, before: list[str], typed: str) -> Offer:
        kinds = _KINDS.get((self._path, parameter.name)) or _COMMON.get(parameter.name, "")
        if " then " in kinds:
            first, _, later = kinds.partition(" then ")
            kinds = later if before else first
        return _look(kinds, self._where, typed)


def _look(kinds: str, where: _Where, typed: str) -> Offer:
    candidates: list[Candidate] = []
    files = False
    for kind in kinds.split():
        if kind in ("files", "folders"):
            files = True
            continue
        try:
            candidates += _LOOKUPS[kind](where, typed)
        except (MediaVaultError, BackendError, OSError, ValueError):
            continue
    return Offer(candidates, files)


def _refs(where: _Where, prefix: str) -> Iterator[str]:
    """Yield the names of refs that point somewhere; their seals are not checked: nothing is done with them."""
    from mediavault.formats.ref import decode_ref_value  # noqa: PLC0415 -- most completions need no refs
    from mediavault.refs.blobs import list_blobs  # noqa: PLC0415 -- as above

    for blob in list_blobs(compose.local_backend(where.layout()), prefix):
        if decode_ref_value(blob.value_bytes).target is not None:
            yield blob.name.removeprefix(prefix)


def _branches(where: _Where, _: str) -> Iterable[Candidate]:
    return [Candidate(name, "branch") for name in _refs(where, "heads/")]


def _tags(where: _Where, _: str) -> Iterable[Candidate]:
    return [Candidate(name, "tag") for name in _refs(where, "tags/")]


def _tracking(where: _Where, _: str) -> Iterable[Candidate]:
    return [Candidate(name, "branch of a server") for name in _refs(where, "remotes/")]


def _ranges(where: _Where, typed: str) -> Iterable[Candidate]:
    dots = "..." if "..." in typed else ".."
    first, found, _ = typed.partition(dots)
    if not found:
        return ()
    names = [*_refs(where, "heads/"), *_refs(where, "tags/"), *_refs(where, "remotes/"), "HEAD"]
    return [Candidate(f"{first}{dots}{name}") for name in names]


def _head(_: _Where, __: str) -> Iterable[Candidate]:
    return [Candidate("HEAD", "what is checked out")]


def _remotes(where: _Where, _: str) -> Iterable[Candidate]:
    from mediavault.config import load_settings  # noqa: PLC0415 -- most completions need no settings

    settings = load_settings(where.variables, repository=where.layout().settings_file).settings
    return [Candidate(name, remote.url) for name, remote in sorted(settings.remote.items())]


def _keys(where: _Where, _: str) -> Iterable[Candidate]:
    from mediavault.config import known_keys, load_settings  # noqa: PLC0415 -- as above

    found = [Candidate(key.pattern) for key in known_keys() if "*" not in key.pattern]
    try:
        layout: Layout | None = where.layout()
    except MediaVaultError:
        layout = None
    loaded = load_settings(where.variables, repository=layout.settings_file if layout else None)
    return [*found, *(Candidate(key) for key in loaded.values if key not in {one.word for one in found})]


def _slots(where: _Where, _: str) -> Iterable[Candidate]:
    return [Candidate(name) for name in compose.read_slots(compose.local_backend(where.layout()))]


def _shells(_: _Where, __: str) -> Iterable[Candidate]:
    return [Candidate(name) for name in ("bash", "zsh", "fish")]


def _paths(where: _Where, typed: str) -> Iterable[Candidate]:
    """Return tracked names one level at a time: the folder that is typed already, and what is right inside it."""
    from mediavault.workspace.paths import repository_path  # noqa: PLC0415 -- as above
    from mediavault.workspace.stage import Stage  # noqa: PLC0415 -- as above

    layout = where.layout()
    if not layout.stage_file.exists():
        return ()
    typed_folder = typed[: typed.rfind("/") + 1]
    folder = repository_path(layout.root, where.folder, typed_folder or ".")
    with closing(Stage(layout.stage_file)) as stage:
        children = stage.children(folder)
    return [
        *(Candidate(f"{typed_folder}{name}") for name in children.rows),
        *(Candidate(f"{typed_folder}{name}/") for name in children.folders),
    ]


def _paths_in(where: _Where, typed: str) -> Iterable[Candidate]:
    """Return `REV:PATH`, of what is tracked now: looking into a commit would need its key."""
    revision, colon, path = typed.partition(":")
    if not colon:
        return ()
    root = _Where(where.variables, where.layout().root)
    return [Candidate(f"{revision}:{word}") for word, _ in _paths(root, path)]


_LOOKUPS: Final[dict[str, Callable[[_Where, str], Iterable[Candidate]]]] = {
    "branches": _branches,
    "tags": _tags,
    "tracking": _tracking,
    "ranges": _ranges,
    "head": _head,
    "remotes": _remotes,
    "settings": _keys,
    "slots": _slots,
    "shells": _shells,
    "paths": _paths,
    "paths-in": _paths_in,
}
_REVISIONS: Final = "branches tags tracking head"
NOTHING: Final = "nothing"
"""A new name, a message, a number: what only the user knows."""
_LOOKUPS[NOTHING] = lambda _, __: ()

_COMMON: Final = {
    "passphrase_file": "files",
    "new_passphrase_file": "files",
    "message": NOTHING,
    "limit": NOTHING,
    "largest": NOTHING,
    "skip": NOTHING,
    "since": NOTHING,
    "until": NOTHING,
    "author": NOTHING,
    "grep": NOTHING,
    "form": NOTHING,
    "unified": NOTHING,
    "source": _REVISIONS,
}
_KINDS: Final[dict[tuple[str, str], str]] = {
    ("init", "folder"): "files",
    ("clone", "url"): NOTHING,
    ("clone", "folder"): "files",
    ("clone", "branch"): NOTHING,
    ("status", "paths"): "files",
    ("add", "paths"): "files",
    ("restore", "paths"): "paths",
    ("rm", "paths"): "paths",
    ("mv", "paths"): "paths",
    ("log", "words"): f"{_REVISIONS} ranges files",
    ("show", "words"): f"{_REVISIONS} paths",
    ("diff", "words"): f"{_REVISIONS} ranges files",
    ("cat", "path"): f"paths paths-in {_REVISIONS}",
    ("ls", "words"): f"{_REVISIONS} paths",
    ("branch", "names"): f"branches then {_REVISIONS}",
    ("switch", "branch"): _REVISIONS,
    ("switch", "start"): _REVISIONS,
    ("tag", "names"): f"tags then {_REVISIONS}",
    ("remote add", "name"): NOTHING,
    ("remote add", "url"): NOTHING,
    ("remote set-url", "name"): "remotes",
    ("remote set-url", "url"): NOTHING,
    ("remote get-url", "name"): "remotes",
    ("remote remove", "name"): "remotes",
    ("remote rename", "old"): "remotes",
    ("remote rename", "new"): NOTHING,
    ("push", "remote"): "remotes",
    ("push", "refs"): "branches tags",
    ("fetch", "remote"): "remotes",
    ("pull", "remote"): "remotes",
    ("stats", "name"): "remotes",
    ("mirror", "source"): "remotes",
    ("mirror", "destination"): "remotes",
    ("mirror", "bandwidth"): NOTHING,
    ("pull", "branch"): "branches",
    ("verify", "remote"): "remotes",
    ("gc", "keep_days"): NOTHING,
    ("key list", "remote"): "remotes",
    ("key add", "name"): NOTHING,
    ("key add", "label"): NOTHING,
    ("key remove", "name"): "slots",
    ("config get", "key"): "settings",
    ("config set", "key"): "settings",
    ("config set", "value"): NOTHING,
    ("config unset", "key"): "settings",
    ("completion", "shell"): "shells",
}
"""What the arguments and flags of the verbs take, by verb and parameter; a test asks for every one of them."""


def kinds_of(path: str, parameter: str) -> str | None:
    """Return what a parameter of a verb takes; None where nobody thought of it."""
    return _KINDS.get((path, parameter)) or _COMMON.get(parameter)
