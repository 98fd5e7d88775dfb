"""Storage classes of S3: what a HEAD tells of them, a copy onto itself to change them, a restore out of an archive.

A pack is smaller than the 5 GiB that one copy takes. The copy names the version it was made from, so what another writer puts
in between is not lost; a restored object stays in its class, and a copy of it can be read for the days that were asked for.
"""

from collections.abc import Mapping
from typing import Any, Final, Protocol

from mediavault_backends.api import Tier
from mediavault_backends.errors import BackendError, BackendSetupError

ARCHIVES: Final = frozenset({"GLACIER", "DEEP_ARCHIVE"})
USUAL: Final = "STANDARD"
"""The class of an object of which the store says none."""
_MOVING: Final = "INTELLIGENT_TIERING"
"""The class in which AWS archives by itself, and brings back for good."""


class Call(Protocol):
    """One request on an object, with its errors translated."""

    def __call__(self, operation: str, key: str, **arguments: Any) -> Any:
        """Make it."""


def tier_of(head: Mapping[str, Any]) -> Tier:
    """Read the class of an object from the answer to HeadObject."""
    name = str(head.get("StorageClass") or USUAL)
    restore = str(head.get("Restore") or "")
    restoring = 'ongoing-request="true"' in restore
    archived = name in ARCHIVES or bool(head.get("ArchiveStatus"))
    return Tier(name, readable=not archived or (bool(restore) and not restoring), restoring=restoring)


def move(
    call: Call, bucket: str, path: str, key: str, name: str, *, reading: Mapping[str, Any], writing: Mapping[str, Any]
) -> None:
    """Move an object to a class by copying it onto itself.

    Args:
        call: makes a request.
        bucket: which.
        path: of the object in it.
        key: what the caller calls it.
        name: of the class.
        reading: what requests that read have to say.
        writing: what requests that write have to say.

    Raises:
        BackendError: as `Tiering.set_tier`.
    """
    head = call("head_object", key, **reading)
    if tier_of(head).name == name:
        return
    source = {f"CopySource{option}": value for option, value in reading.items()}
    options = {**writing, **source, "StorageClass": name, "CopySourceIfMatch": head["ETag"]}
    # SeaweedFS takes no copy onto itself that keeps the metadata, so they are given anew.
    kept = {option: head[option] for option in ("ContentType", "Metadata") if head.get(option)}
    try:
        call(
            "copy_object",
            key,
            CopySource={"Bucket": bucket, "Key": path},
            MetadataDirective="REPLACE",
            **kept,
            **options,
        )
    except BackendSetupError as error:
        raise BackendSetupError(f"{key} cannot be moved to the storage class {name}: {error}", key=key) from error


def restore(call: Call, key: str, days: int, *, reading: Mapping[str, Any]) -> None:
    """Ask for an archived object.

    Args:
        call: makes a request.
        key: which object.
        days: for how many it is to be readable.
        reading: what requests that read have to say.

    Raises:
        BackendError: as `Tiering.restore`.
    """
    tier = tier_of(call("head_object", key, **reading))
    if tier.readable or tier.restoring:
        return
    wanted: dict[str, object] = {"GlacierJobParameters": {"Tier": "Standard"}}
    if tier.name != _MOVING:
        wanted["Days"] = days
    try:
        call("restore_object", key, RestoreRequest=wanted)
    except BackendError:
        # Somebody may have asked for it since: RestoreAlreadyInProgress.
        if not tier_of(call("head_object", key, **reading)).restoring:
            raise
