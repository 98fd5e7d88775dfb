"""Makes a small studio's project with real encoders, and edits it as an artist would. Knows nothing of MediaVault.

Used by the tests, by `make run` and by the benchmarks. The same seed, detail and encoder releases give the same bytes.

    python -m tests.media FOLDER            make the project
    python -m tests.media FOLDER --edit     repaint a part of one layer of its big image
"""

import argparse
import io
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import OpenEXR
import soundfile
import trimesh
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from psd_tools import PSDImage
from psd_tools.constants import Compression

Pixels = NDArray[np.uint8]

PAGE_NAME = 285
"""The TIFF tag that carries a layer's name."""

LAYERS = ("base colour", "dirt", "scratches", "moss", "decals", "paint-over")
LAYERED = Path("textures/hero_layers.tif")
SCRIPT = Path("scripts/render.sh")
SEED = 20
FRAME_RATE = 24
SAMPLE_RATE = 48_000


@dataclass(frozen=True)
class MediaProject:
    """A project on disk.

    Attributes:
        root: its folder.
        layered: the big layered image, relative to `root`; more than 50 MB at full detail.
        script: an executable file, relative to `root`.
        seed: what the pixels and samples were drawn from.
    """

    root: Path
    layered: Path
    script: Path
    seed: int


@dataclass(frozen=True)
class Edit:
    """What an artist's edit did.

    Attributes:
        path: the file, relative to the project.
        layer: the name of the layer that was painted on.
        changed_bytes: how many bytes of the file differ from before.
    """

    path: Path
    layer: str
    changed_bytes: int


def make_project(root: Path, *, seed: int = SEED, detail: float = 1.0) -> MediaProject:
    """Create a media project below `root`, which must not exist.

    Args:
        root: the folder to create.
        seed: start of every random stream.
        detail: 1.0 makes about 165 MB; picture areas and durations shrink in proportion.
    """
    studio = _Studio(root, seed, detail)
    for folder in ("shots/sh010", "shots/sh020", "audio", "textures", "models", "design", "scripts", "notes"):
        (root / folder).mkdir(parents=True)
    studio.textures()
    studio.design()
    studio.shots()
    studio.audio()
    studio.models()
    studio.odds_and_ends()
    return MediaProject(root, LAYERED, SCRIPT, seed)


def edit(project: MediaProject, *, seed: int = 1) -> Edit:
    """Repaint a region of one layer of the big image and save it in the same format."""
    rng = np.random.default_rng([project.seed, seed])
    target = project.root / project.layered
    before = np.fromfile(target, dtype=np.uint8)
    layers = _open_layers(target)
    index = int(rng.integers(1, len(layers)))
    name, image = layers[index]
    side = min(image.size) // 6
    left = int(rng.integers(0, image.width - side))
    top = int(rng.integers(0, image.height - side))
    brush = Image.new("L", (side, side), 0)
    ImageDraw.Draw(brush).ellipse((0, 0, side - 1, side - 1), fill=255)
    image.paste(Image.fromarray(_texture(rng, side, side, grain=6)), (left, top), brush)
    _save_layers(target, layers)
    after = np.fromfile(target, dtype=np.uint8)
    common = min(before.size, after.size)
    changed = int(np.count_nonzero(before[:common] != after[:common])) + abs(before.size - after.size)
    return Edit(project.layered, name, changed)


def formats(root: Path) -> list[str]:
    """Return the distinct media formats below `root`, by file name extension."""
    return sorted({path.suffix[1:] for path in root.rglob("*.*") if path.is_file()} - {"bin", "sh", "txt"})


class _Studio:
    """One department a method, each with its own random stream, so that one does not shift the others."""

    def __init__(self, root: Path, seed: int, detail: float) -> None:
        self._root = root
        self._seed = seed
        self._detail = detail

    def textures(self) -> None:
        rng = self._stream("textures")
        height, width = self._picture(1536, 2048)
        folder = self._root / "textures"
        base = _texture(rng, height, width, grain=3)
        layers = [(LAYERS[0], Image.fromarray(base))]
        for name in LAYERS[1:]:
            pixels = _texture(rng, height, width, grain=4)
            pixels[..., 3] = _mask(rng, height, width)
            pixels[pixels[..., 3] == 0] = 0
            layers.append((name, Image.fromarray(pixels)))
        _save_layers(folder / "hero_layers.tif", layers)
        Image.fromarray(base).convert("RGB").save(folder / "hero_preview.jpg", quality=92)
        Image.fromarray(base[: height // 2, : width // 2]).save(folder / "hero_swatch.png", compress_level=4)

    def design(self) -> None:
        rng = self._stream("design")
        height, width = self._picture(800, 1200)
        document = PSDImage.new("RGB", (width, height))
        for index, name in enumerate(("sky", "mountains", "title")):
            pixels = _texture(rng, height * 3 // 4, width * 3 // 4, grain=2 * index)
            document.create_pixel_layer(
                Image.fromarray(pixels),
                name=name,
                top=height // 8 * index,
                left=width // 8 * index,
                compression=Compression.RLE,
            )
        document.save(self._root / "design" / "Titel Übergang.psd")

    def shots(self) -> None:
        rng = self._stream("shots")
        height, width = (side // 2 * 2 for side in self._picture(720, 1280))
        frames = max(4, round(48 * self._detail))
        first = self._root / "shots" / "sh010"
        _encode_video(
            first / "plate.mov", _pan(rng, height, width, frames), width, height, "-c:v", "prores_ks", "-profile:v", "3"
        )
        _encode_video(
            first / "proxy.mp4", _pan(rng, height, width, frames * 2), width, height,
            "-c:v", "libx264", "-preset", "veryfast", "-crf", "16", "-pix_fmt", "yuv420p",
        )  # fmt: skip
        second = self._root / "shots" / "sh020"
        _encode_video(
            second / "animatic.mov", _pan(rng, height // 4 * 2, width // 4 * 2, frames), width // 4 * 2, height // 4 * 2,
            "-c:v", "mjpeg", "-q:v", "3", "-pix_fmt", "yuvj422p",
        )  # fmt: skip
        for number in range(max(3, round(8 * self._detail))):
            light = _texture(rng, height * 3 // 4, width * 3 // 4, grain=8)[..., :3].astype(np.float32) / 255
            channels = {"RGB": (light**2.2 * 4).astype(np.float16)}
            header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
            with OpenEXR.File(header, channels) as picture:
                picture.write(str(second / f"comp.{1001 + number}.exr"))

    def audio(self) -> None:
        rng = self._stream("audio")
        folder = self._root / "audio"
        samples = round(40 * SAMPLE_RATE * max(self._detail, 0.02))
        time = np.arange(samples) / SAMPLE_RATE
        voice = np.sin(2 * np.pi * 140 * time + 3 * np.sin(2 * np.pi * 2.7 * time)) * (
            0.5 + 0.5 * np.sin(2 * np.pi * 0.6 * time)
        )
        stereo = 0.3 * np.stack([voice, np.roll(voice, 31)], axis=1) + rng.normal(0, 0.02, (samples, 2))
        soundfile.write(folder / "dialogue.wav", stereo, SAMPLE_RATE, subtype="PCM_24")
        # The same take with its head cut off: nearly all of its bytes are known already, at another offset.
        soundfile.write(folder / "dialogue_trimmed.wav", stereo[samples // 29 :], SAMPLE_RATE, subtype="PCM_24")
        soundfile.write(folder / "music.flac", stereo[::-1][: samples // 2], SAMPLE_RATE, subtype="PCM_16")
        _ffmpeg("-i", str(folder / "music.flac"), "-c:a", "aac", "-b:a", "192k", str(folder / "music.m4a"))

    def models(self) -> None:
        rng = self._stream("models")
        folder = self._root / "models"
        rock = trimesh.creation.icosphere(subdivisions=6 if self._detail >= 1 else 3)
        rock.vertices += rng.normal(0, 0.01, rock.vertices.shape)
        for kind in ("glb", "obj", "ply"):
            data = rock.export(file_type=kind)
            (folder / f"rock.{kind}").write_bytes(data.encode() if isinstance(data, str) else data)
        gltf = trimesh.creation.torus(1.0, 0.3).export(file_type="gltf")
        (folder / "ring").mkdir()
        for name, data in gltf.items():
            (folder / "ring" / name.replace("model", "ring")).write_bytes(data)

    def odds_and_ends(self) -> None:
        script = self._root / "scripts" / "render.sh"
        script.write_text('#!/bin/sh\n# Renders one shot.\nexec echo rendering "${1:?name a shot}"\n')
        script.chmod(0o755)
        (self._root / "notes" / "空のファイル.txt").touch()
        (self._root / "notes" / "Café, notes de montage.txt").write_text(
            "Plan 10 : étalonnage à revoir.\n", encoding="utf-8"
        )
        (self._root / "shots" / "latest").symlink_to("sh020")

    def _stream(self, department: str) -> np.random.Generator:
        return np.random.default_rng([self._seed, *department.encode()])

    def _picture(self, height: int, width: int) -> tuple[int, int]:
        side = self._detail**0.5
        return max(48, round(height * side)), max(64, round(width * side))


def _texture(rng: np.random.Generator, height: int, width: int, *, grain: int) -> Pixels:
    """Draw opaque RGBA pixels: colours that drift over several scales, and `grain` levels of sensor noise."""
    total = np.zeros((height, width, 4), dtype=np.float32)
    for scale in (4, 12, 48):
        coarse = rng.integers(
            0, 256, (max(2, height * scale // 1024), max(2, width * scale // 1024), 4), dtype=np.uint8
        )
        total += np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), dtype=np.float32)
    pixels = total / 3
    if grain:
        pixels += rng.integers(-grain, grain + 1, (height, width, 1), dtype=np.int8)
    painted = np.clip(pixels, 0, 255).astype(np.uint8)
    painted[..., 3] = 255
    return painted


def _mask(rng: np.random.Generator, height: int, width: int) -> Pixels:
    """Draw an alpha channel: most of a detail layer is empty."""
    coarse = rng.integers(0, 256, (9, 12), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), dtype=np.int16)
    return np.clip((smooth - 140) * 4, 0, 255).astype(np.uint8)


def _pan(rng: np.random.Generator, height: int, width: int, frames: int) -> Iterator[bytes]:
    """Yield RGB frames of a camera moving over a landscape, with fresh grain in each."""
    landscape = _texture(rng, height + frames, width + 4 * frames, grain=0)[..., :3].astype(np.int16)
    for number in range(frames):
        grain = rng.integers(-5, 6, (height, width, 1), dtype=np.int8)
        window = landscape[number : number + height, 4 * number : 4 * number + width]
        yield np.clip(window + grain, 0, 255).astype(np.uint8).tobytes()


def _encode_video(target: Path, frames: Iterator[bytes], width: int, height: int, *codec: str) -> None:
    source = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(FRAME_RATE), "-i", "-")
    with subprocess.Popen(_ffmpeg_command(*source, *codec, str(target)), stdin=subprocess.PIPE) as process:
        if process.stdin is None:
            raise AssertionError
        for frame in frames:
            process.stdin.write(frame)
        process.stdin.close()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)


def _ffmpeg(*arguments: str) -> None:
    subprocess.run(_ffmpeg_command(*arguments), check=True, stdin=subprocess.DEVNULL)


def _ffmpeg_command(*arguments: str) -> list[str]:
    # A fixed number of threads and no dates or versions in the output: the same bytes on every machine.
    *inputs, target = arguments
    exact = ("-threads", "2", "-map_metadata", "-1", "-fflags", "+bitexact", "-flags", "+bitexact")
    return [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-loglevel", "error", *inputs, *exact, target]


def _save_layers(target: Path, layers: list[tuple[str, Image.Image]]) -> None:
    pages = []
    for name, image in layers:
        image.encoderinfo = {"tiffinfo": {PAGE_NAME: name}}
        pages.append(image)
    buffer = io.BytesIO()
    pages[0].save(buffer, format="TIFF", save_all=True, append_images=pages[1:], tiffinfo={PAGE_NAME: layers[0][0]})
    target.write_bytes(buffer.getbuffer())


def _open_layers(source: Path) -> list[tuple[str, Image.Image]]:
    layers = []
    with Image.open(source) as document:
        for index in range(getattr(document, "n_frames", 1)):
            document.seek(index)
            layers.append((str(document.tag_v2[PAGE_NAME]), document.copy()))  # type: ignore[attr-defined]  # a TIFF's own attribute
    return layers


def main() -> None:
    """Make or edit the project that the command line names."""
    parser = argparse.ArgumentParser(prog="tests.media")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--edit", action="store_true")
    options = parser.parse_args()
    if options.edit:
        change = edit(MediaProject(options.folder, LAYERED, SCRIPT, SEED))
        print(f"{change.path}: repainted a part of the layer {change.layer}")
    else:
        make_project(options.folder)
        print(f"{options.folder}: {' '.join(formats(options.folder))}")


if __name__ == "__main__":
    main()
