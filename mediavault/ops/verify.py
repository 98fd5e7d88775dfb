"""Checks that all that is stored is what its name promises: packs, index, refs, key slots, and all that refs lead to."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from mediavault.errors import FormatError, MediaVaultError, UnsupportedFormatError
from mediavault.formats.frame import Frame
from mediavault.formats.slot import decode_slot
from mediavault.model.ids import Kind, Link, ObjectId
from mediavault.model.objects import TreeEntry
from mediavault.objects.reader import ObjectReader
from mediavault.ops.contents import chunks_of, is_file, walk_metadata
from mediavault.ops.repository import Repository
from mediavault.ops.unlock import SLOTS
from mediavault.progress import Progress
from mediavault.refs.blobs import REFS
from mediavault.store.frames import FrameStore
from mediavault.store.index import ObjectIndex
from mediavault.store.keys import PACKS, named_by
from mediavault.store.pack_table import read_pack_table
from mediavault.store.rebuild import Rebuilt, rebuild_index
from mediavault.store.verify import Damage, scrub
from mediavault_backends.errors import NotFoundError
from mediavault_backends.keys import decode_segment


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What was checked, and what is wrong.

    Attributes:
        place: the address of a remote; empty for this repository.
        quick: chunks were looked up and not read.
        refs: how many were checked.
        objects: how many were opened: chunks and all; when quick, the commits, tags, trees and manifests that refs lead to.
        packs: how many were checked; 0 for a remote.
        bytes: of these packs, or what a remote sent.
        damage: each thing that is not as it should be.
        affected: files of the checked-out commit whose content is lost or damaged there.
        index_lost: something is wrong with the index that making it anew may mend.
    """

    place: str
    quick: bool
    refs: int
    objects: int
    packs: int
    bytes: int
    damage: Sequence[Damage]
    affected: Sequence[str]
    index_lost: bool = False

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.damage


def verify(repository: Repository, progress: Progress, *, quick: bool = False) -> VerifyReport:
    """Check this repository; nothing is changed.

    Args:
        repository: what to check.
        progress: told the bytes of packs as they are checked.
        quick: read the packs' tables and all metadata, but no chunk.
    """
    check = _Check(repository)
    total = sum(stat.size for stat in repository.backend.scan(PACKS))
    progress.start(total, "bytes", "Checking")
    try:
        damage = [*check.slots(), *(check.tables(progress) if quick else check.packs(progress))]
        progress.start(None, "objects", "Following what refs lead to")
        damage += check.refs()
        named = {found.object for found in damage if found.object is not None}
        damage += [found for found in check.closure(progress) if found.object not in named]
    finally:
        progress.done()
    return VerifyReport(
        place="",
        quick=quick,
        refs=check.ref_count,
        objects=check.followed if quick else check.judged,
        packs=len(check.sizes),
        bytes=sum(check.sizes.values()),
        damage=damage,
        affected=affected_files(repository, check.reader, damage),
        index_lost=bool(damage) and check.index_lost,
    )


def rebuild(repository: Repository) -> Rebuilt:
    """Make the index anew from the packs; the caller holds the repository's lock.

    Raises:
        BackendError: the store failed; the old index is still there.
    """
    return rebuild_index(repository.backend)


def affected_files(repository: Repository, reader: ObjectReader, damage: Sequence[Damage]) -> Sequence[str]:
    """Return the files of the checked-out commit that need a damaged object, as far as its trees can be read."""
    lost = {found.object for found in damage if found.object is not None}
    paths: list[str] = []
    # Where the trees themselves cannot be read, that is among the damage already.
    with suppress(MediaVaultError):
        commit = repository.head_commit()
        if commit is None or not lost:
            return paths
        for path, entry in reader.walk_tree(reader.commit(commit).tree):
            if is_file(entry) and _needs(reader, entry, lost):
                paths.append(path)
    return paths


def _needs(reader: ObjectReader, entry: TreeEntry, lost: set[ObjectId]) -> bool:
    if entry.child is not None and entry.child.id in lost:
        return True
    try:
        return any(chunk.chunk in lost for chunk in reader.chunk_list(entry.child, entry.size))
    except MediaVaultError:
        return True


class _Check:
    """The parts of a check, in the order in which they are to be called, and what they count."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._backend = repository.backend
        # A damaged index is reported, and must not end the check.
        self._index = ObjectIndex(self._backend, tolerant=True)
        self.reader = ObjectReader(FrameStore(self._backend, self._index), repository.codec)
        self._tips: list[Link] = []
        self.sizes: dict[ObjectId, int] = {}
        self.ref_count = 0
        self.judged = 0
        self.followed = 0

    def slots(self) -> Iterator[Damage]:
        """Check that key slots parse and belong here."""
        for stat in self._backend.scan(SLOTS):
            try:
                slot = decode_slot(self._backend.get(stat.key).data)
            except NotFoundError:
                continue  # removed since it was listed
            except (FormatError, UnsupportedFormatError) as error:
                yield Damage(f"The key slot {stat.key} is damaged: {error.message}")
                continue
            if SLOTS + slot.slot != stat.key or slot.repository != self._repository.id.hex():
                yield Damage(f"The key slot {stat.key} belongs to another slot or repository.")

    def packs(self, progress: Progress) -> Iterator[Damage]:
        """Read every pack whole and open every frame."""

        def seen(pack: ObjectId, size: int) -> None:
            self.sizes[pack] = size
            progress.advance(size)

        yield from scrub(self._backend, on_pack=seen, judge=self._judge)

    def _judge(self, frame: Frame) -> str:
        header = frame.header
        self.judged += 1
        try:
            self._repository.codec.verify(frame, header.id, header.kind)
        except MediaVaultError as error:
            return error.message
        return ""

    def tables(self, progress: Progress) -> Iterator[Damage]:
        """Read the index and every pack's table."""
        self._index.refresh()
        for key, reason in self._index.damaged.items():
            yield Damage(f"The index {key} is damaged: {reason}")
        for stat in self._backend.scan(PACKS):
            pack = named_by(stat.key)
            if pack is None:
                yield Damage(f"{stat.key} is not the name of a pack.")
                continue
            try:
                read_pack_table(self._backend, pack)
            except NotFoundError:
                continue  # removed since it was listed
            except (FormatError, UnsupportedFormatError) as error:
                yield Damage(error.message, pack=pack)
            self.sizes[pack] = stat.size
            progress.advance(stat.size)
        for pack in sorted(self._index.packs() - self.sizes.keys()):
            yield Damage("The pack is missing.", pack=pack)

    def refs(self) -> Iterator[Damage]:
        """Check every ref, its former values, and HEAD."""
        for stat in self._backend.scan(REFS):
            name = stat.key.removeprefix(REFS)
            try:
                name = decode_segment(name)
                target = self._repository.refs.read(name).target
                if target is not None:
                    self.ref_count += 1
                    self._tips.append(target)
                self._repository.refs.log(name)
            except ValueError:
                yield Damage(f"{stat.key} is not the name of a ref.")
            except MediaVaultError as error:
                yield Damage(error.message)
        try:
            head = self._repository.layout.read_head().commit
        except MediaVaultError as error:
            yield Damage(error.message)
        else:
            if head is not None:
                self._tips.append(Link(Kind.COMMIT, head))

    def closure(self, progress: Progress) -> Iterator[Damage]:
        """Open all metadata that the refs lead to, and look up every chunk."""
        found: list[Damage] = []

        def damaged(link: Link, error: MediaVaultError) -> None:
            places = self._index.find(link.id)
            pack, offset = (places[0].pack_id, places[0].offset) if places else (None, None)
            found.append(Damage(error.message, link.id, pack, offset))

        for _, body in walk_metadata(self.reader, self._tips, damaged=damaged):
            self.followed += 1
            progress.advance(1)
            for chunk in chunks_of(body):
                places = self._index.find(chunk.chunk)
                if not any(place.pack_id in self.sizes for place in places):
                    pack, offset = (places[0].pack_id, places[0].offset) if places else (None, None)
                    found.append(Damage("The chunk is missing.", chunk.chunk, pack, offset))
            yield from found
            found.clear()
        yield from found

    @property
    def index_lost(self) -> bool:
        """Whether an index is damaged, or leads to none of a pack's objects; once packs were looked at."""
        return bool(self._index.damaged) or bool(self.sizes.keys() - self._index.packs())
