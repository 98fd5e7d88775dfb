"""Very many empty objects, made fast: a cloud's library takes longer to sign and send one than a server to store it.

Every request here is signed once for all keys, as S3 does for forms, or not at all; what Azurite keeps in a database is
copied there.
"""

import threading
from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from itertools import islice
from urllib.parse import quote, urlsplit

from sqlalchemy import MetaData, Table, create_engine, insert, select

from tests.services.azurite import Azurite
from tests.services.seaweed import Server

Request = tuple[str, str, bytes, dict[str, str]]
"""Method, path, body and headers."""

CONNECTIONS = 8
SIGNED_SECONDS = 4 * 3600
_BOUNDARY = "one-field-and-the-next"


def send(endpoint: str, requests: Generator[Request]) -> None:
    """Send every request, in any order.

    Raises:
        RuntimeError: one was refused; nothing more is sent then.
    """
    address = urlsplit(endpoint)
    lock = threading.Lock()

    def work(_: int) -> None:
        connection = HTTPConnection(address.hostname or "", address.port)
        try:
            while share := _taken(requests, lock):
                for request in share:
                    connection.request(*request)
                    answer = connection.getresponse()
                    told = answer.read()
                    if answer.status >= 300:
                        raise RuntimeError(f"{request[:2]} was answered {answer.status}: {told[:500]!r}")
        finally:
            connection.close()
            with lock:
                requests.close()

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(work, range(CONNECTIONS)))


def _taken(requests: Generator[Request], lock: threading.Lock) -> list[Request]:
    with lock:
        return list(islice(requests, 100))


def s3_forms(server: Server, prefix: str, keys: Iterable[str]) -> Generator[Request]:
    """Yield the form that creates each key below `prefix` in the bucket "media"; one signature holds for all of them."""
    client = server.client()
    below = f"{prefix}/${{filename}}"
    signed = client.generate_presigned_post("media", below, ExpiresIn=SIGNED_SECONDS)
    client.close()
    path = urlsplit(signed["url"]).path
    headers = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}
    for key in keys:
        fields = {**signed["fields"], "key": f"{prefix}/{key}"}
        parts = [f'name="{name}"\r\n\r\n{value}' for name, value in fields.items()]
        parts.append('name="file"; filename="empty"\r\n\r\n')
        body = "".join(f"--{_BOUNDARY}\r\nContent-Disposition: form-data; {part}\r\n" for part in parts)
        yield "POST", path, f"{body}--{_BOUNDARY}--\r\n".encode(), headers


def gcs_uploads(prefix: str, keys: Iterable[str]) -> Generator[Request]:
    """Yield the upload of each key below `prefix` to the bucket "media" of a server that checks no credentials."""
    for key in keys:
        name = quote(f"{prefix}/{key}", safe="")
        yield "POST", f"/upload/storage/v1/b/media/o?uploadType=media&name={name}", b"", {}


def copy_azurite_blob(server: Azurite, source: str, targets: Generator[str]) -> None:
    """Copy the row of a blob for each other name, in the PostgreSQL database of an Azurite that has one."""
    assert server.database is not None
    engine = create_engine(server.database.replace("postgresql:", "postgresql+psycopg:"))
    blobs = Table("Blobs", MetaData(), autoload_with=engine)
    with engine.begin() as connection:
        row = connection.execute(select(blobs).where(blobs.c.blobName == source)).mappings().one()
        same = {name: value for name, value in row.items() if name != "blobId"}
        while names := list(islice(targets, 10_000)):
            connection.execute(insert(blobs), [{**same, "blobName": name} for name in names])
    engine.dispose()
