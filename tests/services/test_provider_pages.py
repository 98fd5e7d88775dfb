"""The page of each provider, tried as somebody new to it would: its mediagit.toml as printed, a push, a clone.

The clouds themselves cannot be had here. MinIO stands in for everybody who speaks S3, Azurite for Azure, fake-gcs-server for
Google: the address, the name of the bucket and the credentials come from the environment, all else from the page.
"""

import os
import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.conftest import installed, server_address
from tests.services.azurite import Azurite
from tests.services.fake_gcs import FakeGcs
from tests.services.seaweed import Server
from tests.snapshot import snapshot

pytestmark = pytest.mark.services

PAGES = Path(__file__).resolve().parents[2] / "docs" / "backends"
START = "mediagit-server --config mediagit.toml --no-auth"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def toml_of(page: Path) -> str:
    """Return the settings that a page prints."""
    text = page.read_text(encoding="utf-8")
    assert f"$ {START}\n" in text, f"{page.name} does not say how to start"
    (block,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    return str(block)


@pytest.fixture(params=sorted(page.stem for page in PAGES.glob("*.md")))
def page(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def stand_in(
    page: str, minio_server: Server, azurite_server: Azurite, fake_gcs_server: FakeGcs, tmp_path: Path
) -> Mapping[str, str]:
    """What leads the settings of a page to a server on this computer."""
    told = {"PREFIX": f"page-{page}"}
    if page == "local":
        kind, told = "LOCAL", {"PATH": str(tmp_path / "vault")}
    elif page == "azure":
        kind = "AZURE"
        told |= {
            "ACCOUNT_NAME": azurite_server.account_name,
            "ACCOUNT_KEY": azurite_server.account_key,
            "CONTAINER": "media",
            "ENDPOINT": azurite_server.endpoint,
            "USE_MANAGED_IDENTITY": "false",
        }
    elif page == "gcs":
        kind = "GCS"
        told |= {"BUCKET": "media", "ENDPOINT": fake_gcs_server.endpoint}
    else:
        kind = "S3"
        told |= {
            "BUCKET": "media",
            "ENDPOINT": minio_server.endpoint,
            "ACCESS_KEY": minio_server.access_key,
            "SECRET_KEY": minio_server.secret_key,
            "FORCE_PATH_STYLE": "true",
        }
    return {f"MEDIAGIT_STORAGE__{kind}__{name}": value for name, value in told.items()}


def test_page_leads_to_a_push_and_a_clone(
    page: str, stand_in: Mapping[str, str], mediagit: Run, tmp_path: Path
) -> None:
    (tmp_path / "mediagit.toml").write_text(toml_of(PAGES / f"{page}.md"), encoding="utf-8")
    _, *options = START.split()
    with subprocess.Popen(
        [installed("mediagit-server"), *options, "--port", "0"],
        cwd=tmp_path,
        env={**os.environ, **stand_in},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as server:
        try:
            url = f"{server_address(server)}/studio/film"
            film, copy = tmp_path / "film", tmp_path / "copy"
            mediagit("init", film)
            (film / "rushes.mov").write_bytes(os.urandom(3_000_000))
            mediagit("add", ".", cwd=film)
            mediagit("commit", "-m", "First cut", cwd=film)
            mediagit("remote", "add", "origin", url, cwd=film)
            mediagit("push", "-u", "origin", "main", cwd=film)
            mediagit("clone", url, copy)
            assert snapshot(copy) == snapshot(film)
        finally:
            server.terminate()
