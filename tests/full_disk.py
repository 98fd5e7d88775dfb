"""A disk that says it is full."""

import os
from typing import Any

import pytest


def say_full(patch: pytest.MonkeyPatch) -> None:
    """Have every file system answer that nobody may write another block, until the patch is undone."""
    real = os.statvfs

    def full(path: Any) -> os.statvfs_result:
        found = list(real(path))
        found[4] = 0  # f_bavail
        return os.statvfs_result(found)

    patch.setattr(os, "statvfs", full)
