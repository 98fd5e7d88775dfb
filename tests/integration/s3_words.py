"""How an S3 service says things: the answers that tests give in its place."""

import os
import uuid
from pathlib import Path

import pytest

from tests.integration.recorder import Asked, Reply

STORED = Reply(200, headers={"ETag": '"one"'})


def refusal(status: int, code: str) -> Reply:
    """Return an answer that refuses."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>secret words</Message></Error>"
    return Reply(status, body.encode(), {"Content-Type": "application/xml"})


def content(data: bytes, *, cut: int = 0, start: int | None = None, whole: int = 0) -> Reply:
    """Return an object, or from `start` a stretch of one of `whole` bytes."""
    headers = {"ETag": '"one"'}
    if start is None:
        return Reply(200, data, headers, cut=cut)
    headers["Content-Range"] = f"bytes {start}-{start + len(data) - 1}/{whole}"
    return Reply(206, data, headers, cut=cut)


def obliging(asked: Asked) -> Reply:
    """Take everything, hold nothing."""
    query = asked.query
    if asked.method == "POST" and "uploads" in query:
        return _xml(
            f"<InitiateMultipartUploadResult><UploadId>{uuid.uuid4().hex}</UploadId></InitiateMultipartUploadResult>"
        )
    if asked.method == "POST" and "uploadId" in query:
        return _xml('<CompleteMultipartUploadResult><ETag>"whole-5"</ETag></CompleteMultipartUploadResult>')
    if asked.method == "DELETE":
        return Reply(204)
    if asked.method in {"GET", "HEAD"}:
        return refusal(404, "NoSuchKey")
    return STORED


def _xml(body: str) -> Reply:
    return Reply(200, f"<?xml version='1.0'?>{body}".encode(), {"Content-Type": "application/xml"})


def signer(asked: Asked) -> tuple[str, str]:
    """Return the access key and the region of a request's signature."""
    scope = asked.headers["authorization"].split("Credential=")[1].split(",")[0].split("/")
    return scope[0], scope[2]


def forget_clouds(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Keep the developer's cloud and proxies out of a test, and let profiles be `config` and `credentials` in `folder`."""
    for name in [name for name in os.environ if name.startswith("AWS_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(folder / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(folder / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
