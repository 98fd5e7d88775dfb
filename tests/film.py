"""A checkout and the commands in it, run inside this process: what the installed command does, without its start-up."""

import contextlib
import io
import json
import os
from pathlib import Path
from typing import Any
from unittest import mock

from mediavault.cli.dispatch import run


class Film:
    """A repository's folder; call it with a command line to run that there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.output = self.errors = ""

    def __call__(
        self, *arguments: str | Path, exit_code: int = 0, cwd: Path | None = None, env: dict[str, str] | None = None
    ) -> str:
        """Run a command; return its stdout, or its stderr where it is to fail. `errors` and `output` hold both either way."""
        code = self.attempt(*arguments, cwd=cwd, env=env)
        assert code == exit_code, f"{arguments} exited {code}, not {exit_code}\n{self.output}\n{self.errors}"
        return self.errors if exit_code else self.output

    def attempt(self, *arguments: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None) -> int:
        """Run a command, however it ends; return its exit code."""
        out, err = io.StringIO(), io.StringIO()
        before = Path.cwd()
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            mock.patch.dict(os.environ, env or {}),
            mock.patch("sys.stdin", io.StringIO()),
        ):
            try:
                code = run(["-C", str(cwd or self.root), *map(str, arguments)])
            finally:
                os.chdir(before)
        self.errors, self.output = err.getvalue(), out.getvalue()
        assert "Traceback" not in self.errors, self.errors
        return code

    def json(self, *arguments: str | Path, **options: Any) -> Any:
        """Run a command and return its document."""
        return json.loads(self(arguments[0], "--json", *arguments[1:], **options))

    def status(self) -> dict[str, list[str]]:
        """Return the lists of the status that are not empty."""
        found = self.json("status")
        return {key: found[key] for key in ("staged", "modified", "deleted", "untracked") if found[key]}

    def write(self, path: str, content: str | bytes) -> Path:
        """Write a working file."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    def read(self, path: str) -> str:
        """Return a working file's text."""
        return (self.root / path).read_text()


def new_film(root: Path, *flags: str) -> Film:
    """Make a repository."""
    root.mkdir(parents=True, exist_ok=True)
    film = Film(root)
    film("init", *flags, ".")
    return film
