"""Every setting of S3, proved by what a loopback server was sent."""

import base64
import hashlib
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from mediavault_backends.api import Absent, Body, FileSource, Matches, Version
from mediavault_backends.errors import BackendSetupError, NotFoundError, TransientError
from mediavault_backends.registry import open_backend
from mediavault_backends.s3 import S3Backend
from mediavault_backends.settings import S3Settings
from tests.contract.clauses import Blocks
from tests.integration.recorder import Asked, Recorder, Reply
from tests.integration.s3_words import STORED, forget_clouds, obliging, refusal, signer

PARTS = 21_000_000
"""Bytes that are five parts of 5 MB, or of 5 MiB."""


@pytest.fixture(autouse=True)
def no_cloud(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    forget_clouds(monkeypatch, tmp_path)


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    with Recorder(obliging) as server:
        yield server


def opened(recorder: Recorder, **changes: object) -> S3Backend:
    usual: dict[str, object] = {
        "bucket": "media",
        "region": "eu-central-1",
        "endpoint": recorder.url,
        "access_key": "AKIATEST",
        "secret_key": "hush",
        "force_path_style": True,
    }
    return S3Backend(S3Settings(**{**usual, **changes}))  # type: ignore[arg-type]


# What is sent


def test_bucket_prefix_region_and_key(recorder: Recorder) -> None:
    backend = opened(recorder, prefix="/films/2026/")
    assert backend.put("refs/main", b"value", when=Absent()) == "one"
    asked = recorder.asked[-1]
    assert (asked.method, asked.path, asked.body) == ("PUT", "/media/films/2026/refs/main", b"value")
    assert signer(asked) == ("AKIATEST", "eu-central-1")
    assert backend.name == "s3://media/films/2026"


def test_conditions_are_headers(recorder: Recorder) -> None:
    backend = opened(recorder)
    backend.put("a", b"1", when=Absent())
    backend.put("a", b"2", when=Matches(Version("one")))
    first, second = recorder.asked
    assert (first.headers.get("if-none-match"), first.headers.get("if-match")) == ("*", None)
    assert (second.headers.get("if-none-match"), second.headers.get("if-match")) == (None, '"one"')


@pytest.mark.parametrize("kind", ["buffer", "source", "file"])
def test_a_large_body_goes_in_parts_of_part_size(recorder: Recorder, tmp_path: Path, kind: str) -> None:
    data = bytes(range(256)) * (PARTS // 256)
    (tmp_path / "body").write_bytes(data)
    bodies: dict[str, Body] = {
        "buffer": data,
        "source": Blocks(len(data), (data[:1_000_001], data[1_000_001:])),
        "file": FileSource(tmp_path / "body", len(data), adopt=True),
    }
    assert opened(recorder, part_size=5_000_000).put("pack", bodies[kind], when=Absent()) == "whole-5"
    parts = sorted(recorder.seen("PUT"), key=lambda asked: int(asked.query["partNumber"]))
    assert [len(part.body) for part in parts] == [5 << 20] * 4 + [len(data) - 4 * (5 << 20)]
    assert b"".join(part.body for part in parts) == data
    complete = recorder.asked[-1]
    assert complete.method == "POST"
    assert complete.headers["if-none-match"] == "*"
    assert complete.body.count(b"<PartNumber>") == 5
    assert (tmp_path / "body").exists() == (kind != "file")


def test_a_body_of_part_size_goes_in_one_request(recorder: Recorder) -> None:
    data = bytes(6_000_000)
    opened(recorder, part_size=6_000_000).put("a", data, when=Absent())
    opened(recorder, part_size=6_000_000).put("b", data + b"1", when=Absent())
    whole, *parts = [asked.query.get("partNumber") for asked in recorder.seen("PUT")]
    assert whole is None
    assert sorted(filter(None, parts)) == ["1", "2"]


@pytest.mark.parametrize("limit", [1, 3])
def test_so_many_parts_are_under_way_at_once(recorder: Recorder, limit: int) -> None:
    lock = threading.Lock()
    together = threading.Event()
    now = most = 0

    def answer(asked: Asked) -> Reply:
        nonlocal now, most
        if "partNumber" in asked.query:
            with lock:
                now += 1
                most = max(most, now)
                if now == limit:
                    together.set()
            assert together.wait(60)
            with lock:
                now -= 1
        return obliging(asked)

    recorder.answer = answer
    opened(recorder, part_size=5_000_000, max_concurrent_parts=limit).put("pack", bytes(PARTS), when=Absent())
    assert most == limit


def test_no_more_parts_are_held_than_are_under_way(recorder: Recorder) -> None:
    limit, part, block = 2, 5 << 20, 1 << 20
    answered = given = most = 0
    too_many = threading.Event()

    class Counted:
        size = 5 * part

        def blocks(self) -> Iterator[bytes]:
            nonlocal given, most
            for _ in range(self.size // block):
                given += block
                most = max(most, given - answered * part)
                if most > limit * part + block:
                    too_many.set()
                yield bytes(block)

    def answer(asked: Asked) -> Reply:
        nonlocal answered
        if "partNumber" in asked.query:
            too_many.wait(0.1)  # gives who reads ahead the time to do so
            answered += 1
        return obliging(asked)

    recorder.answer = answer
    opened(recorder, part_size=part, max_concurrent_parts=limit).put("pack", Counted(), when=Absent())
    assert given == Counted.size
    assert most <= limit * part + block


@pytest.mark.parametrize("retries", [0, 2])
def test_max_retries_counts_what_comes_after_the_first_try(recorder: Recorder, retries: int) -> None:
    recorder.answer = lambda _: refusal(503, "SlowDown")
    table = {
        "bucket": "media",
        "region": "us-east-1",
        "endpoint": recorder.url,
        "access_key": "a",
        "secret_key": "b",
        "max_retries": retries,
    }
    with pytest.raises(TransientError, match="slow down"):
        open_backend({"backend": "s3", "s3": table}).get("a")
    assert len(recorder.asked) == 1 + retries


def test_sse_with_the_service_s_keys(recorder: Recorder) -> None:
    backend = opened(recorder, sse="s3", part_size=5_000_000)
    backend.put("small", b"1", when=Absent())
    backend.put("large", bytes(6_000_000), when=Absent())
    told = [asked.headers.get("x-amz-server-side-encryption") for asked in recorder.asked]
    kinds = ["partNumber" in asked.query for asked in recorder.asked]
    assert told[0] == "AES256"
    create = next(asked for asked in recorder.asked if "uploads" in asked.query)
    assert create.headers["x-amz-server-side-encryption"] == "AES256"
    assert all(value is None for value, part in zip(told, kinds, strict=True) if part)


@pytest.mark.parametrize("key_id", ["", "arn:aws:kms:eu-central-1:1:key/2"])
def test_sse_with_a_managed_key(recorder: Recorder, key_id: str) -> None:
    opened(recorder, sse="kms", sse_kms_key_id=key_id).put("a", b"1", when=Absent())
    headers = recorder.asked[-1].headers
    assert headers["x-amz-server-side-encryption"] == "aws:kms"
    assert headers.get("x-amz-server-side-encryption-aws-kms-key-id", "") == key_id


def test_sse_with_a_key_of_ones_own_goes_with_every_request(recorder: Recorder) -> None:
    key = bytes(range(200, 232))
    backend = opened(recorder, sse="c", sse_customer_key=base64.b64encode(key).decode(), part_size=5_000_000)
    backend.put("small", b"1", when=Absent())
    backend.put("large", bytes(6_000_000), when=Absent())
    with pytest.raises(NotFoundError):
        backend.get("a")
    with pytest.raises(NotFoundError):
        backend.stat("a")
    assert {asked.method for asked in recorder.asked} == {"PUT", "POST", "GET", "HEAD"}
    for asked in recorder.asked:
        assert asked.headers["x-amz-server-side-encryption-customer-algorithm"] == "AES256"
        assert base64.b64decode(asked.headers["x-amz-server-side-encryption-customer-key"]) == key
        told = base64.b64decode(asked.headers["x-amz-server-side-encryption-customer-key-md5"])
        assert told == hashlib.md5(key).digest()


def test_storage_class(recorder: Recorder) -> None:
    backend = opened(recorder, storage_class="STANDARD_IA", part_size=5_000_000)
    backend.put("small", b"1", when=Absent())
    backend.put("large", bytes(6_000_000), when=Absent())
    told = [asked.query for asked in recorder.asked if asked.headers.get("x-amz-storage-class") == "STANDARD_IA"]
    assert told == [{}, {"uploads": ""}]


@pytest.mark.parametrize("provider", ["", "aws", "minio", "r2", "b2", "spaces", "wasabi"])
def test_a_checksum_goes_along_in_the_form_that_the_provider_takes(recorder: Recorder, provider: str) -> None:
    backend = opened(recorder, provider=provider, part_size=5_000_000)
    backend.put("small", b"some bytes", when=Absent())
    backend.put("large", bytes(6_000_000), when=Absent())
    for asked in recorder.seen("PUT"):
        crc = base64.b64encode(zlib.crc32(asked.body).to_bytes(4, "big")).decode()
        md5 = base64.b64encode(hashlib.md5(asked.body).digest()).decode()
        told = asked.headers.get("x-amz-checksum-crc32"), asked.headers.get("content-md5")
        assert told == ((crc, None) if provider in {"aws", "minio", "r2"} else (None, md5))
        assert "x-amz-trailer" not in asked.headers


# Where it is sent: a proxy is told the host, without any name being looked up


@pytest.mark.parametrize(
    ("settings", "host"),
    [
        ({}, "media.s3.eu-west-3.amazonaws.com:443"),
        ({"force_path_style": True}, "s3.eu-west-3.amazonaws.com:443"),
        ({"provider": "aws"}, "media.s3.eu-west-3.amazonaws.com:443"),
        ({"provider": "b2", "region": "us-west-002"}, "media.s3.us-west-002.backblazeb2.com:443"),
        ({"provider": "spaces", "region": "nyc3"}, "media.nyc3.digitaloceanspaces.com:443"),
        ({"provider": "wasabi", "region": "eu-central-2"}, "media.s3.eu-central-2.wasabisys.com:443"),
        (
            {"provider": "r2", "endpoint": "https://abc.r2.cloudflarestorage.com"},
            "media.abc.r2.cloudflarestorage.com:443",
        ),
        ({"endpoint": "https://s3.{region}.example.com:8443"}, "media.s3.eu-west-3.example.com:8443"),
    ],
)
def test_where_a_provider_answers(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, settings: dict[str, object], host: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", recorder.url)
    recorder.answer = lambda _: Reply(502)
    usual = {"endpoint": "", "region": "eu-west-3", "force_path_style": False}
    with pytest.raises(TransientError):
        opened(recorder, **{**usual, **settings}).get("a")
    assert [(asked.method, asked.target) for asked in recorder.asked] == [("CONNECT", host)]


@pytest.mark.parametrize(
    ("settings", "target"),
    [
        ({"force_path_style": False, "endpoint": "http://s3.test:81"}, "http://media.s3.test:81/key"),
        ({"force_path_style": True, "endpoint": "http://s3.test:81"}, "http://s3.test:81/media/key"),
        ({"provider": "minio", "force_path_style": False, "endpoint": ""}, "http://minio:9000/media/key"),
    ],
)
def test_where_the_bucket_is_named(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, settings: dict[str, object], target: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", recorder.url)
    opened(recorder, **settings).put("key", b"1", when=Absent())
    assert recorder.asked[0].target == target


def test_an_endpoint_of_the_environment(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", recorder.url)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://s3.test:81")
    opened(recorder, endpoint="", force_path_style=False).put("key", b"1", when=Absent())
    opened(recorder, endpoint="http://mine.test", force_path_style=False).put("key", b"1", when=Absent())
    assert [asked.target for asked in recorder.asked] == ["http://s3.test:81/media/key", "http://media.mine.test/key"]


def test_r2_signs_for_the_region_auto(recorder: Recorder) -> None:
    opened(recorder, provider="r2", region="").put("key", b"1", when=Absent())
    assert [signer(asked)[1] for asked in recorder.asked] == ["auto"]


# Which region


def test_the_region_of_the_environment(recorder: Recorder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "config").write_text("[default]\nregion = sa-east-1\n")
    seen = []
    for name, region in (("", ""), ("AWS_DEFAULT_REGION", "us-west-1"), ("AWS_REGION", "ca-west-1")):
        if name:
            monkeypatch.setenv(name, region)
        opened(recorder, region="").put("key", b"1", when=Absent())
        seen.append(signer(recorder.asked[-1])[1])
    assert seen == ["sa-east-1", "us-west-1", "ca-west-1"]
    assert len(recorder.asked) == 3


@pytest.mark.parametrize("status", [200, 301, 403])
def test_the_region_is_asked_of_the_bucket(recorder: Recorder, status: int) -> None:
    def answer(asked: Asked) -> Reply:
        if asked.method == "HEAD":
            return Reply(status, headers={"x-amz-bucket-region": "ap-south-1"})
        return STORED

    recorder.answer = answer
    backend = opened(recorder, region="")
    backend.put("one", b"1", when=Absent())
    asked_once = len(recorder.seen("HEAD"))
    backend.put("two", b"1", when=Absent())
    assert recorder.asked[0].path == "/media"
    assert asked_once == len(recorder.seen("HEAD")) > 0
    assert [signer(asked)[1] for asked in recorder.seen("PUT")] == ["ap-south-1"] * 2


def test_a_service_that_tells_no_region_gets_the_usual_one(recorder: Recorder) -> None:
    opened(recorder, region="").put("one", b"1", when=Absent())
    assert signer(recorder.asked[-1])[1] == "us-east-1"


# Who signs


ROLE = (
    b'{"Code":"Success","AccessKeyId":"AKIAROLE","SecretAccessKey":"s","Token":"t","Expiration":"2099-01-01T00:00:00Z"}'
)


def metadata(asked: Asked) -> Reply:
    """Answer as the metadata service of a machine with a role."""
    answers = {
        "/latest/api/token": b"token",
        "/latest/meta-data/iam/security-credentials/": b"renderer",
        "/latest/meta-data/iam/security-credentials/renderer": ROLE,
    }
    found = answers.get(asked.path)
    return Reply(404) if found is None else Reply(200, found)


def no_role(_: Asked) -> Reply:
    return Reply(404)


@pytest.mark.parametrize(
    ("given", "who"),
    [
        ({"settings", "environment", "role", "profile"}, "AKIATEST"),
        ({"environment", "role", "profile"}, "AKIAENV"),
        ({"role", "profile"}, "AKIAROLE"),
        ({"container", "profile"}, "AKIAROLE"),
        ({"profile"}, "AKIAPROFILE"),
        ({"role"}, "AKIAROLE"),
    ],
)
def test_the_chain_is_environment_then_role_then_profile(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: set[str], who: str
) -> None:
    with (
        Recorder(metadata if "role" in given else no_role) as machine,
        Recorder(lambda _: Reply(200, ROLE)) as container,
    ):
        monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", machine.url)
        if "container" in given:
            monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{container.url}/role")
        if "environment" in given:
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENV")
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
        if "profile" in given:
            (tmp_path / "credentials").write_text(
                "[default]\naws_access_key_id = AKIAPROFILE\naws_secret_access_key = s\n"
            )
        changes = {} if "settings" in given else {"access_key": "", "secret_key": ""}
        opened(recorder, **changes).put("a", b"1", when=Absent())
        asked_role = bool(machine.asked)
    assert signer(recorder.asked[-1])[0] == who
    assert asked_role == (not given & {"settings", "environment", "container"})


def test_without_credentials_the_chain_is_told(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    with Recorder(no_role) as machine:
        monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", machine.url)
        with pytest.raises(BackendSetupError, match="settings, environment, IAM role, profile files"):
            opened(recorder, access_key="", secret_key="").get("a")
    assert recorder.asked == []


# What is refused before anybody is asked


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bucket": ""}, "s3.bucket is missing"),
        ({"access_key": ""}, "s3.access_key is missing"),
        ({"secret_key": ""}, "s3.secret_key is missing"),
        ({"prefix": "../x"}, "s3.prefix cannot begin a key"),
        ({"provider": "r2", "endpoint": ""}, "ACCOUNT.r2.cloudflarestorage.com"),
        ({"storage_class": "GLACIER"}, "cannot be read at once"),
        ({"endpoint": "minio:9000"}, "no address"),
        ({"endpoint": "http://"}, "no address"),
        ({"endpoint": "http://[::"}, "no address"),
        ({"endpoint": "http://{host}"}, "no address"),
        ({"endpoint": "http://me:hush@s3.test"}, "holds a name or password"),
        ({"sse_kms_key_id": "k"}, 'does nothing without sse = "kms"'),
        ({"sse_customer_key": "k"}, 'does nothing without sse = "c"'),
        ({"sse": "c"}, "not 32 bytes in base64"),
        ({"sse": "c", "sse_customer_key": "hush"}, "not 32 bytes in base64"),
    ],
)
def test_settings_that_cannot_work(recorder: Recorder, settings: dict[str, object], message: str) -> None:
    with pytest.raises(BackendSetupError, match=message) as caught:
        opened(recorder, **settings)
    assert "hush" not in str(caught.value)
    assert recorder.asked == []


def test_an_address_that_needs_a_region_says_so(recorder: Recorder) -> None:
    with pytest.raises(BackendSetupError, match=r"s3\.region is missing: .*backblazeb2"):
        opened(recorder, endpoint="", provider="b2", region="").get("a")


def test_settings_do_not_show_their_secrets() -> None:
    settings = S3Settings(bucket="b", access_key="AKIA", secret_key="hush", sse_customer_key="hushhush")
    assert "hush" not in repr(settings)
    assert "AKIA" not in f"{settings}"
    assert "bucket='b'" in repr(settings)
