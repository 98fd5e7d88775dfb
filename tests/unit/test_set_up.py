"""The test set-up's own promise: a skip nobody listed is a failure, also in another process and at collection."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

SKIPPING_TEST = "import pytest\n\ndef test_it():\n    pytest.skip({reason!r})\n"
SKIPPING_MODULE = "import pytest\n\npytest.skip({reason!r}, allow_module_level=True)\n"


@pytest.mark.parametrize(
    ("body", "reason", "workers", "exit_code"),
    [
        (SKIPPING_TEST, "no time", "0", 1),
        (SKIPPING_TEST, "no time", "1", 1),
        (SKIPPING_MODULE, "no time", "0", 2),
        (SKIPPING_MODULE, "no time", "1", 1),
        (SKIPPING_TEST, "root may read and write anything", "0", 0),
    ],
)
def test_only_listed_reasons_may_skip(tmp_path: Path, body: str, reason: str, workers: str, exit_code: int) -> None:
    (tmp_path / "conftest.py").symlink_to(ROOT / "tests" / "conftest.py")
    (tmp_path / "test_sample.py").write_text(body.format(reason=reason) + "\ndef test_other():\n    pass\n")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-n",
        workers,
        "--rootdir",
        str(tmp_path),
        str(tmp_path),
    ]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == exit_code, result.stdout
    assert ("not in ALLOWED_SKIPS" in result.stdout) is (exit_code != 0)
