"""The `mediagit` command's entry point; everything but `--version` is left to `mediavault.cli.dispatch`."""

import sys

VERSION = "0.1.0"


def main() -> None:
    """Run the command line of this process and exit with its code."""
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write(f"mediagit {VERSION}\n")
        return
    from mediavault.cli.dispatch import run  # noqa: PLC0415 -- `--version` answers before anything is imported

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
