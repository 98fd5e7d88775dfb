"""The protocol's version and its refusals: one stable type, status and title each. Who raises them is not its business."""

from dataclasses import dataclass
from typing import Final

PROTOCOL: Final = 1
"""The version of the protocol that docs/protocol.md describes."""

URI_PREFIX: Final = "urn:mediavault:problem:"
MEDIA_TYPE: Final = "application/problem+json"


@dataclass(frozen=True, slots=True)
class ProblemType:
    """One kind of refusal (RFC 9457): `slug` never changes meaning, `status` is the HTTP status it goes with."""

    slug: str
    status: int
    title: str

    @property
    def uri(self) -> str:
        """What stands in the `type` member."""
        return URI_PREFIX + self.slug


BAD_REQUEST: Final = ProblemType("bad-request", 400, "The request does not make sense")
BAD_PATH: Final = ProblemType("bad-path", 400, "The path is not in its one accepted form")
UNAUTHENTICATED: Final = ProblemType("unauthenticated", 401, "Credentials are missing or refused")
FORBIDDEN: Final = ProblemType("forbidden", 403, "These credentials may not do this")
NOT_FOUND: Final = ProblemType("not-found", 404, "There is nothing of this name")
NO_REPOSITORY: Final = ProblemType("no-repository", 404, "There is no repository here")
METHOD: Final = ProblemType("method-not-allowed", 405, "This path does not take this method")
TOO_SLOW: Final = ProblemType("too-slow", 408, "The body stopped coming")
OTHER_REPOSITORY: Final = ProblemType("other-repository", 409, "Another repository lives here")
SLOT_TAKEN: Final = ProblemType("slot-taken", 409, "Another key slot has this name")
NOT_CLOSED: Final = ProblemType("not-closed", 409, "Objects that this links to are missing")
NOT_FAST_FORWARD: Final = ProblemType("not-fast-forward", 409, "The update is not a fast-forward")
ARCHIVED: Final = ProblemType("archived", 409, "It is archived, and has to be restored before it can be read")
PRECONDITION: Final = ProblemType("precondition-failed", 412, "Someone else changed it first")
TOO_LARGE: Final = ProblemType("too-large", 413, "The body is larger than allowed")
BAD_RANGE: Final = ProblemType("bad-range", 416, "The range cannot be served")
MISMATCH: Final = ProblemType("content-mismatch", 422, "The content is not what it claims to be")
PRECONDITION_REQUIRED: Final = ProblemType("precondition-required", 428, "A condition header is required")
INTERNAL: Final = ProblemType("internal", 500, "The server failed")
DAMAGED: Final = ProblemType("damaged", 500, "Something stored here is damaged")
NEWER_FORMAT: Final = ProblemType("newer-format", 501, "The repository is of a newer format than this server reads")
UNAVAILABLE: Final = ProblemType("unavailable", 503, "The storage does not answer now")
STORAGE_FULL: Final = ProblemType("storage-full", 507, "The storage is full")

ALL: Final[tuple[ProblemType, ...]] = (
    BAD_REQUEST,
    BAD_PATH,
    UNAUTHENTICATED,
    FORBIDDEN,
    NOT_FOUND,
    NO_REPOSITORY,
    METHOD,
    TOO_SLOW,
    OTHER_REPOSITORY,
    SLOT_TAKEN,
    NOT_CLOSED,
    NOT_FAST_FORWARD,
    ARCHIVED,
    PRECONDITION,
    TOO_LARGE,
    BAD_RANGE,
    MISMATCH,
    PRECONDITION_REQUIRED,
    INTERNAL,
    DAMAGED,
    NEWER_FORMAT,
    UNAVAILABLE,
    STORAGE_FULL,
)
BY_URI: Final = {problem.uri: problem for problem in ALL}
