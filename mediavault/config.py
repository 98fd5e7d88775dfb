"""Typed settings from `mediagit.toml` files, the environment and flags; it opens nothing that a setting names.

Layers, each over the one before: defaults, `/etc/mediagit/mediagit.toml`, the user's file, the repository's
`.mediagit/mediagit.toml`, `MEDIAGIT_*`, flags. A key that is not known is an error in every layer. The environment is
handed in: only composition roots read it.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta

from mediavault.errors import ConfigError
from mediavault_backends.prices import PriceTable
from mediavault_backends.settings import (
    SECRETS,
    TABLES,
    AzureSettings,
    GcsSettings,
    MultiSettings,
    S3Settings,
    SqlSettings,
)

FILE_NAME: Final = "mediagit.toml"
SYSTEM_FILE: Final = Path("/etc/mediagit") / FILE_NAME

Count = Annotated[int, Meta(ge=0, le=1024)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Days = Annotated[int, Meta(ge=0, le=36_500)]
Port = Annotated[int, Meta(ge=0, le=65_535)]
Level = Annotated[int, Meta(ge=1, le=19)]
Size = Annotated[int, Meta(ge=1 << 20, le=256 << 20)]
Rate = Annotated[int, Meta(ge=0, le=1 << 40)]
CacheSize = Annotated[int, Meta(ge=16 << 20, le=1 << 50)]


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every table of the file has in common."""


class User(_Table, frozen=True):
    """Who signs commits; empty means the system's user."""

    name: str = ""
    email: str = ""


class Core(_Table, frozen=True):
    """How content is packed. `pack_size` is in bytes; `workers` 0 means one a processor."""

    pack_size: Size = 64 << 20
    compression_level: Level = 1
    padding: bool = True
    workers: Count = 0


class Collection(_Table, frozen=True):
    """How long `gc` keeps what no branch or tag leads to, in days: former states of branches, and what was just stored."""

    keep_days: Days = 30
    grace_days: Days = 14


class KeyStorage(_Table, frozen=True):
    """Where this computer keeps unlocked repository keys."""

    store: Literal["auto", "keyring", "file"] = "auto"


class RemoteSettings(_Table, frozen=True):
    """Another copy of the repository; `prices` names the table of what its store costs."""

    url: Annotated[str, Meta(min_length=1)]
    prices: str = ""


class BranchSettings(_Table, frozen=True):
    """What a local branch follows: `merge` is the branch's name on `remote`."""

    remote: str = ""
    merge: str = ""


class Network(_Table, frozen=True):
    """Patience with servers, in seconds; `api_key` goes to every remote that has no credentials of its own.

    `direct` lets packs go straight to and from the store behind a server, where that offers it.
    """

    connect_timeout: Seconds = 10.0
    stall_timeout: Seconds = 60.0
    retries: Count = 5
    connections: Annotated[int, Meta(ge=1, le=64)] = 4
    api_key: str = ""
    direct: Literal["auto", "off"] = "auto"


class Credentials(_Table, frozen=True):
    """What one server (`scheme://host:port`) asks for."""

    api_key: str = ""


class LocalStorage(_Table, frozen=True):
    """A folder of this machine."""

    path: str = ""


class Tiers(_Table, frozen=True):
    """Which class of storage `storage tier` moves packs to, by the provider's own names; `min_pack` is in bytes."""

    cold: str = ""
    hot: str = ""
    keep_days: Days = 90
    min_pack: Annotated[int, Meta(ge=0, le=256 << 20)] = 1 << 20


class Storage(_Table, frozen=True):
    """Where a server keeps its repositories, and at most how many bytes and requests a second pass (0: any).

    `refs` says where what changes is kept, `cache` is a folder for copies of what it reads from afar, of `cache_size` bytes.
    """

    backend: Literal["local", "memory", "s3", "azure", "gcs", "multi"] = "local"
    refs: Literal["store", "sql"] = "store"
    max_upload: Rate = 0
    max_download: Rate = 0
    max_requests: Rate = 0
    cache: str = ""
    cache_size: CacheSize = 50 << 30
    local: LocalStorage = LocalStorage()
    s3: S3Settings = S3Settings()
    azure: AzureSettings = AzureSettings()
    gcs: GcsSettings = GcsSettings()
    multi: MultiSettings = MultiSettings()
    sql: SqlSettings = SqlSettings()
    tiers: Tiers = Tiers()


class Server(_Table, frozen=True):
    """How `mediagit-server` listens and what it accepts. `max_pack_size` is in bytes, the timeouts are in seconds.

    `direct` lets clients read and write the store itself by signed URLs, where it can sign.
    `upstream` makes it a cache of another server; `upstream_api_key` is what it presents there, empty: what its clients do.
    """

    host: str = "127.0.0.1"
    port: Port = 3000
    workers: Annotated[int, Meta(ge=1, le=256)] = 1
    api_key: str = ""
    create_projects: bool = True
    default_repository: str = ""
    max_pack_size: Size = 256 << 20
    direct: bool = True
    header_timeout: Seconds = 10.0
    stall_timeout: Seconds = 60.0
    upstream: str = ""
    upstream_api_key: str = ""


class Settings(_Table, frozen=True):
    """All settings, every one with a usable value."""

    user: User = User()
    core: Core = Core()
    gc: Collection = Collection()
    keys: KeyStorage = KeyStorage()
    remote: dict[str, RemoteSettings] = {}
    branch: dict[str, BranchSettings] = {}
    network: Network = Network()
    credentials: dict[str, Credentials] = {}
    prices: dict[str, PriceTable] = {}
    storage: Storage = Storage()
    server: Server = Server()


class Key(NamedTuple):
    """One setting: its pattern (`core.workers`, `remote.*.url`), its type, its default."""

    pattern: str
    type: Any
    default: object


class LoadedSettings(NamedTuple):
    """Settings, and for each key that some layer set the name of the last layer that did."""

    settings: Settings
    values: Mapping[str, object]
    origins: Mapping[str, str]


_NAMED: Final[dict[str, type[msgspec.Struct]]] = {
    "remote": RemoteSettings,
    "branch": BranchSettings,
    "credentials": Credentials,
    "prices": PriceTable,
}
_STORES: Final = "storage.multi."
"""Below this, what the user names are stores, with the settings of their kinds."""
_STORE_TABLES: Final[Mapping[str, type[msgspec.Struct]]] = {"local": LocalStorage, **TABLES}
_SIZES: Final = frozenset(
    {
        "core.pack_size",
        "server.max_pack_size",
        "storage.cache_size",
        "storage.max_download",
        "storage.max_upload",
        "storage.s3.part_size",
        "storage.tiers.min_pack",
    }
)
_ALIASES: Final[dict[str, tuple[str, ...]]] = {
    "MEDIAGIT_AUTHOR_NAME": ("user.name",),
    "MEDIAGIT_AUTHOR_EMAIL": ("user.email",),
    "MEDIAGIT_HOST": ("server.host",),
    "MEDIAGIT_PORT": ("server.port",),
    "MEDIAGIT_API_KEY": ("server.api_key", "network.api_key"),
    "MEDIAGIT_DIRECT": ("network.direct",),
}
_OTHER_VARIABLES: Final = frozenset({"MEDIAGIT_EDITOR", "MEDIAGIT_HOME", "MEDIAGIT_PAGER", "MEDIAGIT_PASSPHRASE"})
_UNITS: Final = {"": 1, "b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "kb": 10**3, "mb": 10**6, "gb": 10**9}


def parse_size(text: str) -> int:
    """Read a size such as `64MiB`, `1.5 GiB` or `4096` into bytes.

    Raises:
        ConfigError: no number, or an unknown unit.
    """
    text = text.strip()
    digits = text.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
    unit = text[len(digits) :].strip().lower()
    try:
        return int(float(digits) * _UNITS[unit])
    except (ValueError, KeyError, OverflowError):
        raise ConfigError(
            f"Not a size: {text!r}.", hint="Write a number with KiB, MiB or GiB, such as 64MiB."
        ) from None


def known_keys() -> tuple[Key, ...]:
    """Return every setting there is; `*` stands for a name that the user chooses."""
    return tuple(_keys_of(Settings, ""))


def _keys_of(table: type[msgspec.Struct], prefix: str) -> Iterator[Key]:
    for field in msgspec.structs.fields(table):
        path = f"{prefix}{field.name}"
        if not prefix and field.name in _NAMED:
            yield from _keys_of(_NAMED[field.name], f"{path}.*.")
        elif path == f"{_STORES}stores":
            yield Key(f"{_STORES}*.backend", Literal["", *_STORE_TABLES, "memory"], "")
        elif isinstance(field.default, msgspec.Struct):
            yield from _keys_of(type(field.default), f"{path}.")
        else:
            default = "" if field.default is msgspec.NODEFAULT else field.default
            yield Key(path, field.type, default)


def split_key(key: str) -> tuple[str, ...]:
    """Split `remote.my.nas.url` into ("remote", "my.nas", "url"): the middle of a named table may hold dots."""
    first, _, rest = key.partition(".")
    if first in _NAMED:
        name, _, last = rest.rpartition(".")
        return (first, name, last)
    if key.startswith(_STORES) and key.count(".") > 2:
        name, _, last = key.removeprefix(_STORES).rpartition(".")
        return ("storage", "multi", name, last)
    return tuple(key.split("."))


def find_key(key: str) -> Key:
    """Return the setting that `key` names.

    Raises:
        ConfigError: there is none; the nearest name is offered.
    """
    parts = split_key(key)
    if key.startswith(_STORES) and len(parts) == 4:
        return _find_in_store(key, parts[2], parts[3])
    pattern = f"{parts[0]}.*.{parts[2]}" if parts[0] in _NAMED and parts[1] else key
    for known in known_keys():
        if known.pattern == pattern and "*" not in key:
            return known
    raise ConfigError(f"Unknown setting: {key}.", untouched="Nothing was changed.", hint=_nearest(key))


def _find_in_store(key: str, name: str, last: str) -> Key:
    """Return a setting of a named store: that of its kind, where the name is one, or else of any kind that has it."""
    kinds = [name] if name in _STORE_TABLES else list(_STORE_TABLES)
    patterns = {"backend": f"{_STORES}*.backend"}
    for kind in kinds:
        patterns |= {field: f"storage.{kind}.{field}" for field in _STORE_TABLES[kind].__struct_fields__}
    for known in known_keys():
        if known.pattern == patterns.get(last) and name and name not in MultiSettings.__struct_fields__:
            return known
    import difflib  # noqa: PLC0415 -- as below

    near = difflib.get_close_matches(last, patterns, 1, 0.5)
    hint = (
        f"Did you mean {_STORES}{name}.{near[0]}?"
        if near
        else f"It has the settings of its kind: {', '.join(patterns)}."
    )
    raise ConfigError(f"Unknown setting: {key}.", untouched="Nothing was changed.", hint=hint)


def _nearest(key: str) -> str:
    import difflib  # noqa: PLC0415 -- only when a person made a mistake; it costs milliseconds at every start

    names = [known.pattern.replace("*", "NAME") for known in known_keys()]
    parts = split_key(key)
    shape = f"{parts[0]}.NAME.{parts[2]}" if parts[0] in _NAMED else key
    matches = difflib.get_close_matches(shape, names, 1, 0.5)
    return f"Did you mean {matches[0]}?" if matches else "`mediagit config list --all` shows every setting."


def is_secret(key: str) -> bool:
    """Tell whether a setting's value must not be shown."""
    return key == "storage.sql.url" or key.rpartition(".")[2] in {"api_key", "upstream_api_key", *SECRETS}


def convert_value(key: str, value: object, *, text: bool) -> object:
    """Check a value for a known key; with `text`, it was typed or stands in the environment and is parsed first.

    Raises:
        ConfigError: an unknown key, or a value that does not fit it.
    """
    known = find_key(key)
    if known.pattern in _SIZES and isinstance(value, str):
        value = parse_size(value)
    try:
        return msgspec.convert(value, known.type, strict=not text)
    except msgspec.ValidationError as error:
        raise ConfigError(
            f"{_shown(key, value)} does not fit the setting {key}: {error}.", untouched="Nothing was changed."
        ) from None


def _shown(key: str, value: object) -> str:
    try:
        return "The value" if is_secret(key) else repr(value)
    except ValueError:  # a number of more digits than Python writes
        return "The value"


def user_folder(environ: Mapping[str, str]) -> Path:
    """Return the folder of a user's configuration and keys; it may not exist yet."""
    if home := environ.get("MEDIAGIT_HOME"):
        return Path(home).expanduser()
    if base := environ.get("XDG_CONFIG_HOME"):
        return Path(base) / "mediagit"
    return Path(environ["HOME"] if environ.get("HOME") else Path.home()) / ".config" / "mediagit"


def load_settings(
    environ: Mapping[str, str],
    *,
    repository: Path | None = None,
    file: Path | None = None,
    flags: Mapping[str, object] | None = None,
    system: Path = SYSTEM_FILE,
) -> LoadedSettings:
    """Read every layer.

    Args:
        environ: the process environment, or what a test puts in its place.
        repository: the repository's own `mediagit.toml`, where there is one.
        file: the only file to read, instead of the system's, the user's and the repository's; it must exist.
        flags: values from the command line by dotted key; None values are left out.
        system: the file for all users.

    Raises:
        ConfigError: a file that is not TOML, an unknown key or variable, or a value that does not fit.
    """
    if file is not None:
        files, required = [file], True
    else:
        files = [system, user_folder(environ) / FILE_NAME, *([repository] if repository else [])]
        required = False
    values: dict[str, object] = {}
    origins: dict[str, str] = {}
    for path in files:
        for key, value in read_file(path, required=required).items():
            values[key], origins[key] = value, str(path)
    for key, value, origin in _from_environment(environ):
        values[key], origins[key] = value, origin
    for key, value in (flags or {}).items():
        if value is not None:
            values[key], origins[key] = convert_value(key, value, text=isinstance(value, str)), "command line"
    return LoadedSettings(_build(values), values, origins)


def read_file(path: Path, *, required: bool = False) -> dict[str, object]:
    """Return the settings of one file by dotted key; an absent file has none unless it is `required`.

    Raises:
        ConfigError: see `load_settings`.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        if required:
            raise ConfigError(f"There is no file {path}.") from None
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"Cannot read {path}: {error}.") from error
    try:
        return dict(parse_text(text))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.message}", untouched=error.untouched, hint=error.hint) from None


def parse_text(text: str) -> Iterator[tuple[str, object]]:
    """Yield the settings that a TOML text holds, by dotted key.

    Raises:
        ConfigError: no TOML, an unknown key, or a value that does not fit.
    """
    import tomllib  # noqa: PLC0415 -- 15 ms at every start, and a repository without any file needs it not

    try:
        table = tomllib.loads(text)
        settings = list(_flatten(table))
    except RecursionError:
        raise ConfigError("Not valid TOML: tables or lists are nested too deep.") from None
    except ValueError as error:  # also a number of more digits than Python reads
        raise ConfigError(f"Not valid TOML: {error}.") from None
    for key, value in settings:
        yield key, convert_value(key, value, text=False)


def _flatten(table: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _from_environment(environ: Mapping[str, str]) -> Iterator[tuple[str, object, str]]:
    for variable in sorted(environ):
        if not variable.startswith("MEDIAGIT_") or variable in _OTHER_VARIABLES or not environ[variable]:
            continue
        keys = _ALIASES.get(variable) or _keys_of_variable(variable)
        for key in keys:
            try:
                yield key, convert_value(key, environ[variable], text=True), variable
            except ConfigError as error:
                raise ConfigError(f"{variable}: {error.message}", untouched=error.untouched, hint=error.hint) from None


def _keys_of_variable(variable: str) -> tuple[str, ...]:
    key = variable.removeprefix("MEDIAGIT_").lower().replace("__", ".")
    try:
        find_key(key)
    except ConfigError:
        raise ConfigError(
            f"Unknown environment variable: {variable}.",
            untouched="Nothing was changed.",
            hint=_nearest_variable(variable),
        ) from None
    return (key,)


def _nearest_variable(variable: str) -> str:
    import difflib  # noqa: PLC0415 -- only when a person made a mistake

    names = [*_ALIASES, *_OTHER_VARIABLES]
    names += ["MEDIAGIT_" + known.pattern.replace(".", "__").upper() for known in known_keys()]
    matches = difflib.get_close_matches(variable, names, 1, 0.5)
    return f"Did you mean {matches[0]}?" if matches else "Unset it."


def _build(values: Mapping[str, object]) -> Settings:
    tree: dict[str, Any] = {}
    for key, value in values.items():
        *parents, last = split_key(key)
        if len(parents) == 3:
            parents.insert(2, "stores")
        table = tree
        for parent in parents:
            table = table.setdefault(parent, {})
        table[last] = value
    return msgspec.convert(tree, Settings)


def edit_text(text: str, key: str, value: object | None) -> str:
    """Return a file's text with one setting changed, or taken out where `value` is None; comments are kept.

    Raises:
        ConfigError: the text is no valid file, or the key or value does not fit.
    """
    wanted = dict(parse_text(text))
    if value is None:
        find_key(key)
        wanted.pop(key, None)
    else:
        wanted[key] = convert_value(key, value, text=isinstance(value, str))
        value = value if find_key(key).pattern in _SIZES else wanted[key]  # 64MiB stays 64MiB
    edited = _edit_lines(text, key, value)
    try:
        if dict(parse_text(edited)) == wanted:
            return edited
    except ConfigError:
        pass
    return _write_tree(wanted)  # a layout that the line editor does not follow: inline tables, dotted keys


def _edit_lines(text: str, key: str, value: object | None) -> str:
    *parents, last = split_key(key)
    header = "[" + ".".join(_bare(part) for part in parents) + "]"
    lines = text.splitlines()
    start = next((at for at, line in enumerate(lines) if line.strip() == header), None)
    if start is None:
        if value is None:
            return text
        blank = [""] if lines else []
        return "\n".join([*lines, *blank, header, _line(last, value)]) + "\n"
    stop = next((at for at in range(start + 1, len(lines)) if lines[at].lstrip().startswith("[")), len(lines))
    body = lines[start + 1 : stop]
    place = next((at for at, line in enumerate(body) if line.split("=")[0].strip() == last and "=" in line), None)
    new = [] if value is None else [_line(last, value)]
    if place is not None:
        body[place : place + 1] = new
    else:
        filled = max((at + 1 for at, line in enumerate(body) if line.strip()), default=0)
        body[filled:filled] = new
    if not any(line.strip() for line in body):
        while start and not lines[start - 1].strip():
            start -= 1
        return "\n".join([*lines[:start], *lines[stop:]]) + "\n" if lines[:start] or lines[stop:] else ""
    return "\n".join([*lines[: start + 1], *body, *lines[stop:]]) + "\n"


def _write_tree(values: Mapping[str, object]) -> str:
    import tomli_w  # noqa: PLC0415 -- only when a setting is written

    tree: dict[str, Any] = {}
    for key, value in values.items():
        *parents, last = split_key(key)
        table = tree
        for parent in parents:
            table = table.setdefault(parent, {})
        table[last] = value
    return tomli_w.dumps(tree)


def _line(name: str, value: object) -> str:
    import tomli_w  # noqa: PLC0415 -- only when a setting is written

    return tomli_w.dumps({name: value}).rstrip("\n")


def _bare(part: str) -> str:
    if part and all(c.isascii() and (c.isalnum() or c in "-_") for c in part):
        return part
    import tomli_w  # noqa: PLC0415 -- only when a setting is written

    return tomli_w.dumps({part: 0}).rpartition(" = ")[0]
