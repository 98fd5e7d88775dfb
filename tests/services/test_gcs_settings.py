"""Every setting of `[storage.gcs]`, proved by what fake-gcs-server or a recorder received."""

import base64
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import parse_qs

import google_crc32c
import msgspec
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from mediavault_backends.api import Absent
from mediavault_backends.errors import AccessDeniedError, BackendSetupError, TransientError
from mediavault_backends.gcs import GcsBackend
from mediavault_backends.settings import GcsSettings
from tests.services.certificates import make_certificate
from tests.services.fake_gcs import FakeGcs
from tests.services.relay import Relay, Reply, Request, relaying

pytestmark = pytest.mark.services

MIB = 1 << 20
CRC32C_OF_ZEROS = base64.b64encode(google_crc32c.value(bytes(2 * MIB)).to_bytes(4, "big")).decode()
SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"


@pytest.fixture(autouse=True)
def no_google_of_ones_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("STORAGE_EMULATOR_HOST", "GCE_METADATA_HOST", "GCE_METADATA_IP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "no-gcloud"))


@pytest.fixture
def settings(fake_gcs_server: FakeGcs) -> GcsSettings:
    return GcsSettings(bucket="media", prefix=f"settings/{uuid.uuid4().hex}", endpoint=fake_gcs_server.endpoint)


@pytest.fixture
def relay(fake_gcs_server: FakeGcs) -> Iterator[Relay]:
    with relaying(fake_gcs_server.endpoint) as running:
        yield running


@pytest.fixture
def opened() -> Iterator[Callable[..., GcsBackend]]:
    """Open backends that are closed when the test ends."""
    backends: list[GcsBackend] = []

    def make(settings: GcsSettings, chunk_size: int = MIB) -> GcsBackend:
        backends.append(GcsBackend(settings, chunk_size=chunk_size))
        return backends[-1]

    yield make
    for backend in backends:
        backend.close()


def change(settings: GcsSettings, **changes: object) -> GcsSettings:
    return msgspec.structs.replace(settings, **changes)


def use(backend: GcsBackend) -> None:
    """Make every kind of request."""
    backend.put("refs/main", b"x", when=Absent())
    backend.put("packs/ab/x", bytes(2 * MIB), when=Absent())
    assert backend.get("packs/ab/x").data == bytes(2 * MIB)
    assert backend.read("refs/main", 0, 1) == b"x"
    assert backend.stat("refs/main").size == 1
    assert [stat.key for stat in backend.scan()] == ["packs/ab/x", "refs/main"]
    backend.delete("refs/main")


def test_endpoint_bucket_and_prefix_are_what_the_requests_name(
    settings: GcsSettings, relay: Relay, opened: Callable[..., GcsBackend]
) -> None:
    use(opened(change(settings, endpoint=f"{relay.url}/")))
    put, session, first, second, *rest = relay.requests
    assert (put.method, put.path) == ("POST", "/upload/storage/v1/b/media/o")
    assert put.query == {"uploadType": "multipart", "ifGenerationMatch": "0"}
    assert json.dumps(f"{settings.prefix}/refs/main").encode() in put.body
    assert (session.method, session.query["uploadType"]) == ("POST", "resumable")
    assert session.query["ifGenerationMatch"] == "0"
    named = json.loads(session.body)
    assert named == {"name": f"{settings.prefix}/packs/ab/x", "crc32c": CRC32C_OF_ZEROS}
    assert session.headers["x-upload-content-length"] == str(2 * MIB)
    ranges = [request.headers["content-range"] for request in (first, second)]
    assert ranges == [f"bytes 0-{MIB - 1}/{2 * MIB}", f"bytes {MIB}-{2 * MIB - 1}/{2 * MIB}"]
    listing = next(request for request in rest if request.path == "/storage/v1/b/media/o")
    assert listing.query["prefix"] == f"{settings.prefix}/"
    assert all(b"x-goog-user-project" not in str(request.headers).encode() for request in relay.requests)


def test_without_an_endpoint_it_is_googles(
    settings: GcsSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: Callable[..., GcsBackend]
) -> None:
    with relaying() as tokens, relaying() as proxy:
        proxy.always(lambda _: True, Reply(502))
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        account = Account(tmp_path, f"{tokens.url}/token")
        tokens.rule = account.answer
        backend = opened(change(settings, endpoint="", credentials_path=str(account.path)))
        for call in (lambda: backend.stat("a"), lambda: backend.get("a")):
            with pytest.raises(TransientError):
                call()
    asked = [(request.method, request.path) for request in proxy.requests]
    assert asked == [("CONNECT", "storage.googleapis.com:443")] * 2


def test_the_endpoint_goes_before_the_variable_of_the_sdk_and_nothing_else_is_asked(
    settings: GcsSettings, relay: Relay, monkeypatch: pytest.MonkeyPatch, opened: Callable[..., GcsBackend]
) -> None:
    with relaying() as elsewhere:
        elsewhere.always(lambda _: True, Reply(500))
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", elsewhere.url)
        use(opened(change(settings, endpoint=relay.url)))
    assert len(relay.requests) == 9
    assert elsewhere.requests == []


def test_the_prefix_keeps_stores_of_one_bucket_apart(
    settings: GcsSettings, fake_gcs_server: FakeGcs, opened: Callable[..., GcsBackend]
) -> None:
    one = opened(settings)
    for prefix in (f"{settings.prefix}x", f"/{settings.prefix}/inner/"):
        opened(change(settings, prefix=prefix)).put("a", b"", when=Absent())
    one.put("b", b"", when=Absent())
    assert [stat.key for stat in one.scan()] == ["b", "inner/a"]
    assert fake_gcs_server.attributes("media", f"{settings.prefix}/inner/a")["size"] == "0"
    assert opened(change(settings, prefix="")).get(f"{settings.prefix}/b").data == b""


def test_a_key_that_the_prefix_makes_too_long_is_refused(
    settings: GcsSettings, opened: Callable[..., GcsBackend]
) -> None:
    with pytest.raises(ValueError, match="too long"):
        opened(settings).stat("a" * 255 + "/" + "b" * 255 + "/" + "c" * 255 + "/" + "d" * 240)


def test_the_project_is_billed_for_every_request(
    settings: GcsSettings, relay: Relay, opened: Callable[..., GcsBackend]
) -> None:
    use(opened(change(settings, endpoint=relay.url, project="studio-42")))
    billed = [request for request in relay.requests if "upload_id" not in request.query]
    assert [request.query.get("userProject") for request in billed] == ["studio-42"] * 7


@pytest.mark.parametrize("size", [10, 3 * MIB], ids=["one put", "in chunks"])
def test_the_storage_class_is_that_of_new_objects(
    settings: GcsSettings, fake_gcs_server: FakeGcs, size: int, opened: Callable[..., GcsBackend]
) -> None:
    opened(change(settings, storage_class="NEARLINE")).put("packs/ab/x", bytes(size), when=Absent())
    found = fake_gcs_server.attributes("media", f"{settings.prefix}/packs/ab/x")
    assert (found["storageClass"], found["size"]) == ("NEARLINE", str(size))


def test_without_a_storage_class_the_bucket_decides(
    settings: GcsSettings, relay: Relay, opened: Callable[..., GcsBackend]
) -> None:
    use(opened(change(settings, endpoint=relay.url)))
    assert all(b"storageClass" not in request.body for request in relay.requests)


# Signing in


class Account:
    """A service account, and the token endpoint that knows it."""

    def __init__(self, folder: Path, token_uri: str) -> None:
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self.path = folder / "account.json"
        self.path.write_text(
            json.dumps(
                {
                    "type": "service_account",
                    "project_id": "studio",
                    "private_key_id": "1",
                    "private_key": pem.decode(),
                    "client_email": "media@studio.example",
                    "client_id": "1",
                    "token_uri": token_uri,
                }
            )
        )
        self.claims: list[Mapping[str, object]] = []

    def answer(self, request: Request) -> Reply:
        """Check who signed, as Google does, and hand out a token."""
        (assertion,) = parse_qs(request.body.decode())["assertion"]
        signed, _, signature = assertion.rpartition(".")
        self.key.public_key().verify(decoded(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        self.claims.append(json.loads(decoded(signed.split(".")[1])))
        return token("of-the-account")


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def token(value: str) -> Reply:
    body = json.dumps({"access_token": value, "expires_in": 3600, "token_type": "Bearer"})
    return Reply(200, body.encode(), {"Content-Type": "application/json"})


def bearers(relay: Relay) -> set[str]:
    return {request.headers.get("authorization", "none") for request in relay.requests}


def test_the_credentials_of_the_path_sign_every_request(
    settings: GcsSettings, relay: Relay, tmp_path: Path, opened: Callable[..., GcsBackend]
) -> None:
    with relaying() as tokens:
        account = Account(tmp_path, f"{tokens.url}/token")
        tokens.rule = account.answer
        use(opened(change(settings, endpoint=relay.url, credentials_path=str(account.path))))
    assert bearers(relay) == {"Bearer of-the-account"}
    assert {(claim["iss"], claim["scope"]) for claim in account.claims} == {("media@studio.example", SCOPE)}


@pytest.fixture
def secure_relay(fake_gcs_server: FakeGcs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    """Stand before the emulator with HTTPS, as Google does."""
    certificate = make_certificate(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate.path))
    with relaying(fake_gcs_server.endpoint, certificate) as running:
        yield running


def test_application_default_credentials_come_from_the_file_of_the_environment(
    settings: GcsSettings,
    secure_relay: Relay,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    opened: Callable[..., GcsBackend],
) -> None:
    with relaying() as tokens:
        account = Account(tmp_path, f"{tokens.url}/token")
        tokens.rule = account.answer
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(account.path))
        backend = opened(change(settings, endpoint=secure_relay.url))
        backend.put("refs/main", b"x", when=Absent())
        assert backend.get("refs/main").data == b"x"
    assert bearers(secure_relay) == {"Bearer of-the-account"}
    assert account.claims


SCRIPT = """
import sys
from mediavault_backends.api import Absent
from mediavault_backends.errors import BackendError
from mediavault_backends.gcs import GcsBackend
from mediavault_backends.settings import GcsSettings
try:
    backend = GcsBackend(GcsSettings(bucket="media", prefix=sys.argv[2], endpoint=sys.argv[1]))
    backend.put("refs/main", b"x", when=Absent())
    print(backend.get("refs/main").data)
except BackendError as error:
    print(type(error).__name__, error)
"""


def run_apart(settings: GcsSettings, endpoint: str, **environment: str) -> str:
    """Use the store in a process of its own: the SDK reads these variables when it is imported."""
    command = [sys.executable, "-c", SCRIPT, endpoint, settings.prefix]
    done = subprocess.run(
        command, env={**os.environ, **environment}, text=True, capture_output=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_application_default_credentials_come_from_the_metadata_service(
    settings: GcsSettings, secure_relay: Relay
) -> None:
    def answer(request: Request) -> Reply:
        flavor = {"Metadata-Flavor": "Google", "Content-Type": "application/json"}
        if request.path.endswith("/token"):
            reply = token("of-the-machine")
            return Reply(reply.status, reply.body, flavor)
        if request.path.endswith("/service-accounts/default/"):
            return Reply(200, b'{"email": "default", "aliases": [], "scopes": ["%s"]}' % SCOPE.encode(), flavor)
        return Reply(200 if request.path == "/" else 404, b"", flavor)

    with relaying() as metadata:
        metadata.rule = answer
        host = metadata.url.removeprefix("http://")
        printed = run_apart(settings, secure_relay.url, GCE_METADATA_HOST=host, GCE_METADATA_IP=host)
    assert printed == "b'x'\n"
    assert bearers(secure_relay) == {"Bearer of-the-machine"}
    asked = [request for request in metadata.requests if request.path.endswith("/token")]
    assert [request.headers["metadata-flavor"] for request in asked] == ["Google"] * len(asked)
    assert asked


def test_where_there_are_no_credentials_the_places_are_named(settings: GcsSettings, tmp_path: Path) -> None:
    printed = run_apart(settings, "https://127.0.0.1:1", NO_GCE_CHECK="true", HOME=str(tmp_path))
    assert printed.startswith("BackendSetupError no credentials for storage.gcs; asked: credentials_path, GOOGLE_APP")


def test_default_credentials_never_travel_in_the_clear(
    settings: GcsSettings,
    relay: Relay,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    opened: Callable[..., GcsBackend],
) -> None:
    with relaying() as tokens:
        account = Account(tmp_path, f"{tokens.url}/token")
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(account.path))
        use(opened(change(settings, endpoint=relay.url)))
    assert tokens.requests == []
    assert bearers(relay) == {"none"}


def test_a_token_never_leaves_the_machine_in_the_clear(settings: GcsSettings, tmp_path: Path) -> None:
    account = Account(tmp_path, "http://127.0.0.1:1/token")
    for endpoint in ("http://storage.example", "http://127.0.0.1.example:4443"):
        with pytest.raises(BackendSetupError, match="in the clear"):
            GcsBackend(change(settings, endpoint=endpoint, credentials_path=str(account.path)))


@pytest.mark.parametrize("text", [None, "{", '{"type": "secret"}'])
def test_default_credentials_that_cannot_be_used_are_no_credentials(
    settings: GcsSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    path = tmp_path / "default.json"
    if text is not None:
        path.write_text(text)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    with pytest.raises(BackendSetupError, match="asked: credentials_path, GOOGLE_APPLICATION_CREDENTIALS") as caught:
        GcsBackend(change(settings, endpoint="https://127.0.0.1:1"))
    assert "secret" not in str(caught.value)


def test_an_account_that_google_does_not_know_is_refused(
    settings: GcsSettings, relay: Relay, tmp_path: Path, opened: Callable[..., GcsBackend]
) -> None:
    with relaying() as tokens:
        tokens.always(lambda _: True, Reply(400, b'{"error": "invalid_grant"}', {"Content-Type": "application/json"}))
        account = Account(tmp_path, f"{tokens.url}/token")
        backend = opened(change(settings, endpoint=relay.url, credentials_path=str(account.path)))
        for call in (lambda: backend.put("a", b"", when=Absent()), lambda: backend.get("a"), lambda: backend.stat("a")):
            with pytest.raises(AccessDeniedError, match="cannot sign in"):
                call()
    assert relay.requests == []


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "No such file"), ("{", "not a service account's"), ('{"type": "secret"}', "not a service account's")],
)
def test_a_credentials_file_that_is_none_is_named(
    settings: GcsSettings, tmp_path: Path, text: str | None, message: str
) -> None:
    path = tmp_path / "account.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(BackendSetupError, match=message) as caught:
        GcsBackend(change(settings, credentials_path=str(path)))
    assert "account.json" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bucket": ""}, "bucket is missing"),
        ({"endpoint": "localhost:4443"}, "no http address"),
        ({"prefix": "a//b"}, "prefix"),
        ({"prefix": ".hidden"}, "prefix"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: GcsSettings, changes: dict[str, object], message: str) -> None:
    with pytest.raises(BackendSetupError, match=message):
        GcsBackend(change(settings, **changes))


def test_a_bucket_that_is_not_there_is_named(settings: GcsSettings, opened: Callable[..., GcsBackend]) -> None:
    missing = change(settings, bucket="missing", prefix="")
    calls: list[Callable[[GcsBackend], object]] = [
        lambda backend: backend.put("a", b"", when=Absent()),
        lambda backend: backend.put("a", bytes(2 * MIB), when=Absent()),
        lambda backend: backend.get("a"),
        lambda backend: backend.stream("a"),
        lambda backend: backend.stat("a"),
        lambda backend: list(backend.scan()),
        lambda backend: backend.delete("a"),
    ]
    for call in calls:
        with pytest.raises(BackendSetupError, match="gs://missing: there is no such bucket; make it first"):
            call(opened(missing))


def test_the_name_says_where_without_a_secret(settings: GcsSettings, opened: Callable[..., GcsBackend]) -> None:
    assert opened(settings).name == f"gs://media/{settings.prefix}"
    assert opened(change(settings, prefix="")).name == "gs://media"
