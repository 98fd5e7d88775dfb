"""The sample project is what `make run`, the tests and the benchmarks take it for."""

import filecmp
import shutil
from pathlib import Path

from PIL import Image, ImageSequence
from psd_tools import PSDImage

from tests import media

DETAIL = 0.01


def test_same_seed_gives_the_same_bytes_and_another_seed_does_not(tmp_path: Path) -> None:
    for name, seed in (("one", 3), ("two", 3), ("other", 4)):
        media.make_project(tmp_path / name, seed=seed, detail=DETAIL)
    names = [str(path.relative_to(tmp_path / "one")) for path in (tmp_path / "one").rglob("*") if path.is_file()]
    same, different, missing = filecmp.cmpfiles(tmp_path / "one", tmp_path / "two", names, shallow=False)
    assert (sorted(same), different, missing) == (sorted(names), [], [])
    assert not filecmp.cmp(tmp_path / "one/audio/dialogue.wav", tmp_path / "other/audio/dialogue.wav", shallow=False)


def test_it_holds_real_media_and_the_odd_things_that_projects_have(media_project: Path) -> None:
    assert set(media.formats(media_project)) >= {
        "mp4",
        "mov",
        "exr",
        "tif",
        "psd",
        "wav",
        "flac",
        "m4a",
        "glb",
        "obj",
        "ply",
    }
    assert (media_project / "shots/latest").readlink() == Path("sh020")
    assert (media_project / "scripts/render.sh").stat().st_mode & 0o111
    files = [path for path in media_project.rglob("*") if path.is_file()]
    assert any(path.stat().st_size == 0 for path in files)
    assert any(not path.name.isascii() for path in files)
    assert len(list(PSDImage.open(next(media_project.glob("design/*.psd"))))) == 3


def test_an_edit_repaints_one_layer_and_leaves_the_others(media_project: Path, tmp_path: Path) -> None:
    copy = tmp_path / "film"
    shutil.copytree(media_project, copy, symlinks=True)
    project = media.MediaProject(copy, media.LAYERED, media.SCRIPT, media.SEED)
    change = media.edit(project)
    before, after = _layers(media_project / change.path), _layers(copy / change.path)
    assert [name for name in after if before[name] != after[name]] == [change.layer]
    assert list(before) == list(after) == list(media.LAYERS)
    assert 0 < change.changed_bytes < (copy / change.path).stat().st_size // 20


def _layers(path: Path) -> dict[str, bytes]:
    with Image.open(path) as document:
        return {str(page.tag_v2[media.PAGE_NAME]): page.tobytes() for page in ImageSequence.Iterator(document)}  # type: ignore[attr-defined]  # a TIFF's own
