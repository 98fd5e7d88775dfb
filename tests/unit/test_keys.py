"""The key grammar and the encoding of names as segments."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediavault_backends.keys import check_key, check_prefix, decode_segment, encode_segment


@pytest.mark.parametrize("key", ["a", "A-Z_0.9%", "packs/ab/" + "f" * 64, "a" * 255, ("a" * 255 + "/") * 3 + "b"])
def test_keys(key: str) -> None:
    check_key(key)


@pytest.mark.parametrize(
    "key", ["", "a" * 256, "a/" * 512 + "a", ".a", "a/.a", "..", "a/", "/a", "a//b", "a b", "a\\b", "a:b", "é", "a\n"]
)
def test_what_is_no_key(key: str) -> None:
    with pytest.raises(ValueError, match="not a key"):
        check_key(key)


def test_the_longest_key() -> None:
    key = "/".join(["a" * 255] * 4)
    assert len(key) == 1023
    check_key(key)
    with pytest.raises(ValueError, match="not a key"):
        check_key(key + "/b")


@pytest.mark.parametrize("prefix", ["", "a", "a/", "a/b", "packs/ab/"])
def test_prefixes(prefix: str) -> None:
    check_prefix(prefix)


@pytest.mark.parametrize("prefix", ["/", "//", "a//", ".", "a/.", "é", "a" * 256])
def test_what_is_no_prefix(prefix: str) -> None:
    with pytest.raises(ValueError, match="no key starts"):
        check_prefix(prefix)


@pytest.mark.parametrize(
    ("text", "segment"),
    [
        ("heads/main", "heads%2Fmain"),
        ("Main", "%4Dain"),
        ("main", "main"),
        (".hidden", "%2Ehidden"),
        ("..", "%2E."),
        ("a.b-c_d", "a.b-c_d"),
        ("ä", "%C3%A4"),
        ("100%", "100%25"),
    ],
)
def test_worked_examples_of_the_encoding(text: str, segment: str) -> None:
    assert encode_segment(text) == segment
    assert decode_segment(segment) == text


@given(st.text(min_size=1, max_size=80))
def test_every_text_comes_back_or_is_refused(text: str) -> None:
    try:
        segment = encode_segment(text)
    except ValueError:
        assert len(text.encode("utf-8", "surrogatepass")) * 3 > 255 or any("\ud800" <= c <= "\udfff" for c in text)
        return
    check_key(segment)
    assert not set(segment.replace("%", "")) & set(string.ascii_uppercase) - set("ABCDEF")
    assert decode_segment(segment) == text


@pytest.mark.parametrize("segment", ["", "A", "%2f", "%6D", "%", "%2", "%ZZ", ".a", "%C3", "a/b", "é", "%2e"])
def test_a_segment_has_one_spelling(segment: str) -> None:
    with pytest.raises(ValueError, match="not an encoded segment"):
        decode_segment(segment)


@pytest.mark.parametrize("text", ["", "A" * 86, "\ud800"])
def test_texts_that_fit_no_segment(text: str) -> None:
    with pytest.raises(ValueError, match=r"segment|surrogates"):
        encode_segment(text)
