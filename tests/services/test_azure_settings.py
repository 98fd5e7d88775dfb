"""Every setting of `[storage.azure]`, proved by what Azurite or a recorder received."""

import base64
import json
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from azure.storage.blob import ContainerClient

from mediavault_backends.api import Absent
from mediavault_backends.azure import AzureBackend
from mediavault_backends.errors import (
    AccessDeniedError,
    ArchivedError,
    BackendSetupError,
    NotFoundError,
    TransientError,
)
from mediavault_backends.settings import AzureSettings
from tests.services import azurite
from tests.services.azurite import Azurite
from tests.services.certificates import make_certificate
from tests.services.relay import Relay, Reply, relaying

pytestmark = pytest.mark.services

MIB = 1 << 20


@pytest.fixture
def settings(azurite_server: Azurite) -> AzureSettings:
    return AzureSettings(
        account_name=azurite_server.account_name,
        account_key=azurite_server.account_key,
        container="media",
        prefix=f"settings/{uuid.uuid4().hex}",
        endpoint=azurite_server.endpoint,
    )


@pytest.fixture
def relay(azurite_server: Azurite) -> Iterator[Relay]:
    with relaying(azurite_server.endpoint) as running:
        yield running


@pytest.fixture
def container(settings: AzureSettings) -> Iterator[ContainerClient]:
    """Look into the container without the product."""
    credential = {"account_name": settings.account_name, "account_key": settings.account_key}
    with ContainerClient(settings.endpoint, "media", credential=credential) as client:
        yield client


def change(settings: AzureSettings, **changes: object) -> AzureSettings:
    return msgspec.structs.replace(settings, **changes)


def through(relay: Relay, settings: AzureSettings) -> AzureSettings:
    return change(settings, endpoint=f"{relay.url}/{settings.account_name}")


def test_endpoint_account_container_and_prefix_are_what_the_request_names(
    settings: AzureSettings, relay: Relay
) -> None:
    AzureBackend(through(relay, settings)).put("refs/main", b"x", when=Absent())
    (request,) = relay.requests
    assert (request.method, request.path) == ("PUT", f"/devstoreaccount1/media/{settings.prefix}/refs/main")
    assert request.headers["authorization"].startswith("SharedKey devstoreaccount1:")
    assert request.headers["if-none-match"] == "*"


def test_the_account_name_makes_the_endpoint(settings: AzureSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    with relaying() as proxy:
        proxy.always(lambda _: True, Reply(502))
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        backend = AzureBackend(change(settings, account_name="studio", endpoint=""))
        with pytest.raises(TransientError):
            backend.stat("refs/main")
    asked = [(request.method, request.path) for request in proxy.requests]
    assert asked == [("CONNECT", "studio.blob.core.windows.net:443")]


def test_the_account_key_signs(settings: AzureSettings) -> None:
    wrong = base64.b64encode(b"another key").decode()
    backend = AzureBackend(change(settings, account_key=wrong))
    with pytest.raises(AccessDeniedError, match="refuses these credentials") as caught:
        backend.get("refs/main")
    assert wrong not in str(caught.value)


def test_the_prefix_keeps_stores_of_one_container_apart(settings: AzureSettings, container: ContainerClient) -> None:
    one = AzureBackend(settings)
    for prefix in (f"{settings.prefix}x", f"/{settings.prefix}/inner/"):
        AzureBackend(change(settings, prefix=prefix)).put("a", b"", when=Absent())
    one.put("b", b"", when=Absent())
    container.upload_blob(f"{settings.prefix}/not/.a/key", b"").close()
    assert [stat.key for stat in one.scan()] == ["b", "inner/a"]
    names = [f"{settings.prefix}/b", f"{settings.prefix}/inner/a", f"{settings.prefix}/not/.a/key"]
    assert [blob.name for blob in container.list_blobs(f"{settings.prefix}/")] == names
    assert AzureBackend(change(settings, prefix="")).get(names[0]).data == b""


def test_a_key_that_the_prefix_makes_too_long_is_refused(settings: AzureSettings) -> None:
    with pytest.raises(ValueError, match="too long"):
        AzureBackend(settings).put("a" * 255 + "/" + "b" * 255 + "/" + "c" * 255 + "/" + "d" * 240, b"", when=Absent())


@pytest.mark.parametrize("size", [10, 3 * MIB], ids=["one put", "in blocks"])
@pytest.mark.parametrize("tier", ["Hot", "Cool"])
def test_the_tier_is_that_of_new_objects(
    settings: AzureSettings, container: ContainerClient, tier: str, size: int
) -> None:
    AzureBackend(change(settings, tier=tier), block_size=MIB).put("packs/ab/x", bytes(size), when=Absent())
    properties = container.get_blob_client(f"{settings.prefix}/packs/ab/x").get_blob_properties()
    assert properties.blob_tier == tier
    assert not properties.blob_tier_inferred


def test_without_a_tier_the_account_decides(settings: AzureSettings, container: ContainerClient, relay: Relay) -> None:
    AzureBackend(through(relay, settings)).put("packs/ab/x", b"", when=Absent())
    assert "x-ms-access-tier" not in relay.requests[0].headers
    assert container.get_blob_client(f"{settings.prefix}/packs/ab/x").get_blob_properties().blob_tier_inferred


def test_archive_is_for_packs(settings: AzureSettings, container: ContainerClient) -> None:
    backend = AzureBackend(change(settings, tier="Archive"), block_size=MIB)
    for key in ("packs/ab/x", "team/packs/ab/x", "index/x", "refs/main"):
        backend.put(key, bytes(2 * MIB), when=Absent())
    tiers = {
        blob.name.removeprefix(f"{settings.prefix}/"): blob.blob_tier for blob in container.list_blobs(settings.prefix)
    }
    archived = {key for key, tier in tiers.items() if tier == "Archive"}
    assert archived == {"packs/ab/x", "team/packs/ab/x"}
    assert len(tiers) == 4
    assert backend.stat("packs/ab/x").size == 2 * MIB
    with pytest.raises(ArchivedError, match="archived and has to be restored"):
        backend.read("packs/ab/x", 0, 1)
    assert backend.read("refs/main", 0, 1) == b"\0"


def token(audience: str) -> str:
    """Return what a metadata service hands out, unsigned: Azurite checks the times, the issuer and the audience."""
    now = int(time.time())
    claims = {"aud": audience, "iss": "https://sts.windows.net/tenant/", "iat": now, "nbf": now - 60, "exp": now + 3600}
    parts = [json.dumps(part).encode() for part in ({"alg": "none", "typ": "JWT"}, claims)]
    return ".".join([base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts] + ["c2lnbmVk"])


def identity(audience: str) -> Reply:
    now = int(time.time())
    answer = {
        "access_token": token(audience),
        "expires_in": "3600",
        "expires_on": str(now + 3600),
        "resource": audience,
        "token_type": "Bearer",
    }
    return Reply(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})


@pytest.fixture
def metadata(monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    """Stand in for the metadata service that a machine of Azure has at 169.254.169.254."""
    with relaying() as service:
        monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", service.url)
        yield service


@pytest.fixture
def secure_server(tmp_path: Path, azurite_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Azurite]:
    certificate = make_certificate(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate.path))
    scratch = tmp_path / "azurite"
    scratch.mkdir()
    with azurite.running(azurite_folder, scratch, certificate) as server:
        server.make_container("media")
        yield server


def test_a_managed_identity_signs_in_with_the_token_of_the_metadata_service(
    settings: AzureSettings, metadata: Relay, secure_server: Azurite
) -> None:
    metadata.always(lambda _: True, identity("https://storage.azure.com"))
    managed = change(settings, account_key="", use_managed_identity=True, endpoint=secure_server.endpoint)
    backend = AzureBackend(managed, block_size=MIB)
    body = bytes(range(256)) * (10 * MIB // 1024)
    backend.put("packs/ab/x", body, when=Absent())
    assert backend.get("packs/ab/x").data == body
    assert [stat.key for stat in backend.scan()] == ["packs/ab/x"]
    backend.delete("packs/ab/x")
    with pytest.raises(NotFoundError):
        backend.stat("packs/ab/x")
    for request in metadata.requests:
        assert request.headers["metadata"] == "true"
        assert request.query["resource"] == "https://storage.azure.com"
    assert metadata.requests


def test_a_token_that_the_store_refuses_is_access_denied(
    settings: AzureSettings, metadata: Relay, secure_server: Azurite
) -> None:
    metadata.always(lambda _: True, identity("https://elsewhere.example"))
    managed = change(settings, account_key="", use_managed_identity=True, endpoint=secure_server.endpoint)
    backend = AzureBackend(managed)
    with pytest.raises(AccessDeniedError):
        backend.put("refs/main", b"x", when=Absent())
    with pytest.raises(AccessDeniedError):
        backend.get("refs/main")


def test_a_machine_without_an_identity_is_told(settings: AzureSettings, metadata: Relay) -> None:
    metadata.always(lambda _: True, Reply(400, b'{"error": "invalid_request"}', {"Content-Type": "application/json"}))
    managed = change(settings, account_key="", use_managed_identity=True, endpoint="https://127.0.0.1:1/account")
    with pytest.raises(AccessDeniedError, match="managed identity gave no token"):
        AzureBackend(managed).put("refs/main", b"x", when=Absent())


def test_a_metadata_service_that_refuses_is_access_denied(settings: AzureSettings, metadata: Relay) -> None:
    metadata.always(lambda _: True, Reply(403, b'{"error": "forbidden"}', {"Content-Type": "application/json"}))
    managed = change(settings, account_key="", use_managed_identity=True, endpoint="https://127.0.0.1:1/account")
    with pytest.raises(AccessDeniedError, match="managed identity gave no token"):
        AzureBackend(managed).put("refs/main", b"x", when=Absent())


def test_a_token_is_never_sent_in_the_clear(settings: AzureSettings, metadata: Relay, relay: Relay) -> None:
    with pytest.raises(BackendSetupError, match="HTTPS"):
        AzureBackend(through(relay, change(settings, account_key="", use_managed_identity=True)))
    assert metadata.requests == relay.requests == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"account_name": ""}, "account_name is missing"),
        ({"container": ""}, "container is missing"),
        ({"account_key": ""}, "account_key is missing; to sign in as this machine"),
        ({"use_managed_identity": True}, "take one of them out"),
        ({"account_key": "secret but not base64"}, "account_key is not base64"),
        ({"prefix": "a//b"}, "prefix"),
        ({"prefix": ".hidden"}, "prefix"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_anything_is_sent(
    settings: AzureSettings, relay: Relay, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(BackendSetupError, match=message) as caught:
        AzureBackend(change(through(relay, settings), **changes))
    assert "secret" not in str(caught.value)
    assert relay.requests == []


def test_a_container_that_is_not_there_is_named(settings: AzureSettings) -> None:
    backend = AzureBackend(change(settings, container="missing", prefix=""), block_size=MIB)
    calls: list[Callable[[], object]] = [
        lambda: backend.put("a", b"", when=Absent()),
        lambda: backend.put("a", bytes(2 * MIB), when=Absent()),
        lambda: backend.get("a"),
        lambda: backend.stream("a"),
        lambda: backend.stat("a"),
        lambda: list(backend.scan()),
        lambda: backend.delete("a"),
    ]
    for call in calls:
        with pytest.raises(BackendSetupError, match="az://missing does not exist; make the container first"):
            call()


def test_the_name_says_where_without_a_secret(settings: AzureSettings) -> None:
    assert AzureBackend(settings).name == f"az://media/{settings.prefix}"
    assert AzureBackend(change(settings, prefix="")).name == "az://media"
