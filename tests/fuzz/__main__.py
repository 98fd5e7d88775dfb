"""`python -m tests.fuzz TARGET --seconds N`: look for inputs that break a target's promises, guided by coverage.

Needs atheris (`requirements/fuzz.txt`). New inputs go to a scratch folder; `--keep` merges those that reach more code
than the kept ones into `corpora/TARGET`; one that breaks something stays in `found/TARGET`, for good. Only Python code is instrumented: msgspec, zstandard, blake3 and cryptography
are called but not looked into.
"""

import argparse
import importlib
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

CORPORA = Path(__file__).parent / "corpora"
FOUND = Path(__file__).parent / "found"
INSTRUMENTED = ["mediavault", "mediavault_server", "mediavault_backends", "pathspec", "tomllib"]
HUNG_SECONDS = 20
MEMORY_MIB = 1024


def main() -> int:
    """Fuzz one target, or every one after another; returns 1 when something was found."""
    options = _parser().parse_args()
    if options.inside is not None:
        _fuzz(options.target, options.inside)
        return 0
    from tests.fuzz.targets import TARGETS

    names = sorted(TARGETS) if options.target == "all" else [options.target]
    if unknown := [name for name in names if name not in TARGETS]:
        sys.exit(f"No target {unknown[0]!r}; there are: all, {', '.join(sorted(TARGETS))}.")
    return max(_run(name, TARGETS[name].seeds, TARGETS[name].longest, options) for name in names)


def _run(name: str, seeds: tuple[bytes, ...], longest: int, options: argparse.Namespace) -> int:
    kept = CORPORA / name
    found = FOUND / name
    for own in (kept, found):
        own.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"fuzz-{name}-") as folder:
        fresh, start = Path(folder) / "new", Path(folder) / "seeds"
        fresh.mkdir()
        start.mkdir()
        for number, seed in enumerate(seeds):
            (start / str(number)).write_bytes(seed)
        limits = [f"-max_len={longest}", f"-timeout={HUNG_SECONDS}", f"-rss_limit_mb={MEMORY_MIB}"]
        search = [f"-max_total_time={options.seconds}", "-print_final_stats=1", f"-artifact_prefix={found}/"]
        code = _inside(name, [*limits, *search, str(fresh), str(kept), str(start)], folder)
        if options.keep and not code:
            smallest = Path(folder) / "smallest"
            smallest.mkdir()
            code = _inside(name, ["-merge=1", *limits, str(smallest), str(kept), str(start), str(fresh)], folder)
            if not code:
                _replace(kept, smallest)
    return 1 if code else 0


def _inside(name: str, arguments: list[str], scratch: str) -> int:
    """Run libFuzzer in a process of its own: it ends the process that it runs in."""
    command = [sys.executable, "-m", "tests.fuzz", name, "--inside", *arguments]
    return subprocess.run(command, env={**os.environ, "TMPDIR": scratch}, check=False).returncode


def _replace(kept: Path, smallest: Path) -> None:
    for old in kept.iterdir():
        old.unlink()
    for new in smallest.iterdir():
        (kept / new.name).write_bytes(new.read_bytes())


def _fuzz(name: str, arguments: list[str]) -> None:
    atheris = importlib.import_module("atheris")  # only here: what replays the corpora does without it

    with atheris.instrument_imports(include=INSTRUMENTED):
        from tests.fuzz.targets import TARGETS, attempt
    target = TARGETS[name]
    with target.opened() as check:
        again = shlex.join([sys.executable, "-m", "tests.fuzz", name, "--inside"])  # a merge starts itself anew
        atheris.Setup([again, *arguments], lambda data: attempt(target, check, data) and None)
        atheris.Fuzz()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("target", help="a target's name, or 'all'")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--keep", action="store_true", help="keep the smallest inputs that reach all code")
    parser.add_argument("--inside", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
