"""mediagit version: the version and what it runs on."""

import platform
from importlib import metadata

from mediavault.cli.exit_codes import ExitCode
from mediavault.cli.main import VERSION
from mediavault.cli.verb import Context, verb_app
from mediavault.formats.config import FORMAT_VERSION

app = verb_app()
_LIBRARIES = ("blake3", "cryptography", "msgspec", "pyfastcdc", "urllib3", "zstandard")


@app.command()
def version(ctx: Context) -> int:
    """Show the version, the repository format, and what it runs on.

    Put this into every report of a fault. `mediagit --version` tells the version alone.

    \b
    mediagit version         for people
    mediagit version --json  for scripts
    """  # noqa: D301 -- a backspace keeps the lines of a paragraph
    console = ctx.obj.console
    libraries = {name: metadata.version(name) for name in _LIBRARIES}
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    if console.json:
        console.document(
            {
                "version": VERSION,
                "format": FORMAT_VERSION,
                "python": platform.python_version(),
                "system": system,
                "libraries": libraries,
            }
        )
        return ExitCode.OK
    console.line(f"mediagit {VERSION}, repository format {FORMAT_VERSION}")
    console.line(f"Python {platform.python_version()} on {system}")
    console.line(", ".join(f"{name} {number}" for name, number in libraries.items()))
    return ExitCode.OK
