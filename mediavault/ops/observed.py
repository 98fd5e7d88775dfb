"""What was seen of each remote's refs, kept beside the repository, so that a remote that goes back is noticed."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from mediavault.errors import IntegrityError
from mediavault.refs.observed import Observed
from mediavault.workspace.layout import Layout
from mediavault_backends import fsio
from mediavault_backends.keys import encode_segment

_decoder = msgspec.json.Decoder(dict[str, Observed])


def read_observed(layout: Layout, remote: str) -> dict[str, Observed]:
    """Return what was seen of a remote's refs, by name; nothing where it was never asked.

    Raises:
        IntegrityError: the file is damaged.
    """
    path = _path(layout, remote)
    try:
        return _decoder.decode(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (msgspec.DecodeError, RecursionError) as error:
        raise IntegrityError(
            f"{path}, which remembers what was seen of {remote}, is damaged.",
            untouched="Nothing was transferred.",
            hint=f"Remove the file; then {remote} is believed again as at the first contact.",
        ) from error


def write_observed(layout: Layout, remote: str, observed: Mapping[str, Observed]) -> None:
    """Remember durably what was seen of a remote's refs."""
    path = _path(layout, remote)
    fsio.make_folders(path.parent)
    fsio.write_atomic(path, msgspec.json.encode(dict(observed), order="sorted"))


def forget_observed(layout: Layout, remote: str) -> None:
    """Forget a remote."""
    path = _path(layout, remote)
    if path.exists():
        fsio.remove(path)


def copy_observed(layout: Layout, old: str, new: str) -> None:
    """Let what was seen of a remote be known under another name too."""
    write_observed(layout, new, read_observed(layout, old))


def _path(layout: Layout, remote: str) -> Path:
    return layout.folder / "remotes" / f"{encode_segment(remote)}.json"
