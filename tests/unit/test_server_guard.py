"""Paths, ranges and hosts as the server reads them, without a network."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from mediavault.config import Server, Settings, Storage
from mediavault.errors import ConfigError
from mediavault_server.guard import check_path
from mediavault_server.problems import RequestRefusedError
from mediavault_server.requests import byte_range
from mediavault_server.settings import is_loopback, is_repository_path, server_settings


@pytest.mark.parametrize("path", [b"/", b"/healthz", b"/studio/film/refs/heads/Z%C3%BCrich", b"/a/b/refs/heads/a%25b"])
def test_path_in_its_one_form(path: bytes) -> None:
    check_path(path)


@pytest.mark.parametrize(
    "path",
    [b"", b"x", b"//", b"/a//b", b"/a/", b"/.", b"/a/..", b"/%2e%2e", b"/a%2fb", b"/a%2Fb", b"/a%5Cb", b"/a\\b",
     b"/a%00", b"/a%0a", b"/a%7f", b"/a%1F", b"/a b", b"/a\x80", b"/%", b"/%g0", b"/%ff", b"/a;b", b"/" + b"a" * 2048],
)  # fmt: skip
def test_path_in_another_form(path: bytes) -> None:
    with pytest.raises(RequestRefusedError):
        check_path(path)


@given(st.binary(max_size=40))
def test_path_that_passes_names_no_parent(path: bytes) -> None:
    try:
        check_path(b"/" + path)
    except RequestRefusedError:
        return
    from urllib.parse import unquote

    segments = unquote(path.decode("ascii"), errors="strict").split("/")
    assert path == b"" or not {"", ".", ".."} & set(segments)
    assert "\0" not in "".join(segments)


def ranged(**headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "GET", "path": "/", "headers": raw})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=5-", (5, 5)),
        ("bytes=0-99", (0, 10)),
        ("bytes=-3", (7, 3)),
        ("bytes=-99", (0, 10)),
    ],
)
def test_one_range(text: str, expected: tuple[int, int]) -> None:
    assert byte_range(ranged(range=text), 10, '"e"') == expected


@pytest.mark.parametrize(
    "text", ["bytes=10-", "bytes=-0", "bytes=-", "bytes=3-2", "bytes=0-1,2-3", "x=0-1", "bytes=a-b"]
)
def test_range_that_cannot_be(text: str) -> None:
    with pytest.raises(RequestRefusedError) as caught:
        byte_range(ranged(range=text), 10, '"e"')
    assert caught.value.headers == {"Content-Range": "bytes */10"}


def test_range_of_another_version_gives_the_whole() -> None:
    assert byte_range(ranged(range="bytes=0-1", if_range='"old"'), 10, '"e"') is None
    assert byte_range(ranged(), 10, '"e"') is None


@pytest.mark.parametrize(("host", "expected"), [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True),
                                                ("0.0.0.0", False), ("::", False), ("192.168.1.2", False), ("", False), ("host", False)])  # fmt: skip
def test_loopback(host: str, *, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize("path", ["studio/film", "S_1/f.2-b"])
def test_repository_path(path: str) -> None:
    assert is_repository_path(path)


@pytest.mark.parametrize("path", ["studio", "a/b/c", "/a", "a/", "../x", "a/.b", "-a/b", "a/b c"])
def test_path_of_no_repository(path: str) -> None:
    assert not is_repository_path(path)


def test_key_or_explicitly_none() -> None:
    storage = Storage(backend="memory")
    with pytest.raises(ConfigError):
        server_settings(Settings(storage=storage), no_auth=False)
    with pytest.raises(ConfigError):
        server_settings(Settings(storage=storage, server=Server(host="0.0.0.0")), no_auth=True)
    with pytest.raises(ConfigError):
        server_settings(Settings(storage=storage, server=Server(workers=2)), no_auth=True)
    checked = server_settings(Settings(storage=storage, server=Server(host="0.0.0.0", api_key="k")), no_auth=False)
    assert checked.api_key == "k"
    assert server_settings(Settings(storage=storage), no_auth=True).api_key == ""
