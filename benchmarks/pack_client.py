"""Puts files to a server or gets them back, one request each over one connection a file: the same client for any server.

python -m benchmarks.pack_client put|get URL FOLDER

Each file of FOLDER stands at URL/<its name>. Reads and writes 1 MiB at a time; what is got is counted, not kept.
"""

import http.client
import sys
from pathlib import Path
from urllib.parse import urlsplit

BLOCK = 1 << 20


def main() -> None:
    """Transfer every file."""
    verb, url, folder = sys.argv[1:]
    parts = urlsplit(url)
    for file in sorted(Path(folder).iterdir()):
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
        transfer = _put if verb == "put" else _get
        transfer(connection, f"{parts.path}/{file.name}", file)
        connection.close()


def _put(connection: http.client.HTTPConnection, path: str, file: Path) -> None:
    connection.putrequest("PUT", path)
    connection.putheader("Content-Length", str(file.stat().st_size))
    connection.endheaders()
    buffer = memoryview(bytearray(BLOCK))
    with file.open("rb", buffering=0) as source:
        while count := source.readinto(buffer):
            connection.send(buffer[:count])
    response = connection.getresponse()
    response.read()
    if response.status not in {200, 201, 204}:
        sys.exit(f"PUT {path}: {response.status}")


def _get(connection: http.client.HTTPConnection, path: str, file: Path) -> None:
    connection.request("GET", path)
    response = connection.getresponse()
    buffer, left = bytearray(BLOCK), file.stat().st_size
    while count := response.readinto(buffer):
        left -= count
    if response.status != 200 or left:
        sys.exit(f"GET {path}: {response.status}, {left} bytes are missing")


if __name__ == "__main__":
    main()
