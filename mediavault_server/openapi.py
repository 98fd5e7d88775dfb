"""The protocol as an OpenAPI 3.1 document; docs/protocol.md says the same in words, and tests hold both to the routes."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final

from mediavault.formats.wire import SIGNED_ROWS
from mediavault.wire import problems

BINARY: Final = "application/octet-stream"
JSON: Final = "application/json"

_ID: Final = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_IDS: Final = {"type": "array", "items": _ID}
_PARAMETERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "id": {"schema": _ID},
    "slot": {"schema": {"type": "string", "pattern": "^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$"}},
    "name": {"schema": {"type": "string"}, "description": "A ref's name; its slashes stay as they are."},
}


@dataclass(frozen=True, slots=True)
class Operation:
    """One call: what it does, what it takes, what it answers, and which refusals are its own."""

    summary: str
    answers: Mapping[int, str]
    body: tuple[str, ...] = ()
    returns: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    query: tuple[str, ...] = ()
    refusals: tuple[problems.ProblemType, ...] = ()


_CONDITIONAL: Final = (problems.PRECONDITION, problems.PRECONDITION_REQUIRED)
_UPLOAD: Final = (problems.MISMATCH, problems.TOO_LARGE, problems.STORAGE_FULL, problems.TOO_SLOW)
_STORED: Final = {200: "It is there already.", 201: "It is stored."}
_RANGED: Final = {200: "All of it.", 206: "The range.", 304: "It is what If-None-Match names."}
_PACKED: Final = Operation(
    "Metadata reachable from `want` and not from `have`, parents first, up to 8 MiB.",
    {200: "A pack; X-Chunked-Objects counts the chunked files in it."},
    returns=(BINARY,),
    query=("want", "have", "depth", "trees"),
    refusals=(problems.NOT_FOUND,),
)

OPERATIONS: Final[Mapping[tuple[str, str], Operation]] = {
    ("/config", "GET"): Operation("The config's exact bytes.", {200: "It."}, returns=(JSON,)),
    ("/config", "PUT"): Operation(
        "Make a repository.",
        {200: "This very one is there.", 201: "It is made."},
        body=(JSON,),
        returns=(JSON,),
        refusals=(problems.OTHER_REPOSITORY, problems.FORBIDDEN, *_UPLOAD),
    ),
    ("/keys", "GET"): Operation("The names of the key slots.", {200: "Them."}, returns=(JSON,)),
    ("/keys/{slot}", "GET"): Operation("A key slot.", {200: "It."}, returns=(JSON,), refusals=(problems.NOT_FOUND,)),
    ("/keys/{slot}", "PUT"): Operation(
        "Store a key slot.",
        {200: "Replaced, or the same.", 201: "New."},
        body=(JSON,),
        headers=("If-Match", "If-None-Match"),
        refusals=(problems.SLOT_TAKEN, *_CONDITIONAL, *_UPLOAD),
    ),
    ("/keys/{slot}", "DELETE"): Operation(
        "Remove a key slot.",
        {204: "It is gone."},
        headers=("If-Match",),
        refusals=(problems.NOT_FOUND, *_CONDITIONAL),
    ),
    ("/chunks/check", "POST"): Operation(
        "Which of these ids are missing?",
        {200: "The missing ones, in the form in which they were asked."},
        body=(BINARY, JSON),
        returns=(BINARY, JSON),
        headers=("X-Mediagit-Upload",),
        refusals=(problems.TOO_LARGE,),
    ),
    ("/chunks/locate", "POST"): Operation(
        "Where do these ids stand?",
        {
            200: "Rows of 76 bytes: id, pack id, offset u64, length u32, little-endian. Who accepts signed rows gets a"
            " count u32 before them, and behind them seconds u32, a count u32 and URLs: pack id, length u16, URL."
        },
        body=(BINARY, JSON),
        returns=(BINARY, SIGNED_ROWS),
        headers=("Accept",),
        refusals=(problems.TOO_LARGE,),
    ),
    ("/chunks/{id}", "GET"): Operation(
        "A chunk's frame.",
        _RANGED,
        returns=(BINARY,),
        headers=("Range", "If-Range", "If-None-Match"),
        refusals=(problems.NOT_FOUND, problems.ARCHIVED, problems.BAD_RANGE),
    ),
    ("/chunks/{id}", "PUT"): Operation("Store a chunk's frame.", _STORED, body=(BINARY,), refusals=_UPLOAD),
    ("/manifests/{id}", "PUT"): Operation(
        "Store one metadata frame.", _STORED, body=(BINARY,), refusals=(problems.NOT_CLOSED, *_UPLOAD)
    ),
    ("/packs/grants", "POST"): Operation(
        "Where to put packs of chunks straight into the store.",
        {200: "For each a signed PUT, or null: send it through the server."},
        body=(JSON,),
        returns=(JSON,),
        refusals=(problems.TOO_LARGE,),
    ),
    ("/packs/complete", "POST"): Operation(
        "These packs are in the store now: look at them.",
        {200: "Those that are not checked yet, and those that are refused."},
        body=(JSON,),
        returns=(JSON,),
        refusals=(problems.TOO_LARGE,),
    ),
    ("/packs/{id}", "GET"): Operation(
        "A pack or a range of it.",
        _RANGED,
        returns=(BINARY,),
        headers=("Range", "If-Range", "If-None-Match"),
        refusals=(problems.NOT_FOUND, problems.ARCHIVED, problems.BAD_RANGE),
    ),
    ("/packs/{id}", "PUT"): Operation(
        "Store a pack.", _STORED, body=(BINARY,), refusals=(problems.NOT_CLOSED, *_UPLOAD)
    ),
    ("/objects/get", "POST"): Operation(
        "The frames of these ids, in their order.",
        {200: "They, one after another."},
        body=(BINARY, JSON),
        returns=(BINARY,),
        refusals=(problems.NOT_FOUND, problems.TOO_LARGE),
    ),
    ("/objects/pack", "GET"): _PACKED,
    ("/objects/pack", "POST"): Operation(
        _PACKED.summary, _PACKED.answers, body=(JSON,), returns=(BINARY,), refusals=_PACKED.refusals
    ),
    ("/refs", "GET"): Operation("All refs with values and ETags.", {200: "They."}, returns=(JSON,)),
    ("/refs/{name}", "GET"): Operation(
        "A ref's value.",
        {200: "It.", 304: "It is what If-None-Match names."},
        returns=(BINARY,),
        headers=("If-None-Match",),
        refusals=(problems.NOT_FOUND,),
    ),
    ("/refs/{name}", "PUT"): Operation(
        "Move a ref to a value that a key holder made.",
        {200: "It moved.", 201: "It is new."},
        body=(BINARY,),
        headers=("If-Match", "If-None-Match", "X-Mediagit-Force", "X-Mediagit-Adopt"),
        refusals=(problems.NOT_CLOSED, problems.NOT_FAST_FORWARD, *_CONDITIONAL, *_UPLOAD),
    ),
    ("/logs/{name}", "GET"): Operation("A ref's former values, oldest first.", {200: "They."}, returns=(JSON,)),
    ("/stats", "GET"): Operation("How much is stored.", {200: "Counts and bytes."}, returns=(JSON,)),
}
_ALWAYS: Final = (
    problems.BAD_REQUEST,
    problems.BAD_PATH,
    problems.UNAUTHENTICATED,
    problems.NO_REPOSITORY,
    problems.INTERNAL,
    problems.DAMAGED,
    problems.NEWER_FORMAT,
    problems.UNAVAILABLE,
)


def document() -> dict[str, Any]:
    """Return the whole document."""
    paths: dict[str, dict[str, Any]] = {}
    for (path, method), operation in OPERATIONS.items():
        paths.setdefault("/{team}/{project}" + path, {})[method.lower()] = _operation(path, operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "MediaVault sync protocol", "version": f"{problems.PROTOCOL} ({version('mediavault')})"},
        "paths": paths,
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Problem": _problem_schema()},
        },
        "security": [{"key": []}, {}],
    }


def _operation(path: str, operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "summary": operation.summary,
        "parameters": [
            *(_parameter(name, "path") for name in ("team", "project")),
            *(_parameter(name, "path") for name in _PARAMETERS if f"{{{name}}}" in path),
            *(_parameter(name, "header") for name in operation.headers),
            *(_parameter(name, "query") for name in operation.query),
        ],
        "responses": _responses(operation),
    }
    if operation.body:
        described["requestBody"] = {"required": True, "content": {kind: {} for kind in operation.body}}
    return described


def _parameter(name: str, place: str) -> dict[str, Any]:
    schema: Mapping[str, Any] = _IDS if place == "query" else {"type": "string"}
    if name == "depth":
        schema = {"type": "integer", "minimum": 1}
    known = _PARAMETERS.get(name, {}) if place == "path" else {}
    return {"name": name, "in": place, "required": place == "path", "schema": schema, **known}


def _responses(operation: Operation) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for status, text in operation.answers.items():
        body: dict[str, Any] = {}
        if operation.returns and status < 300:
            body["content"] = {kind: {} for kind in operation.returns}
        found[str(status)] = {"description": text, **body}
    refused: dict[int, list[str]] = {}
    for problem in (*_ALWAYS, *operation.refusals):
        refused.setdefault(problem.status, []).append(f"{problem.title} (`{problem.slug}`).")
    reference = {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for status, texts in sorted(refused.items()):
        found[str(status)] = {"description": " ".join(texts), "content": reference}
    return found


def _problem_schema() -> dict[str, Any]:
    text = {"type": "string"}
    return {
        "type": "object",
        "required": ["type", "title", "status"],
        "properties": {
            "type": {"enum": [problem.uri for problem in problems.ALL]},
            "title": text,
            "status": {"type": "integer"},
            "detail": text,
            "missing": _IDS,
            "repository": text,
            "given": text,
        },
    }
