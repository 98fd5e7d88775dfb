"""Where nodes of trees and manifests end."""

from blake3 import blake3

from mediavault.formats.metadata import encoded_size
from mediavault.model.ids import Kind, Link
from mediavault.model.objects import Branch, ManifestEntry, Mode, TreeEntry
from mediavault.model.splitting import Splitter, split


def _lengths(values: list[int], size: int = 100) -> list[int]:
    return [len(node) for node in split(range(len(values)), lambda at: values[at], lambda _: size)]


def test_nothing_gives_no_node() -> None:
    assert _lengths([]) == []


def test_a_node_ends_after_a_zero_value_from_its_32nd_entry_on() -> None:
    values = [1] * 100
    values[30] = 0  # the 31st entry: too early
    values[40] = 0x200  # only nine bits count
    assert _lengths(values) == [41, 59]
    values[31] = 0xFE00
    assert _lengths(values) == [32, 68]


def test_a_node_ends_at_4096_entries() -> None:
    assert _lengths([1] * 9000) == [4096, 4096, 808]


def test_a_node_ends_before_512_kib() -> None:
    # 5 + 8 * 65,535 = 524,285 fits, 5 + 8 * 65,536 does not.
    assert _lengths([1] * 20, size=65_535) == [8, 8, 4]
    assert _lengths([1] * 20, size=65_536) == [7, 7, 6]


def test_an_entry_that_is_too_large_alone_stands_alone() -> None:
    assert _lengths([1] * 3, size=600_000) == [1, 1, 1]


def test_split_values() -> None:
    splitter = Splitter(bytes(32))
    digest = blake3("Größe".encode(), key=bytes(32)).digest()
    assert splitter.leaf_value("Größe") == digest[0] + 256 * digest[1]
    assert splitter.leaf_value(b"\x34\x12" + bytes(30)) == 0x1234
    assert splitter.node_value(b"\x34\x12" + bytes(30)) == 0x1234
    assert Splitter(bytes((1,)) * 32).leaf_value("Größe") != splitter.leaf_value("Größe")


def test_an_insertion_rewrites_a_few_nodes() -> None:
    splitter = Splitter(bytes(32))
    names = sorted(f"frame.{number:07}.exr" for number in range(0, 60_000, 2))

    def cut(entries: list[str]) -> set[tuple[str, ...]]:
        return {tuple(node) for node in split(entries, splitter.leaf_value, lambda _: 90)}

    before = cut(names)
    after = cut(sorted([*names, "frame.0030001.exr"]))
    assert len(before) > 30
    assert len(after - before) <= 2


def test_the_measure_is_of_the_entry_alone() -> None:
    digest = bytes(32)
    child = Link(Kind.CHUNK, digest)
    assert encoded_size(ManifestEntry(digest, 70_000)) == 33 + 1 + 3 + 5
    assert encoded_size(Branch(digest, "ab")) == 33 + 1 + 3 + 3
    assert encoded_size(Branch(digest, 100)) == 33 + 1 + 3 + 1
    assert encoded_size(TreeEntry("ab", Mode.FILE, 7, digest, child)) == 33 + 1 + 1 + 3 + 1 + 34 + 3
