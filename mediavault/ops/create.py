"""Makes a repository in a folder: keys first, and HEAD last, so that a half-made one is none."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mediavault.errors import UsageError
from mediavault.formats.config import RepositoryConfig, encode_config, fingerprint
from mediavault.keys.keystore import KeyStore
from mediavault.ops.unlock import SLOTS
from mediavault.workspace.layout import PRIVATE_FOLDER, Layout
from mediavault_backends import fsio
from mediavault_backends.api import Absent, Backend

FIRST_BRANCH: Final = "main"
PASSPHRASE_SLOT: Final = "passphrase"  # noqa: S105 -- a slot's name, no secret
RECOVERY_SLOT: Final = "recovery"
CONFIG: Final = "config"
"""The key of the repository's config in a backend."""


@dataclass(frozen=True, slots=True)
class CreatePlan:
    """A repository to be made: where, and what it will be."""

    root: Path
    config_bytes: bytes
    repository: bytes
    encrypted: bool


@dataclass(frozen=True, slots=True)
class CreateReport:
    """A repository that was made; `recovery_code` is shown once and stored nowhere."""

    root: Path
    repository: bytes
    fingerprint: bytes
    encrypted: bool
    recovery_code: str


def plan_create(root: Path, *, encrypted: bool) -> CreatePlan:
    """Choose an id and check that the folder can take a repository.

    Raises:
        UsageError: there is one already, or the name is taken by a file.
    """
    if (root / PRIVATE_FOLDER / "HEAD").exists():
        raise UsageError(f"{root} is a repository already.", untouched="Nothing was changed.", hint="mediagit status")
    if os.path.lexists(root) and not root.is_dir():
        raise UsageError(f"{root} is a file.", untouched="Nothing was changed.", hint="Choose another name.")
    if os.path.lexists(root / PRIVATE_FOLDER):
        raise UsageError(
            f"{root / PRIVATE_FOLDER} is there, but is not a whole repository.",
            untouched="Nothing was changed.",
            hint="If a clone was interrupted, run it again. Otherwise move that folder away.",
        )
    repository = os.urandom(16)
    config = encode_config(RepositoryConfig(repository, 1 if encrypted else 0))
    return CreatePlan(root, config, repository, encrypted)


def run_create(
    plan: CreatePlan, backend: Backend, layout: Layout, *, passphrase: str, keys: KeyStore, now: str
) -> CreateReport:
    """Fill an empty layout.

    Args:
        plan: what to make.
        backend: the store inside `layout`, empty.
        layout: stands in a temporary place; the caller moves it to where it belongs.
        passphrase: opens the repository elsewhere; unused for a plain one.
        keys: where this computer keeps the key.
        now: RFC 3339, in UTC, whole seconds.
    """
    code = ""
    mark = fingerprint(plan.config_bytes)
    slots: dict[str, bytes] = {}
    if plan.encrypted:
        from mediavault.keys.hierarchy import RepositoryKeys  # noqa: PLC0415 -- a plain repository needs no cryptography
        from mediavault.keys.recovery import new_code, show_code  # noqa: PLC0415 -- as above
        from mediavault.keys.slots import make_passphrase_slot, make_recovery_slot  # noqa: PLC0415 -- as above

        made = RepositoryKeys(plan.repository, {0: os.urandom(32)})
        secret = new_code(os.urandom)
        code = show_code(secret)
        slots[PASSPHRASE_SLOT] = make_passphrase_slot(
            made, PASSPHRASE_SLOT, passphrase, fingerprint=mark, created=now, random=os.urandom
        )
        slots[RECOVERY_SLOT] = make_recovery_slot(made, RECOVERY_SLOT, secret, fingerprint=mark, created=now)
        keys.save(plan.repository, made.epochs, mark)
    store_identity(backend, plan.config_bytes, slots)
    layout.write_head(branch=FIRST_BRANCH)
    return CreateReport(plan.root, plan.repository, mark, plan.encrypted, code)


def store_identity(backend: Backend, config_bytes: bytes, slots: dict[str, bytes]) -> None:
    """Write config and key slots into an empty store."""
    for name, slot in slots.items():
        backend.put(SLOTS + name, slot, when=Absent())
    backend.put(CONFIG, config_bytes, when=Absent())


def settle(temporary: Path, root: Path) -> None:
    """Move a finished private folder to its place, durably.

    Raises:
        UsageError: another process was quicker.
    """
    target = root / PRIVATE_FOLDER
    fsio.announce("rename", target)
    try:
        os.rename(temporary, target)  # noqa: PTH104 -- Path.rename replaces what is there on some systems
    except OSError as error:
        raise UsageError(f"{target} appeared meanwhile.", untouched="It was left as it is.") from error
    fsio.sync_folder(root)
