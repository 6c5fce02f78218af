"""A game as a moving picture: WebP, GIF, or mp4 (`video` extra)."""

import contextlib
import os
import subprocess
import tempfile
import zlib
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, cast

from PIL import Image

from rtpd.agents.play.game import Cast, Moment
from rtpd.agents.play.picture import draw
from rtpd.errors import RequestError, RtpdError
from rtpd.storage.files import check_writable

SUFFIXES = (".webp", ".gif", ".mp4")


class Film:
    """Keeps every step's picture, packed, until `save` writes them all."""

    def __init__(self, path: Path, fps: float, cast: Cast) -> None:
        """RequestError if such a file cannot be written, before anything is played."""
        if path.suffix not in SUFFIXES:
            raise RequestError(f"--out '{path}': its name must end in {', '.join(SUFFIXES)}")
        if path.suffix == ".mp4" and find_spec("imageio_ffmpeg") is None:
            raise RequestError(
                f"--out '{path}' needs 'imageio-ffmpeg': pip install imageio-ffmpeg "
                "(.webp and .gif need nothing)"
            )
        check_writable(path)
        self.path, self.fps, self.cast = path, fps, cast
        self._packed: list[bytes] = []
        self._size = (0, 0)

    def show(self, moment: Moment) -> None:
        """Keep one step."""
        picture = draw(self.cast, moment)
        self._size = picture.size
        self._packed.append(zlib.compress(picture.tobytes(), 1))

    def close(self) -> None:
        """Nothing is open."""

    def save(self) -> None:
        """Write the file; it gets its name only when it is whole."""
        with tempfile.TemporaryDirectory(prefix=".rtpd-film-", dir=self.path.parent) as folder:
            made = Path(folder) / self.path.name
            if self.path.suffix == ".mp4":
                self._write_mp4(made)
            else:
                reel = _Reel(self._packed, self._size)
                how: dict[str, Any] = (
                    {"lossless": True, "quality": 75, "method": 3}
                    if self.path.suffix == ".webp"
                    else {}
                )
                reel.save(made, save_all=True, duration=round(1000 / self.fps), loop=0, **how)
            os.replace(made, self.path)

    def _write_mp4(self, path: Path) -> None:
        """Pipe raw pictures to ffmpeg; RtpdError if it cannot make a film of them."""
        from imageio_ffmpeg import get_ffmpeg_exe

        size = "x".join(map(str, self._size))
        raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", f"{self.fps:g}", "-i", "-"]
        made = ["-pix_fmt", "yuv420p", "-movflags", "+faststart", str(path)]
        with tempfile.TemporaryFile() as said:
            command = [get_ffmpeg_exe(), "-loglevel", "error", *raw, *made]
            with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=said) as process:
                pipe = cast("IO[bytes]", process.stdin)
                with contextlib.suppress(BrokenPipeError):  # ffmpeg has told why
                    for packed in self._packed:
                        pipe.write(zlib.decompress(packed))
            if process.returncode:
                said.seek(0)
                why = " ".join(said.read().decode(errors="replace").split())[:300]
                raise RtpdError(f"--out '{self.path}': ffmpeg failed: {why}")


class _Reel(Image.Image):
    """Packed pictures as one image that Pillow can save, of which one at a time is unpacked."""

    def __init__(self, packed: list[bytes], size: tuple[int, int]) -> None:
        super().__init__()
        self._mode, self._size, self._packed = "RGB", size, packed
        self.n_frames, self.is_animated = len(packed), len(packed) > 1
        self.seek(0)

    def seek(self, frame: int) -> None:
        if not 0 <= frame < self.n_frames:
            raise EOFError
        self._at = frame
        self.im = Image.frombytes("RGB", self.size, zlib.decompress(self._packed[frame])).im

    def tell(self) -> int:
        return self._at
