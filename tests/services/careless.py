"""A real S3 service that ignores conditions: one that keeps them, behind a relay that takes If-Match and If-None-Match away.

Those headers are part of what a client signs, so the relay signs anew what it changed.
"""

import contextlib
from collections.abc import Iterator
from urllib.parse import quote, urlencode

import urllib3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.services.relay import Relay, Reply, Request, relaying
from tests.services.seaweed import Server

_CONDITIONS = frozenset({"if-match", "if-none-match"})
_SIGNATURE = frozenset({"authorization", "x-amz-date", "x-amz-content-sha256", "host", "content-length", "connection"})
_OF_A_CONNECTION = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})


@contextlib.contextmanager
def careless(server: Server) -> Iterator[Relay]:
    """Run the relay in front of a service."""
    with urllib3.PoolManager(retries=False, maxsize=64, timeout=60.0) as pool, relaying(server.endpoint) as relay:

        def forget_conditions(request: Request) -> Reply | None:
            if not _CONDITIONS & request.headers.keys():
                return None
            return _forwarded(pool, server, request)

        relay.rule = forget_conditions
        yield relay


def _forwarded(pool: urllib3.PoolManager, server: Server, request: Request) -> Reply:
    query = urlencode(sorted(request.query.items()), quote_via=quote)
    kept = {name: value for name, value in request.headers.items() if name not in _CONDITIONS | _SIGNATURE}
    url = f"{server.endpoint}{request.path}{f'?{query}' if query else ''}"
    signed = AWSRequest(request.method, url, headers=kept, data=request.body)
    S3SigV4Auth(Credentials(server.access_key, server.secret_key), "s3", "us-east-1").add_auth(signed)
    answer = pool.request(request.method, url, body=request.body, headers=dict(signed.headers.items()))
    headers = {name: value for name, value in answer.headers.items() if name.lower() not in _OF_A_CONNECTION}
    return Reply(answer.status, answer.data, headers)
