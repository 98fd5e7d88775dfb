"""Very many keys as a repository has them, and what a listing of them must be."""

from collections.abc import Iterator

from mediavault_backends.api import Backend


def keys_of(count: int) -> Iterator[str]:
    """Yield so many distinct keys of packs, spread over 256 folders, in ascending order."""
    for folder in range(256):
        for number in range(folder, count, 256):
            yield f"studio/film/packs/{folder:02x}/{folder:02x}{number:062x}"


def check_listing(store: Backend, count: int) -> None:
    """Check that a store lists these keys, all of them, each once, in order, and those of one folder alone."""
    expected = keys_of(count)
    listed = 0
    for stat in store.scan("studio/"):
        assert stat.key == next(expected)
        listed += 1
    assert listed == count
    one = [stat.key for stat in store.scan("studio/film/packs/7f/")]
    assert one == [key for key in keys_of(count) if key.startswith("studio/film/packs/7f/")]
    assert list(store.scan("studio/film/refs/")) == []
