"""The calls of the sync protocol, version 1, to one repository on a server. When to make which is `mediavault.sync`'s."""

import base64
import re
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Final, NoReturn, TypeVar
from urllib.parse import quote, urlsplit

import msgspec
from blake3 import blake3

from mediavault.errors import (
    DivergedError,
    FormatError,
    IntegrityError,
    MediaVaultError,
    NeedsDecisionError,
    NotAllowedError,
    NotFoundError,
    RefMovedError,
    RemoteError,
    StorageError,
    UnsupportedFormatError,
    UsageError,
)
from mediavault.formats.ref import decode_ref_value, value_hash
from mediavault.formats.slot import check_slot_name
from mediavault.formats.wire import (
    SIGNED_ROWS,
    Capabilities,
    Holdings,
    LocatedRow,
    LogList,
    PackRequest,
    Problem,
    RefList,
    SlotList,
    decode_ids,
    decode_json,
    decode_located,
    decode_signed_rows,
    encode_ids,
    encode_json,
    etag_of,
)
from mediavault.model.ids import ObjectId
from mediavault.store.pack_table import PackTable, parse_pack
from mediavault.wire import problems
from mediavault.wire.http import RETRIED, Answer, Patience, Traffic, UnreachableError, Wire, retry_after
from mediavault.wire.straight import ExpiredError, Straight
from mediavault.wire.upload import PackBody, Upload
from mediavault_backends.urls import FORMS

MIN_MAX_PACK: Final = 1 << 20
IDS_PER_CALL: Final = 65_536
TAIL: Final = 512 << 10
"""Bytes of a pack's end that are asked for when its table is wanted."""
_TAIL_RANGE: Final = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")
_SEGMENT: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
ARCHIVED_HINT: Final = (
    "Whoever runs the storage has to restore it, which takes hours. Then run the command again: it continues."
)
_JSON: Final = {"Content-Type": "application/json"}
_BINARY: Final = {"Content-Type": "application/octet-stream"}

Message = TypeVar("Message", bound=msgspec.Struct)
Body = TypeVar("Body", bound=PackBody)


class NotClosedError(MediaVaultError):
    """The remote refuses something because objects that it links to are not there; `missing` names some of them."""

    def __init__(self, message: str, missing: list[ObjectId]) -> None:
        super().__init__(
            message, untouched="No ref was moved.", hint="Run the command again: it sends what is missing."
        )
        self.missing = missing


@dataclass(frozen=True, slots=True)
class RemoteRef:
    """A ref as a remote holds it: the stored value, and the ETag that a conditional move names."""

    value_bytes: bytes
    etag: str


class HttpRemote:
    """A repository on a server. Safe to use from several threads.

    Args:
        url: `http(s)://host[:port]/team/project`, or the server's root where it has a default repository.
        api_key: sent as a bearer token; empty sends none.
        patience: how long to wait, how often to repeat.
        direct: let packs go straight to and from the store behind the server, where it offers that.

    Raises:
        UsageError: the URL is none of this form.
    """

    def __init__(self, url: str, *, api_key: str = "", patience: Patience | None = None, direct: bool = True) -> None:
        origin, self._base = split_url(url)
        self.url = origin + self._base
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        patience = patience or Patience()
        self._wire = Wire(origin, headers, patience)
        self._direct = direct
        self.straight = Straight(patience, secure=origin.startswith("https:"))
        self._upload = Upload(self._ask_json, self.straight, self._send_pack, patience)
        self._capabilities = Capabilities(1, 256 << 20, IDS_PER_CALL)

    @property
    def traffic(self) -> Traffic:
        """What was sent and received so far, to and from the store as well; `straight` has that alone."""
        own, straight = self._wire.traffic, self.straight.traffic
        return Traffic(own.requests + straight.requests, own.sent + straight.sent, own.received + straight.received)

    @property
    def max_pack(self) -> int:
        """Bytes of the largest pack that the server takes; known once `config` was asked for."""
        return self._capabilities.max_pack

    def close(self) -> None:
        """Close all connections."""
        self.straight.close()
        self._wire.close()

    def abort(self) -> None:
        """Break off every transfer that is under way, in whatever thread."""
        self.straight.abort()
        self._wire.abort()

    def config(self) -> bytes | None:
        """Return the exact bytes of the repository's config, or None where there is no repository.

        Raises:
            RemoteError: and its kin, as every call here: NotAllowedError for refused credentials.
        """
        answer = self._ask("GET", "/config", accept=(404,))
        if answer.status == 404:
            if _problem(answer).type != problems.NO_REPOSITORY.uri:
                self._refuse(answer)
            return None
        self._capabilities = self._read_capabilities(answer.headers)
        return answer.body

    def create(self, config: bytes, slots: Mapping[str, bytes]) -> None:
        """Make the repository; where this very one is there already, only slots that nobody has made are added.

        Raises:
            NeedsDecisionError: another repository lives there, or a slot of one of these names is another one.
            NotAllowedError: the server makes no projects.
        """
        answer = self._ask("PUT", "/config", config, _JSON)
        self._capabilities = self._read_capabilities(answer.headers)
        for name, slot in slots.items():
            self.put_slot(name, slot, None)

    def slots(self) -> dict[str, bytes]:
        """Return the wrapped keys by slot name; one that was removed since it was listed is left out.

        Raises:
            FormatError: a name that no slot can have.
        """
        names = self._json(self._ask("GET", "/keys"), SlotList).slots
        for name in names:
            check_slot_name(name)
        answers = {name: self._ask("GET", "/keys/" + quote(name, safe=""), accept=(404,)) for name in names}
        return {name: answer.body for name, answer in answers.items() if answer.status != 404}

    def put_slot(self, name: str, slot: bytes, expected: bytes | None) -> None:
        """Store a slot in place of `expected`; None: only where there is none.

        Raises:
            RefMovedError: the slot is not what was expected.
        """
        condition = {"If-None-Match": "*"} if expected is None else {"If-Match": etag_of(blake3(expected).digest())}
        self._ask("PUT", "/keys/" + quote(name, safe=""), slot, {**_JSON, **condition})

    def delete_slot(self, name: str, expected: bytes) -> None:
        """Remove a slot that still is `expected`; one that is gone already is no error.

        Raises:
            RefMovedError: the slot is not what was expected.
        """
        condition = {"If-Match": etag_of(blake3(expected).digest())}
        self._ask("DELETE", "/keys/" + quote(name, safe=""), None, condition, accept=(404,))

    def holdings(self) -> Holdings:
        """Return how much is stored there."""
        return self._json(self._ask("GET", "/stats"), Holdings)

    def refs(self) -> dict[str, RemoteRef]:
        """Return every ref by name, deleted ones (nil) too.

        Raises:
            IntegrityError: a value under the name of another.
        """
        found: dict[str, RemoteRef] = {}
        for row in self._json(self._ask("GET", "/refs"), RefList).refs:
            value_bytes = self._base64(row.value)
            try:
                name = decode_ref_value(value_bytes).name
            except FormatError as error:
                raise IntegrityError(
                    f"The server {self._wire.origin} gives a damaged ref {row.name}: {error.message}",
                    untouched="Nothing was changed.",
                ) from error
            if name != row.name or name in found:
                raise IntegrityError(
                    f"The server {self._wire.origin} mixes up its refs: {row.name} is there twice, or is {name}."
                )
            if etag_of(value_hash(value_bytes)) != row.etag:
                raise IntegrityError(f"The server {self._wire.origin} gives the ref {row.name} a wrong ETag.")
            found[row.name] = RemoteRef(value_bytes, row.etag)
        return found

    def ref_log(self, name: str) -> list[bytes]:
        """Return a ref's former values, oldest first."""
        rows = self._json(self._ask("GET", f"/logs/{_ref_path(name)}"), LogList).values
        return [self._base64(row) for row in rows]

    def put_ref(self, value_bytes: bytes, expected: str | None, *, force: bool = False, adopt: bool = False) -> None:
        """Move a ref to a value that a key holder made; None expects that there is no such ref yet.

        After a lost answer the ref is read, so a move that landed is never reported as somebody else's.

        Raises:
            RefMovedError: someone else moved it first.
            DivergedError: not a fast-forward, and not forced.
            NotClosedError: the target is not there whole.
        """
        self._upload.settle()
        name = decode_ref_value(value_bytes).name
        headers = {"If-None-Match": "*"} if expected is None else {"If-Match": expected}
        if force:
            headers["X-Mediagit-Force"] = "true"
        if adopt:
            headers["X-Mediagit-Adopt"] = "true"
        try:
            self._ask("PUT", f"/refs/{_ref_path(name)}", value_bytes, {**_BINARY, **headers})
        except RefMovedError:
            answer = self._ask("GET", f"/refs/{_ref_path(name)}", accept=(404,))
            if answer.status == 404 or answer.body != value_bytes:
                raise

    def missing(self, ids: Iterable[ObjectId]) -> list[ObjectId]:
        """Return those of `ids` that the remote lacks, in their order. What is being checked of this upload is there."""
        wanted = list(ids)
        found: list[ObjectId] = []
        headers = {**_BINARY, **self._upload.headers}
        for batch in self._batches(wanted):
            lacking = decode_ids(self._ask("POST", "/chunks/check", encode_ids(batch), headers).body)
            asked = set(batch)
            if any(object_id not in asked for object_id in lacking):
                raise IntegrityError(f"The server {self._wire.origin} misses objects that it was not asked for.")
            found += lacking
        return found

    def locate(self, ids: Iterable[ObjectId]) -> list[LocatedRow]:
        """Return where objects stand; those that the remote lacks are left out."""
        rows: list[LocatedRow] = []
        headers = {**_BINARY, "Accept": SIGNED_ROWS} if self._goes_straight else _BINARY
        for batch in self._batches(list(ids)):
            answer = self._ask("POST", "/chunks/locate", encode_ids(batch), headers)
            if answer.headers.get("Content-Type") == SIGNED_ROWS:
                found = decode_signed_rows(answer.body)
                self.straight.remember(found)
                rows += found.rows
            else:
                rows += decode_located(answer.body)
        return rows

    def ahead(self, packs: Iterable[Body]) -> Iterator[Body]:
        """Yield packs of chunks that are to be sent now, after asking where to: for some of them at a time."""
        return self._upload.ahead(packs) if self._goes_straight else iter(packs)

    def put_pack(self, pack: PackBody) -> bool:
        """Send a pack, once: a pack whose fate is unknown goes under a fresh name, and that is the caller's decision.

        Returns:
            whether it is new there.

        Raises:
            UnreachableError: the server may or may not have taken it.
            NotClosedError: a metadata pack links to what is not there.
            IntegrityError: the server found the pack to be damaged.
        """
        if self._upload.put(pack):
            return True
        self._upload.settle()
        return self._send_pack(pack)

    def _send_pack(self, pack: PackBody) -> bool:
        answer = self._wire.send("PUT", f"{self._base}/packs/{pack.id.hex()}", pack.blocks(), pack.size, {})
        if answer.status not in {200, 201}:
            self._refuse(answer)
        return answer.status == 201

    def read_pack(self, pack: ObjectId, start: int, length: int) -> Generator[bytes]:
        """Yield a range of a pack; a connection that breaks goes on at the byte where it broke.

        Raises:
            UnreachableError: several tries in a row brought nothing.
            IntegrityError: the server sends another range than was asked for.
        """
        done = failures = 0
        while done < length:
            before = done
            lost: UnreachableError | None = None
            try:
                with closing(self._blocks(pack, start + done, length - done)) as blocks:
                    for block in blocks:
                        done += len(block)
                        yield block
            except UnreachableError as error:
                lost = error
            failures = 0 if done > before else failures + 1
            if failures > self._wire.patience.retries:
                raise lost or UnreachableError(f"The server {self._wire.origin} sends nothing of a pack.")
            if done < length:
                self._wire.wait(failures, None if lost is None else lost.retry_after)

    def pack_table(self, pack: ObjectId) -> PackTable:
        """Return what a pack says of itself: two requests, where it has fewer than 8,000 rows.

        Raises:
            FormatError: it is cut or damaged.
            NotFoundError: it is not there.
            IntegrityError: the server sends another range than was asked for.
        """
        tail, size = self._tail(pack, TAIL)

        def read(start: int, length: int) -> bytes:
            if start >= size - len(tail):
                return tail[start + len(tail) - size :][:length]
            return b"".join(self.read_pack(pack, start, length))

        return parse_pack(read, size)

    def _tail(self, pack: ObjectId, length: int) -> tuple[bytes, int]:
        """Return the last bytes of a pack, and its size."""
        answer = self._ask("GET", f"/packs/{pack.hex()}", None, {"Range": f"bytes=-{length}"}, accept=(416,))
        if answer.status == 416:
            raise FormatError("A pack is empty.")
        given = _TAIL_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        start, end, size = map(int, given.groups()) if given else (0, 0, 0)
        if (
            answer.status != 206
            or end + 1 != size
            or start != max(0, size - length)
            or len(answer.body) != size - start
        ):
            raise IntegrityError(f"The server {self._wire.origin} sends another range than the end of {pack.hex()}.")
        return answer.body, size

    def metadata(self, want: Iterable[ObjectId], have: Iterable[ObjectId]) -> Generator[bytes]:
        """Yield the bytes of a pack with the metadata reachable from `want` and not from `have`.

        Raises:
            UnreachableError: the answer broke off: what came is no whole pack, the call must be made again.
        """
        request = encode_json(PackRequest([i.hex() for i in want], [i.hex() for i in have]))
        with self._wire.stream("POST", f"{self._base}/objects/pack", request, _JSON) as (response, blocks):
            if response.status != 200:
                self._refuse(self._wire.whole(response))
            yield from blocks

    def wait(self, failures: int, seconds: float | None) -> None:
        """Wait before another try of what only the caller may repeat."""
        self._wire.wait(failures, seconds)

    @property
    def retries(self) -> int:
        """How often what may be repeated is repeated."""
        return self._wire.patience.retries

    def _ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        accept: tuple[int, ...] = (),
    ) -> Answer:
        answer = self._wire.ask(method, self._base + path, body, headers)
        if not 200 <= answer.status < 300 and answer.status not in accept:
            self._refuse(answer)
        return answer

    @property
    def _goes_straight(self) -> bool:
        return self._direct and self._capabilities.direct and self.straight.usable

    def _blocks(self, pack: ObjectId, start: int, length: int) -> Generator[bytes]:
        """Yield a range of a pack: from the store as far as that goes, the rest from the server."""
        done = 0
        with closing(self._stored(pack, start, length)) as blocks:
            for block in blocks:
                done += len(block)
                yield block
        if done < length:
            with closing(self._range(pack, start + done, length - done)) as blocks:
                yield from blocks

    def _stored(self, pack: ObjectId, start: int, length: int) -> Generator[bytes]:
        """Yield a range of a pack from the store, or nothing; a URL that has expired is asked for again, once."""
        for _ in range(2):
            url = self._url_of(pack) if self._goes_straight else None
            if url is None:
                return
            try:
                with closing(self.straight.read(url, start, length)) as blocks:
                    yield from blocks
            except ExpiredError:
                self.straight.forget(pack)
            else:
                return
        self.straight.give_up()

    def _url_of(self, pack: ObjectId) -> str | None:
        """Return a URL of a pack that was located, perhaps by locating it again."""
        url, sample = self.straight.url_of(pack), self.straight.sample_of(pack)
        if url is None and sample is not None:
            self.locate([sample])
            url = self.straight.url_of(pack)
        return url

    def _range(self, pack: ObjectId, start: int, length: int) -> Generator[bytes]:
        wanted = {"Range": f"bytes={start}-{start + length - 1}"}
        with self._wire.stream("GET", f"{self._base}/packs/{pack.hex()}", None, wanted) as (response, blocks):
            asked = f"bytes {start}-{start + length - 1} of pack {pack.hex()}"
            if response.status not in {200, 206}:
                error = error_for(self._wire.whole(response), self._wire.origin)
                if isinstance(error, IntegrityError):
                    error.message += f" It was asked for {asked}."
                raise error
            given = response.headers.get("Content-Range", "")
            if response.status != 206 or not given.startswith(f"bytes {start}-{start + length - 1}/"):
                raise IntegrityError(f"The server {self._wire.origin} sends another range than {asked}.")
            for block in blocks:
                length -= len(block)
                if length < 0:
                    raise IntegrityError(f"The server {self._wire.origin} sends more than {asked}.")
                yield block

    def _batches(self, ids: list[ObjectId]) -> Iterator[list[ObjectId]]:
        size = min(IDS_PER_CALL, self._capabilities.max_ids)
        return (ids[at : at + size] for at in range(0, len(ids), size))

    def _ask_json(self, path: str, message: msgspec.Struct, answer: type[Message]) -> Message:
        return self._json(self._ask("POST", path, encode_json(message), _JSON), answer)

    def _json(self, answer: Answer, message: type[Message]) -> Message:
        try:
            return decode_json(answer.body, message)
        except FormatError as error:
            raise RemoteError(
                f"{self.url} does not speak this protocol: {error.message}", hint="Check the address of the remote."
            ) from error

    def _base64(self, text: str) -> bytes:
        try:
            return base64.b64decode(text, validate=True)
        except ValueError:
            raise IntegrityError(f"The server {self._wire.origin} sends a value that does not parse.") from None

    def _read_capabilities(self, headers: Mapping[str, str]) -> Capabilities:
        try:
            found = Capabilities(
                int(headers["X-Mediagit-Protocol"]),
                int(headers["X-Mediagit-Max-Pack"]),
                int(headers["X-Mediagit-Max-Ids"]),
                headers.get("X-Mediagit-Direct") == "true",
            )
        except (KeyError, ValueError):
            raise RemoteError(f"{self.url} is not a MediaVault server.", hint="Check the address.") from None
        if found.protocol != problems.PROTOCOL:
            raise RemoteError(
                f"The server {self._wire.origin} speaks protocol {found.protocol}, this program {problems.PROTOCOL}.",
                hint="Install the version of MediaVault that the server has.",
            )
        if found.max_pack < MIN_MAX_PACK or found.max_ids < 1:
            raise RemoteError(f"The server {self._wire.origin} has limits that nothing fits into.")
        return found

    def _refuse(self, answer: Answer) -> NoReturn:
        raise error_for(answer, self._wire.origin)


def split_url(url: str) -> tuple[str, str]:
    """Split a remote's URL into `scheme://host[:port]` and `/team/project`, which is empty for a server's root.

    Raises:
        UsageError: another scheme, credentials, a query, or a path that is no team and project.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise UsageError(f"Not a URL: {url!r}.") from None
    hint = "It looks like https://host/team/project."
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UsageError(
            f"Not the URL of a server or a store: {url!r}.", hint=f"It looks like https://HOST/TEAM/PROJECT, {FORMS}."
        )
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise UsageError("A remote's URL holds no credentials, query or fragment.", hint=hint)
    names = [name for name in parts.path.split("/") if name]
    if len(names) not in {0, 2} or not all(_SEGMENT.fullmatch(name) for name in names):
        raise UsageError(f"The URL of a remote ends in team/project: {url!r}.", hint=hint)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    origin = f"{parts.scheme}://{host}" + (f":{port}" if port else "")
    return origin, "".join(f"/{name}" for name in names)


def error_for(answer: Answer, origin: str) -> MediaVaultError:
    """Return what a refusal means to a person."""
    problem = _problem(answer)
    text = problem.detail or problem.title or f"HTTP status {answer.status}"
    kind = problems.BY_URI.get(problem.type) or (problems.PRECONDITION if answer.status == 412 else None)
    said = f"The server {origin} says: {text.rstrip('.')}."
    if kind is problems.NOT_CLOSED:
        error: MediaVaultError = NotClosedError(said, [bytes.fromhex(i) for i in problem.missing if _is_hex_id(i)])
    elif kind is problems.OTHER_REPOSITORY:
        error = NeedsDecisionError(
            f"Another repository lives there: {problem.repository}; this one is {problem.given}.",
            untouched="Nothing was sent.",
            hint="Push to another project, or clone the one that is there.",
        )
    elif kind in _UNTOUCHED:
        make, hint = _UNTOUCHED[kind]
        error = make(said, untouched="The remote was not changed.", hint=hint)
    elif answer.status in {401, 403}:
        error = NotAllowedError(said, untouched="Nothing was changed.", hint="Check the API key (MEDIAGIT_API_KEY).")
    elif answer.status in RETRIED:
        error = UnreachableError(said, retry_after=retry_after(answer.headers))
    elif kind is None and answer.status == 404:
        error = RemoteError(f"{origin} is not a MediaVault server, or not at this path.", hint="Check the address.")
    else:
        error = RemoteError(said)
    return error


_UNTOUCHED: Final[Mapping[problems.ProblemType | None, tuple[type[MediaVaultError], str]]] = {
    problems.PRECONDITION: (RefMovedError, "Fetch, look at what changed, and push again."),
    problems.SLOT_TAKEN: (RefMovedError, "Choose another name."),
    problems.NOT_FAST_FORWARD: (DivergedError, "Run `mediagit pull`, then push again."),
    problems.ARCHIVED: (RemoteError, ARCHIVED_HINT),
    problems.NOT_FOUND: (NotFoundError, ""),
    problems.NO_REPOSITORY: (NotFoundError, "Check the address; the first push makes a project."),
    problems.MISMATCH: (IntegrityError, "Run `mediagit verify`, then push again."),
    problems.BAD_RANGE: (IntegrityError, "A pack there is cut: tell whoever runs the server."),
    problems.DAMAGED: (IntegrityError, "Tell whoever runs the server."),
    problems.NEWER_FORMAT: (UnsupportedFormatError, "The server is older than the repository: it must be updated."),
    problems.STORAGE_FULL: (StorageError, "Tell whoever runs the server, then push again: it continues."),
    problems.TOO_LARGE: (RemoteError, "Lower core.pack_size."),
}


def _problem(answer: Answer) -> Problem:
    if answer.headers.get("Content-Type", "").partition(";")[0].strip() == problems.MEDIA_TYPE:
        try:
            return decode_json(answer.body, Problem)
        except FormatError:
            pass
    return Problem("", "", answer.status)


def _is_hex_id(text: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{64}", text) is not None


def _ref_path(name: str) -> str:
    return quote(name, safe="/")
