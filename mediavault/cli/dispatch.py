"""Finds the verb, imports only that, runs it, and turns errors into words and exit codes."""

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any, Final, TextIO

from mediavault.cli.exit_codes import ExitCode, exit_code, explain
from mediavault.cli.main import VERSION
from mediavault.cli.render import Console
from mediavault.errors import MediaVaultError, UsageError
from mediavault.interrupts import orderly_interrupts

if TYPE_CHECKING:
    import typer

GROUPS: Final[dict[str, dict[str, str]]] = {
    "Begin": {
        "init": "Make a repository in a folder",
        "clone": "Copy a repository from a server",
    },
    "Every day": {
        "status": "Show what changed since the last commit",
        "add": "Choose what goes into the next commit",
        "commit": "Keep the chosen state for good",
        "restore": "Bring back files from a commit",
        "rm": "Remove files from the project",
        "mv": "Move or rename files",
    },
    "Look back": {
        "log": "List commits, newest first",
        "show": "Show one commit and what it changed",
        "diff": "Show what changed between two states, file by file",
        "cat": "Write a file's content from any commit",
        "ls": "List the files of any commit",
    },
    "Work side by side": {
        "branch": "List, make, rename or delete branches",
        "switch": "Change to another branch",
        "tag": "List, make or delete tags",
    },
    "Share": {
        "remote": "Name the servers this repository is shared with",
        "push": "Send commits to a server",
        "fetch": "Get commits from a server, change no file",
        "pull": "Get commits and bring the files up to date",
        "mirror": "Keep a whole copy of a repository elsewhere up to date",
    },
    "Look after": {
        "verify": "Check that everything stored is intact",
        "gc": "Free the space of what is needed no more",
        "stats": "Show how much is stored and saved",
        "key": "Passphrases and the recovery code",
        "config": "Show and change settings",
        "completion": "Let the Tab key complete verbs and names",
        "version": "Show the version and what it runs on",
    },
}
VERBS: Final[dict[str, str]] = {verb: words for group in GROUPS.values() for verb, words in group.items()}
COMPLETE: Final = "__complete"
"""What a shell's completion script calls; see `mediavault.cli.complete`."""
_GLOBAL_HINT: Final = "Flags before the verb are -C DIR, --debug, --version and --help."


def run(argv: list[str]) -> int:
    """Run one command line and return its exit code; nothing is raised."""
    console = Console()
    debug = "--debug" in argv
    try:
        _tolerate_any_name(sys.stdout)
        _tolerate_any_name(sys.stderr)
        folder, debug, rest = _split_globals(argv)
        if folder:
            _enter(folder)
        with orderly_interrupts():
            code = _answer(rest, console, debug=debug)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing is written at exit either
        return ExitCode.FAILED
    except Exception as error:  # noqa: BLE001 -- the one place where every error becomes words
        return _report(error, console, debug=debug)
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    if code == ExitCode.INTERRUPTED:
        sys.stderr.write("\ninterrupted: nothing that was committed is lost. Run the same command again to continue.\n")
    return code


def _answer(rest: list[str], console: Console, *, debug: bool) -> int:
    if not rest:
        sys.stdout.write(overview())
        return ExitCode.OK
    if rest[0] == "--version":
        sys.stdout.write(f"mediagit {VERSION}\n")
        return ExitCode.OK
    if rest[0] == COMPLETE:
        from mediavault.cli.complete import answer  # noqa: PLC0415 -- only a shell asks

        return answer(rest[1:], os.environ)
    return _run_verb(rest[0], rest[1:], console, debug=debug)


def _tolerate_any_name(stream: TextIO) -> None:
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure:
        reconfigure(errors="backslashreplace")


def _split_globals(argv: list[str]) -> tuple[str, bool, list[str]]:
    folder, debug, at = "", False, 0
    while at < len(argv):
        argument = argv[at]
        if argument == "-C":
            if at + 1 == len(argv):
                raise UsageError("-C needs a folder.", hint=_GLOBAL_HINT)
            folder = os.path.join(folder, argv[at + 1])  # noqa: PTH118 -- several -C add up, as git's do
            at += 1
        elif argument == "--debug":
            debug = True
        elif argument in ("-h", "--help", "help"):
            return folder, debug, [*argv[at + 1 : at + 2], "--help"] if argv[at + 1 : at + 2] else []
        elif argument == "--version" or not argument.startswith("-"):
            return folder, debug, argv[at:]
        else:
            raise UsageError(f"Unknown flag before the verb: {argument}.", hint=_GLOBAL_HINT)
        at += 1
    return folder, debug, []


def _enter(folder: str) -> None:
    try:
        os.chdir(folder)
    except OSError as error:
        raise UsageError(f"Cannot work in {folder}: {error.strerror}.", untouched="Nothing was changed.") from None


def overview() -> str:
    """Return the list of verbs, as `mediagit` alone shows it."""
    lines = ["MediaVault keeps every version of large media files.", "", "mediagit [-C DIR] [--debug] VERB [FLAGS] ..."]
    for group, verbs in GROUPS.items():
        lines += ["", f"{group}:"]
        lines += [f"  {verb:<12}{words}" for verb, words in verbs.items()]
    lines += ["", "`mediagit VERB --help` explains one. After a verb: --json, --quiet, --no-color.", ""]
    return "\n".join(lines)


def _run_verb(verb: str, arguments: list[str], console: Console, *, debug: bool) -> int:
    if verb not in VERBS:
        import difflib  # noqa: PLC0415 -- only when a person made a mistake

        near = difflib.get_close_matches(verb, VERBS, 1, 0.5)
        hint = f"Did you mean `mediagit {near[0]}`?" if near else "`mediagit --help` lists the verbs."
        raise UsageError(f"Unknown verb: {verb}.", untouched="Nothing was changed.", hint=hint)
    # A mistyped verb needs no Typer.
    import typer  # noqa: PLC0415 -- see above

    from mediavault.cli.verb import Invocation  # noqa: PLC0415 -- see above

    command = load(verb)
    invocation = Invocation(environ=os.environ, console=console, debug=debug)
    try:
        result = command.main(arguments, prog_name=f"mediagit {verb}", standalone_mode=False, obj=invocation)
    except typer.TyperException as error:
        message = error.format_message() or "Nothing to do."
        raise UsageError(
            message if message.endswith((".", "?")) else f"{message}.",
            untouched="Nothing was changed.",
            hint=f"`mediagit {verb} --help` shows how it is used.",
        ) from None
    except typer.Abort:
        return ExitCode.INTERRUPTED
    return result if isinstance(result, int) else ExitCode.OK


def load(verb: str) -> Any:
    """Import and build one verb's command, with the flags that all verbs share."""
    import typer  # noqa: PLC0415 -- see _run_verb

    module = importlib.import_module(f"mediavault.cli.commands.{verb}")
    command: Any = typer.main.get_command(module.app)
    _name_values(command)
    _add_shared_flags(command)
    return command


def _name_values(command: Any) -> None:
    """Show what a flag or argument takes in capitals, where its module does not say it."""
    for parameter in command.params:
        name = parameter.name.upper().replace("_", "-")
        if parameter.metavar or getattr(parameter, "is_flag", False):
            continue
        optional = parameter.param_type_name == "argument" and not parameter.required
        parameter.metavar = f"[{name}]" if optional else name
    for child in getattr(command, "commands", {}).values():
        _name_values(child)


def _add_shared_flags(command: Any) -> None:
    from typer.core import TyperOption  # noqa: PLC0415 -- see _run_verb

    def settle(context: "typer.Context", _parameter: object, value: bool) -> None:
        context.obj.console.settle(no_color=value or bool(os.environ.get("NO_COLOR")))

    def want_json(context: "typer.Context", _parameter: object, value: bool) -> None:
        context.obj.console.json = context.obj.console.json or value

    def want_quiet(context: "typer.Context", _parameter: object, value: bool) -> None:
        context.obj.console.quiet = context.obj.console.quiet or value

    for names, callback, words in (
        (["--json"], want_json, "Write one JSON document to stdout."),
        (["--quiet", "-q"], want_quiet, "Write data and errors only."),
        (["--no-color"], settle, "Write no colours."),
    ):
        option = TyperOption(
            param_decls=names, is_flag=True, default=False, expose_value=False, callback=callback, help=words
        )
        command.params.append(option)
    for child in getattr(command, "commands", {}).values():
        _add_shared_flags(child)


def _report(error: Exception, console: Console, *, debug: bool) -> int:
    if debug:
        import traceback  # noqa: PLC0415 -- 7 ms at every start

        traceback.print_exc()
    code = exit_code(error)
    shown = explain(error) or MediaVaultError(
        f"This should not have happened: {type(error).__name__}: {error}".rstrip(": ") + ".",
        untouched="What was committed before is untouched.",
        hint="Run it again with `mediagit --debug ...` and report what it prints.",
    )
    console.error(shown, code)
    return code
