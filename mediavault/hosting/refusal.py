"""Why the other side does not do what it is asked."""

from collections.abc import Iterable
from typing import Final

from mediavault.model.ids import ObjectId
from mediavault.wire.problems import ProblemType

MISSING_SHOWN: Final = 1000
"""How many missing ids a refusal lists."""


class RefusedError(Exception):
    """A call is refused, and nothing was changed.

    Args:
        kind: the type of the refusal.
        detail: what is wrong with this very call; never contains a secret.
        missing: ids that the call links to and that are not there.
        repository: the id (hex) of the repository that lives here.
        given: the id (hex) of the repository that the call came from.
    """

    def __init__(
        self,
        kind: ProblemType,
        detail: str = "",
        *,
        missing: Iterable[ObjectId] = (),
        repository: str = "",
        given: str = "",
    ) -> None:
        super().__init__(detail or kind.title)
        self.kind = kind
        self.detail = detail
        self.missing = [object_id.hex() for object_id, _ in zip(missing, range(MISSING_SHOWN), strict=False)]
        self.repository = repository
        self.given = given
