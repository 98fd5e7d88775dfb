"""Addresses of stores: `s3://`, `az://`, `gs://` and `file://` to the table that `registry` opens. Opens nothing, asks nobody."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote, urlsplit

from mediavault_backends.errors import BackendSetupError
from mediavault_backends.keys import check_prefix

FORMS: Final = "s3://BUCKET/PREFIX, az://CONTAINER/PREFIX, gs://BUCKET/PREFIX or file:///FOLDER"
_NAMED: Final = {"s3": ("s3", "bucket"), "az": ("azure", "container"), "gs": ("gcs", "bucket")}
SCHEMES: Final = frozenset({*_NAMED, "file"})


def is_store_url(url: str) -> bool:
    """Tell whether an address is that of a store, and not of a server."""
    return url.partition("://")[0].lower() in SCHEMES and "://" in url


def table_of(url: str) -> Mapping[str, object]:
    """Return the `[storage]` table that an address stands for: where objects are, nothing about who may get at them.

    Raises:
        BackendSetupError: it is not the address of a store.
    """
    try:
        parts = urlsplit(url)
        strange = parts.username is not None or parts.password is not None or parts.port is not None
    except ValueError:
        raise BackendSetupError(f"not the address of a store: {url!r}; it looks like {FORMS}") from None
    if parts.scheme not in SCHEMES:
        raise BackendSetupError(f"not the address of a store: {url!r}; it looks like {FORMS}")
    if strange or parts.query or parts.fragment:
        raise BackendSetupError(f"the address of a store holds no credentials, port, query or fragment: {FORMS}")
    path = unquote(parts.path)
    if parts.scheme == "file":
        if parts.netloc not in {"", "localhost"} or not path.strip("/") or "\0" in path:
            raise BackendSetupError(
                f"the address of a folder is absolute, with three slashes: file:///FOLDER, not {url!r}"
            )
        return {"backend": "local", "local": {"path": path}}
    kind, holder = _NAMED[parts.scheme]
    prefix = path.strip("/")
    try:
        check_prefix(f"{prefix}/" if prefix else "")
    except ValueError as error:
        raise BackendSetupError(f"no object can be under {prefix!r}: {error}") from None
    if not parts.netloc:
        raise BackendSetupError(f"the address {url!r} names no {holder}; it looks like {FORMS}")
    return {"backend": kind, kind: {holder: parts.netloc, "prefix": prefix}}
