"""Keys of a bucket in order, from stores that list by key and from one that lists folder by folder."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediavault_backends.errors import BackendSetupError
from mediavault_backends.s3_listing import in_order

NAMES = st.text("ab-.%0", min_size=1, max_size=3)
KEYS = st.lists(st.lists(NAMES, min_size=1, max_size=4).map("/".join), unique=True, max_size=25)


class Store:
    """Lists as the S3 API says, or as a store does that keeps folders."""

    def __init__(self, keys: list[str], page: int, *, folders: bool) -> None:
        self.keys = keys
        self.page = page
        self.folders = folders
        self.asked = 0

    def ask(self, prefix: str, *, delimiter: str = "", token: str = "") -> Mapping[str, Any]:
        self.asked += 1
        found = list(dict.fromkeys(self._found(prefix, delimiter)))
        start = int(token or 0)
        part = found[start : start + self.page]
        answer: dict[str, Any] = {
            "Contents": [{"Key": name} for name, is_key in part if is_key],
            "CommonPrefixes": [{"Prefix": name} for name, is_key in part if not is_key],
            "ResponseMetadata": {"HTTPHeaders": {"server": "SeaweedFS 30GB 4.48" if self.folders else "AmazonS3"}},
        }
        if start + self.page < len(found):
            answer |= {"IsTruncated": True, "NextContinuationToken": str(start + self.page)}
        return answer

    def _found(self, prefix: str, delimiter: str) -> Iterator[tuple[str, bool]]:
        order = sorted(self.keys, key=(lambda key: key.split("/")) if self.folders else None)
        for key in order:
            if key.startswith(prefix):
                folder, slash, _ = key[len(prefix) :].partition("/")
                is_folder = bool(delimiter and slash)
                yield (f"{prefix}{folder}/" if is_folder else key), not is_folder


def listed(store: Store, prefix: str = "") -> list[str]:
    def ask(prefix: str, **arguments: str) -> Mapping[str, Any]:
        renamed = {"Delimiter": "delimiter", "ContinuationToken": "token"}
        return store.ask(prefix, **{renamed[name]: value for name, value in arguments.items()})

    return [entry["Key"] for entry in in_order(ask, prefix)]


@given(KEYS, st.integers(1, 4), st.booleans(), st.sampled_from(["", "a", "a/", "a-", "b/a", "%"]))
def test_every_order_becomes_that_of_the_keys(keys: list[str], page: int, folders: bool, prefix: str) -> None:
    store = Store(keys, page, folders=folders)
    assert listed(store, prefix) == sorted(key for key in keys if key.startswith(prefix))


def test_marks_of_folders_are_no_objects() -> None:
    for folders in (False, True):
        assert listed(Store(["a/", "a/b"], 10, folders=folders)) == ["a/b"]


def test_a_store_by_key_is_asked_once_a_page() -> None:
    store = Store([f"a/{number}/b" for number in range(9)], 3, folders=False)
    assert len(listed(store)) == 9
    assert store.asked == 3


def test_an_order_that_is_not_known_is_refused() -> None:
    class Shuffled(Store):
        def _found(self, prefix: str, delimiter: str) -> Iterator[tuple[str, bool]]:
            return reversed(list(super()._found(prefix, delimiter)))

    with pytest.raises(BackendSetupError, match="in order: a after b"):
        listed(Shuffled(["a", "b"], 10, folders=False))
