"""`python -m tests.services install`: fetch every server that the tests under tests/services run."""

import importlib
import sys
from pathlib import Path

SERVICES = Path(__file__).resolve().parents[2] / ".services"
NAMES = ("seaweed", "azurite", "minio", "fake_gcs")


def main(arguments: list[str]) -> int:
    """Install the named servers, or all of them."""
    if not arguments or arguments[0] != "install" or not set(arguments[1:]) <= set(NAMES):
        sys.stderr.write(f"usage: python -m tests.services install [{'|'.join(NAMES)}]...\n")
        return 2
    SERVICES.mkdir(exist_ok=True)
    for name in arguments[1:] or NAMES:
        print(f"{name}: installing", flush=True)
        importlib.import_module(f"tests.services.{name}").install(SERVICES)
        print(f"{name}: there", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
