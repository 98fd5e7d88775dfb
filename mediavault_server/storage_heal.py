"""`mediagit-server storage heal`: makes the two stores of a pair whole again, and says with its exit code whether they are."""

import argparse
from collections.abc import Iterable
from typing import Final

from mediavault.errors import UsageError
from mediavault.hosting.healing import heal_pair
from mediavault_backends.api import Backend
from mediavault_backends.multi import MultiBackend
from mediavault_backends.multi_mend import Difference
from mediavault_server.storage_report import progress_for, show_healed

DESCRIPTION: Final = (
    'Compares the two stores of backend = "multi" byte by byte, and gives each what it lacks or has damaged from the other.'
    " Nothing that is damaged is copied. Exits 5 if something damaged or different is left, 1 if something is missing still."
)
_DAMAGED: Final = 5
_DIFFERENT: Final = 1


def heal(options: argparse.Namespace, store: Backend) -> int:
    """Mend a pair; returns the exit code.

    Raises:
        UsageError: the store is no pair.
        BackendError: a store failed.
    """
    if not isinstance(store, MultiBackend):
        raise UsageError(
            f"{store.name} is one store: there is no other to mend it from.",
            untouched="Nothing was changed.",
            hint='`storage heal` is for backend = "multi"; `storage copy` fills a store from a copy.',
        )
    differences = heal_pair(store, progress=progress_for(quiet=options.json), dry_run=options.dry_run)
    return exit_code(show_healed(differences, store.name, dry_run=options.dry_run, as_json=options.json))


def exit_code(differences: Iterable[Difference]) -> int:
    """Return what is left: 5 for damage, 1 for what is only missing, 0 for nothing."""
    left = {difference.what for difference in differences if not difference.mended} - {"archived"}
    if left & {"damaged", "different"}:
        return _DAMAGED
    return _DIFFERENT if left else 0
