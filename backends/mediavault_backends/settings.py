"""What a remote store, or a pair of stores, needs to be told, as typed tables; checks shapes and bounds, and opens nothing.

`[storage.s3]`, `[storage.azure]`, `[storage.gcs]` and `[storage.multi]` of mediagit.toml are these structs. Every field has a default, so that a
table can be built up from several layers; the adapter says which of them it cannot do without.
"""

from collections.abc import Mapping
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

Retries = Annotated[int, Meta(ge=0, le=20)]
PartSize = Annotated[int, Meta(ge=5_000_000, le=5 << 30)]

SECRETS: Final = frozenset({"access_key", "secret_key", "sse_customer_key", "account_key"})
"""Fields whose values are never shown."""


class _Store(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the tables of all stores have in common: unknown keys are refused, and secrets do not show."""

    def __repr__(self) -> str:
        shown = (f"{name}={_shown(name, getattr(self, name))}" for name in self.__struct_fields__)
        return f"{type(self).__name__}({', '.join(shown)})"


class S3Settings(_Store, frozen=True):
    """A bucket of an S3-compatible store.

    Attributes:
        bucket: its name; required.
        prefix: keys start with this, for a bucket that holds other things too; "/" at its ends does not matter.
        region: empty: from `AWS_REGION`, `AWS_DEFAULT_REGION`, the profile, or else asked of the bucket.
        endpoint: URL of the service, in which `{region}` stands for the region; empty: the provider's.
        part_size: bytes; larger bodies are uploaded in parts of this size. S3 takes no part below 5 MiB, so anything
            less is taken as that.
        max_concurrent_parts: parts of one body that are under way at once. An upload holds at most this many in memory.
        max_retries: how often a call is repeated that failed for a passing reason.
        access_key: with `secret_key`, goes before the credential chain (environment, IAM role, profile).
        secret_key: see `access_key`.
        force_path_style: put the bucket into the path instead of the host name; `minio` always does.
        sse: encryption by the service: "s3" with its own keys, "kms" with a managed one, "c" with `sse_customer_key`.
        sse_kms_key_id: for `sse = "kms"`; empty: the account's default key.
        sse_customer_key: for `sse = "c"`: 32 bytes in base64.
        storage_class: such as `STANDARD_IA`; empty: the bucket's default.
        provider: which service it is, for endpoint and habits; empty: AWS, or whatever is at `endpoint`.
    """

    bucket: str = ""
    prefix: str = ""
    region: str = ""
    endpoint: str = ""
    part_size: PartSize = 100_000_000
    max_concurrent_parts: Annotated[int, Meta(ge=1, le=64)] = 8
    max_retries: Retries = 3
    access_key: str = ""
    secret_key: str = ""
    force_path_style: bool = False
    sse: Literal["", "s3", "kms", "c"] = ""
    sse_kms_key_id: str = ""
    sse_customer_key: str = ""
    storage_class: str = ""
    provider: Literal["", "aws", "minio", "b2", "spaces", "wasabi", "r2"] = ""


class AzureSettings(_Store, frozen=True):
    """A container of an Azure storage account.

    Attributes:
        account_name: the storage account; required.
        account_key: its key in base64; empty with `use_managed_identity`.
        container: its name; required.
        prefix: keys start with this, for a container that holds other things too; "/" at its ends does not matter.
        endpoint: URL of the blob service, up to and with the account where that is part of the path; empty: Azure's.
        use_managed_identity: sign in as the machine instead of with a key.
        tier: access tier of new objects; empty: the account's default. "Archive" is for packs alone, and nothing can be
            cloned from there before they are moved to another tier.
        max_retries: how often a call is repeated that failed for a passing reason.
    """

    account_name: str = ""
    account_key: str = ""
    container: str = ""
    prefix: str = ""
    endpoint: str = ""
    use_managed_identity: bool = False
    tier: Literal["", "Hot", "Cool", "Archive"] = ""
    max_retries: Retries = 3


class GcsSettings(_Store, frozen=True):
    """A bucket of Google Cloud Storage.

    Attributes:
        project: the project that is billed; empty: from the credentials.
        bucket: its name; required.
        prefix: keys start with this, for a bucket that holds other things too; "/" at its ends does not matter.
        credentials_path: a service account's JSON file; empty: application default credentials.
        endpoint: URL of the service; empty: Google's.
        storage_class: such as `NEARLINE`; empty: the bucket's default.
        max_retries: how often a call is repeated that failed for a passing reason.
    """

    project: str = ""
    bucket: str = ""
    prefix: str = ""
    credentials_path: str = ""
    endpoint: str = ""
    storage_class: str = ""
    max_retries: Retries = 3


class MultiSettings(_Store, frozen=True):
    """Two stores as one.

    Attributes:
        primary: the name of the store that decides; required.
        secondary: the name of the store that follows; required.
        mode: `mirror`: a change is done when both stores have it; `async`: when the primary has it.
        read: `nearest`: what never changes is read from the store that answered faster lately.
        journal: a folder for the record of what the secondary lacks; empty: beside the objects of the local one of the two.
        stores: the settings of each by name. The name is the kind of store, unless `backend` among them says another.
    """

    primary: str = ""
    secondary: str = ""
    mode: Literal["mirror", "async"] = "mirror"
    read: Literal["primary-first", "nearest"] = "primary-first"
    journal: str = ""
    stores: Mapping[str, Mapping[str, object]] = {}


class SqlSettings(_Store, frozen=True):
    """A database for what changes, beside a store that ignores conditions.

    Attributes:
        url: `sqlite:////absolute/path` or `postgresql://user:password@host/database`.
    """

    url: str = ""

    def __repr__(self) -> str:
        return f"SqlSettings(url={'***' if self.url else ''!r})"


StoreSettings = S3Settings | AzureSettings | GcsSettings

TABLES: Final[Mapping[str, type[S3Settings] | type[AzureSettings] | type[GcsSettings]]] = {
    "s3": S3Settings,
    "azure": AzureSettings,
    "gcs": GcsSettings,
}
"""The struct of each kind of store that has one."""


def _shown(name: str, value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{inner!r}: {_shown(inner, held)}" for inner, held in value.items()) + "}"
    return "'***'" if name in SECRETS and value else repr(value)
