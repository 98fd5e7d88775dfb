"""Small objects in one table of an SQL database, with exact conditions; for what changes, beside a store that ignores them.

SQLite for one machine, PostgreSQL for several. Bytes stand in the table, so an object is held in memory whole: this is for
refs, keys and config, not for packs.
"""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateTable

from mediavault_backends.api import Absent, Blob, Body, Buffer, Condition, Stat, Version, blocks_of
from mediavault_backends.bodies import BLOCK, check_range, give_up_adopted, size_of
from mediavault_backends.errors import (
    AccessDeniedError,
    BackendError,
    BackendSetupError,
    NotFoundError,
    OutcomeUnknownError,
    PreconditionFailedError,
    StorageFullError,
    TransientError,
    translate_write_error,
)
from mediavault_backends.keys import check_key, check_prefix

MAX_OBJECT: Final = 16 << 20
"""Largest object in bytes."""
PAGE_SIZE: Final = 1000
TIMEOUT: Final = 30
"""Seconds to wait for a connection, or for other writers."""
_DRIVERS: Final = {"sqlite": "sqlite+pysqlite", "postgresql": "postgresql+psycopg"}
_KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_OBJECTS: Final = sa.Table(
    "mediagit_objects",
    sa.MetaData(),
    sa.Column("key", _KEY, primary_key=True),
    sa.Column("data", sa.LargeBinary, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
)

_T = TypeVar("_T")


class SqlBackend:
    """A table of objects. Safe to use from several threads and, with the same database, from several processes.

    Args:
        url: `sqlite:////absolute/path` or `postgresql://user:password@host/database`.
        page_size: rows that one query of a listing brings.

    Raises:
        BackendSetupError: the address is not one of these.
        BackendError: the database cannot be used.
    """

    def __init__(self, url: str, *, page_size: int = PAGE_SIZE) -> None:
        address = _address(url)
        self._page_size = page_size
        self.name = f"the database {address.render_as_string(hide_password=True)}"
        if address.get_backend_name() == "sqlite":
            # A file costs nothing to open, and nothing has to be closed.
            self._engine = sa.create_engine(address, poolclass=NullPool, connect_args={"timeout": TIMEOUT})
            sa.event.listen(self._engine, "connect", _make_durable)
        else:
            arguments = {"connect_timeout": TIMEOUT, "application_name": "mediagit-server"}
            self._engine = sa.create_engine(
                address, connect_args=arguments, pool_pre_ping=True, pool_size=8, max_overflow=24
            )
        self._make_table()

    def close(self) -> None:
        """Let go of connections; later calls open others."""
        self._engine.dispose()

    def __del__(self) -> None:
        if hasattr(self, "_engine"):
            self.close()

    def put(self, key: str, body: Body, *, when: Condition) -> Version:
        """Store `body` whole or not at all, if `when` holds at that instant.

        Raises:
            BackendSetupError: the body is larger than 16 MiB.
        """
        check_key(key)
        data = _whole(body, key)
        version = Version(secrets.token_hex(16))
        row = {"key": key, "data": data, "version": version}
        statement: sa.Insert | sa.Update = sa.insert(_OBJECTS).values(row)
        if not isinstance(when, Absent):
            statement = sa.update(_OBJECTS).where(_OBJECTS.c.key == key, _OBJECTS.c.version == when.version).values(row)
        try:
            done = self._write(key, lambda connection: connection.execute(statement).rowcount)
        except exc.IntegrityError:
            done = 0
        if not done:
            raise PreconditionFailedError(f"the condition for {key} does not hold", key=key)
        give_up_adopted(body)
        return version

    def get(self, key: str) -> Blob:
        """Return a whole object."""
        data, version = self._row(key, _OBJECTS.c.data, _OBJECTS.c.version)
        return Blob(bytes(data), Version(version))

    def read(self, key: str, start: int, length: int) -> bytes:
        """Return exactly `length` bytes from offset `start`; fewer only where the object ends."""
        check_range(start, length)
        return self._range(key, start, length)

    def stream(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[Buffer]:
        """Yield a range of an object in blocks of at most 1 MiB; to its end when `length` is None."""
        check_range(start, length)
        data = memoryview(self._range(key, start, MAX_OBJECT if length is None else length))
        return (data[at : at + BLOCK] for at in range(0, len(data), BLOCK))

    def stat(self, key: str) -> Stat:
        """Return size and version."""
        size, version = self._row(key, sa.func.length(_OBJECTS.c.data), _OBJECTS.c.version)
        return Stat(key, size, Version(version))

    def scan(self, prefix: str = "") -> Iterator[Stat]:
        """Yield every object whose key starts with `prefix`, keys ascending by code point."""
        check_prefix(prefix)
        return self._scan(prefix)

    def delete(self, key: str) -> None:
        """Remove the object durably; a key without an object is no error."""
        check_key(key)
        self._write(key, lambda connection: connection.execute(sa.delete(_OBJECTS).where(_OBJECTS.c.key == key)))

    def _scan(self, prefix: str) -> Iterator[Stat]:
        column, size = _OBJECTS.c.key, sa.func.length(_OBJECTS.c.data)
        wanted = sa.select(column, size, _OBJECTS.c.version).order_by(column).limit(self._page_size)
        page = wanted.where(column >= prefix)
        while True:
            rows = self._read(prefix, page)
            for key, count, version in rows:
                if not key.startswith(prefix):
                    return
                yield Stat(key, count, Version(version))
            if len(rows) < self._page_size:
                return
            page = wanted.where(column > rows[-1][0])

    def _range(self, key: str, start: int, length: int) -> bytes:
        # Both are cut to what the functions of every database take.
        first, count = min(start, MAX_OBJECT) + 1, min(length, MAX_OBJECT)
        (data,) = self._row(key, sa.func.substr(_OBJECTS.c.data, first, count, type_=sa.LargeBinary))
        return bytes(data or b"")

    def _row(self, key: str, *columns: sa.ColumnElement[Any]) -> tuple[Any, ...]:
        check_key(key)
        rows = self._read(key, sa.select(*columns).where(_OBJECTS.c.key == key))
        if not rows:
            raise NotFoundError(f"no object {key}", key=key)
        return rows[0]

    def _read(self, key: str, query: sa.Select[Any]) -> list[tuple[Any, ...]]:
        with self._translated(key), self._engine.connect() as connection:
            return [tuple(row) for row in connection.execute(query)]

    def _write(self, key: str, work: Callable[[Connection], _T]) -> _T:
        """Do `work` in a transaction of its own.

        Raises:
            OutcomeUnknownError: the connection broke while it was made durable.
        """
        with self._translated(key), self._engine.connect() as connection:
            done = work(connection)
            try:
                connection.commit()
            except exc.DBAPIError as error:
                if error.connection_invalidated:
                    raise OutcomeUnknownError(f"{self.name} did not confirm {key}: {_said(error)}", key=key) from error
                raise
            return done

    def _make_table(self) -> None:
        create = CreateTable(_OBJECTS, if_not_exists=True)
        with self._translated(""):
            try:
                with self._engine.begin() as connection:
                    connection.execute(create)
            except exc.IntegrityError:  # PostgreSQL, when two processes make it at the same instant
                with self._engine.begin() as connection:
                    connection.execute(create)

    @contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        """Turn the library's errors into backend errors; a violated primary key passes through."""
        try:
            yield
        except exc.IntegrityError:
            raise
        except exc.SQLAlchemyError as error:
            raise self._meaning(error, key) from error

    def _meaning(self, error: exc.SQLAlchemyError, key: str) -> BackendError:
        said = _said(error)
        text = f"{self.name}: {said}"
        lower = said.lower()
        if any(words in lower for words in _REFUSED):
            return AccessDeniedError(text, key=key)
        if any(words in lower for words in _FULL):
            return StorageFullError(text, key=key)
        if any(words in lower for words in _WRONG):
            return BackendSetupError(text, key=key)
        return TransientError(text, key=key)


_REFUSED: Final = ("password authentication failed", "permission denied", "readonly database", "no password supplied")
_FULL: Final = ("is full", "no space left", "disk full")
_WRONG: Final = ("does not exist", "unable to open database file", "not a database")


def _address(url: str) -> URL:
    forms = "sqlite:////absolute/path.db or postgresql://user@host/database"
    try:
        address = make_url(url)
    except exc.ArgumentError:
        raise BackendSetupError(f"storage.sql.url is not the address of a database; it looks like {forms}") from None
    if address.drivername not in _DRIVERS:
        raise BackendSetupError(f"storage.sql.url is for {address.drivername!r}; it looks like {forms}")
    if address.drivername == "sqlite" and not Path(address.database or "").is_absolute():
        raise BackendSetupError(
            "storage.sql.url names no file by its absolute path: sqlite:////var/lib/mediagit/refs.db"
        )
    return address.set(drivername=_DRIVERS[address.drivername])


def _make_durable(connection: Any, _: object) -> None:
    """Let readers not wait for a writer, and every commit reach the disk."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()


def _whole(body: Body, key: str) -> bytes:
    if size_of(body) > MAX_OBJECT:
        raise BackendSetupError(f"{key} is larger than the {MAX_OBJECT} bytes that a row may have", key=key)
    try:
        return b"".join(bytes(block) for block in blocks_of(body))
    except OSError as error:
        raise translate_write_error(error, key) from error


def _said(error: exc.SQLAlchemyError) -> str:
    """Return the database's own words: the library's hold statements with the bytes in them."""
    original = error.orig if isinstance(error, exc.DBAPIError) else None
    return " ".join(str(original or type(error).__name__).split()) or type(error).__name__
