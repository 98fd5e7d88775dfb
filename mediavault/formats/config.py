"""The repository's `config` blob: canonical JSON that is made once, then hashed and served as exact bytes."""

import msgspec
from blake3 import blake3

from mediavault.errors import FormatError, UnsupportedFormatError
from mediavault.formats.frame import MAX_CHUNK_RAW, Buffer

FORMAT_VERSION = 1
MAX_CONFIG = 64 << 10
CHUNKER_NAME = "fastcdc2020"
_NEWER = "Install a newer version of MediaVault."
_LIMITS = {"minimum": (64, 1 << 20), "average": (256, 4 << 20), "maximum": (1024, MAX_CHUNK_RAW)}


class ChunkerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How files are cut; lengths in bytes."""

    average: int = 128 << 10
    maximum: int = 512 << 10
    minimum: int = 64 << 10
    name: str = CHUNKER_NAME
    normalisation: int = 1


class RepositoryConfig(msgspec.Struct, frozen=True):
    """What a repository is: its id (16 bytes), its suite (0 plain, 1 encrypted) and how it cuts files."""

    repository: bytes
    suite: int
    chunker: ChunkerConfig = ChunkerConfig()
    format: int = FORMAT_VERSION


class _Stored(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    repository: str
    suite: int
    chunker: ChunkerConfig


class _Version(msgspec.Struct, frozen=True):
    format: int


def encode_config(config: RepositoryConfig) -> bytes:
    """Return the exact bytes of the blob: keys sorted, nothing between them, no newline.

    Raises:
        FormatError: the values break the format's rules.
    """
    _check(config)
    stored = _Stored(config.format, config.repository.hex(), config.suite, config.chunker)
    return msgspec.json.encode(stored, order="sorted")


def decode_config(data: Buffer) -> RepositoryConfig:
    """Read the blob.

    Raises:
        FormatError: it does not parse, has an unknown or a missing key, or is not in its canonical form.
        UnsupportedFormatError: a newer version wrote it.
    """
    if len(data) > MAX_CONFIG:
        raise FormatError("The repository's config is too long.")
    try:
        version = msgspec.json.decode(data, type=_Version).format
        if version > FORMAT_VERSION:
            raise UnsupportedFormatError(
                f"The repository has format {version}; this program reads format {FORMAT_VERSION}.",
                hint=_NEWER,
            )
        stored = msgspec.json.decode(data, type=_Stored)
        config = RepositoryConfig(bytes.fromhex(stored.repository), stored.suite, stored.chunker, stored.format)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise FormatError(f"The repository's config does not parse: {error}.") from error
    if encode_config(config) != bytes(data):
        raise FormatError("The repository's config is not in its canonical form.")
    return config


def fingerprint(data: Buffer) -> bytes:
    """Return what identifies a config: the BLAKE3 of its exact bytes."""
    return blake3(data).digest()


def _check(config: RepositoryConfig) -> None:
    if config.format != FORMAT_VERSION or len(config.repository) != 16 or config.suite not in (0, 1):
        raise FormatError("The repository's config has an unknown format or suite, or an id of the wrong length.")
    chunker = config.chunker
    if chunker.name != CHUNKER_NAME or chunker.normalisation != 1:
        raise UnsupportedFormatError(f"The repository cuts files by {chunker.name[:60]!r}, unknown here.", hint=_NEWER)
    for field, (low, high) in _LIMITS.items():
        if not low <= getattr(chunker, field) <= high:
            raise FormatError(f"The repository's config has a chunk {field} that is out of range.")
    if not chunker.minimum <= chunker.average <= chunker.maximum:
        raise FormatError("The repository's config has chunk lengths that do not ascend.")
