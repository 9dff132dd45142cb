"""Anything that people hold as an image becomes a decoded RGB image, or an ``ImageError`` that says why not.

What is checked, in this order: what the source is; its bytes; its format; its pixels, from the header; then it is
decoded. Nothing is downloaded. A message never repeats what a decoder printed, which may quote memory or the data.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from babelclip.data_uri import from_base64, read_head
from babelclip.errors import ConfigError, DamagedImageWarning, ImageError
from babelclip.prepare.decode_image import decode_pixels
from babelclip.prepare.image_header import PADDED, open_by_bytes
from babelclip.prepare.to_rgb import SHARED_SOURCE, to_rgb

ImageSource = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Image.Image | NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageLimits:
    """What is refused before it is decoded.

    The defaults are for one's own files: far above what cameras make. What strangers send is held against ``UPLOADS``,
    or against what the operator of a server has set. A decoded pixel takes four bytes.
    """

    max_bytes: int = 2 * 2**30  # of the file; 2 GiB
    max_pixels: int = 1_000_000_000  # width x height
    max_side: int = 1_000_000  # width and height each: memory to resize grows with a side, however few the pixels
    formats: tuple[str, ...] = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM", "HEIF")
    damaged: bool = True  # a picture that is cut short counts as far as it can be read; False: it is refused

    def __post_init__(self) -> None:
        if min(self.max_bytes, self.max_pixels, self.max_side) < 1:
            raise ConfigError(f"image limits must be at least 1 each, found {self}")
        if not isinstance(self.formats, tuple) or not self.formats:
            raise ConfigError(f"formats must be a tuple of Pillow's format names, found {self.formats!r}")
        wanted = set(self.formats) - {"HEIF"}  # that one is an extra's
        if not Image.OPEN.keys() >= wanted:
            Image.init()  # the rarer formats are imported only where somebody asks for them
            unknown = sorted(wanted - Image.OPEN.keys())
            if unknown:
                raise ConfigError(f"Pillow has no formats {unknown}; it reads {', '.join(sorted(Image.OPEN))}")


DEFAULT_LIMITS = ImageLimits()
UPLOADS = ImageLimits(max_bytes=128 * 2**20, max_pixels=50_000_000)
"""For what others send to this process: 128 MiB, 50 megapixels."""


@dataclass(frozen=True, slots=True)
class Picture:
    """An image that is decoded."""

    image: Image.Image  # RGB
    damage: str | None = None  # what is wrong with its file, where only a part of it could be read
    profile: bytes | None = None  # the ICC profile that its colors are still to be read by


_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def open_image(
    source: ImageSource,
    limits: ImageLimits = DEFAULT_LIMITS,
    *,
    orientation: Literal["ignore", "upright"] = "ignore",
    alpha: Literal["drop", "white"] = "drop",
    profile: Literal["ignore", "srgb"] = "ignore",
    min_side: int | None = None,
) -> Image.Image:
    """Decode ``source`` to an RGB image (the first frame of several).

    Args:
        source: a path, the bytes of an image file, a binary file object, a PIL image, an array (H, W, 3) of uint8, or a
            ``data:image/...;base64,`` URI. Objects given are never changed.
        limits: what is refused before it is decoded.
        orientation: "ignore", or "upright" to turn a photo as its EXIF data say.
        alpha: "drop" shows the colors under transparent pixels, as published; "white" puts the image on white paper.
        profile: "srgb" reads colors by the file's ICC profile, as viewers do; "ignore" does so only where colors mean
            nothing without one (CMYK, LAB).
        min_side: for images to look at only: JPEG is decoded smaller, and quicker, no side below so many pixels.

    Warns:
        DamagedImageWarning: a part of it could not be read.

    Raises:
        ImageError: names the item and the reason.
    """
    picture = open_picture(source, limits, orientation=orientation, alpha=alpha, profile=profile, min_side=min_side)
    if picture.damage is not None:
        warnings.warn(f"{short_name(source)}: {picture.damage}", DamagedImageWarning, stacklevel=2)
    return picture.image


def open_picture(
    source: ImageSource,
    limits: ImageLimits = DEFAULT_LIMITS,
    *,
    orientation: Literal["ignore", "upright"] = "ignore",
    alpha: Literal["drop", "white"] = "drop",
    profile: Literal["ignore", "later", "srgb"] = "ignore",
    min_side: int | None = None,
    before_decoding: Callable[[tuple[int, int]], object] = lambda size: None,
) -> Picture:
    """As ``open_image``, and what there is to say about the image; nothing is warned of.

    Args:
        source: as for ``open_image``, and so are the others.
        profile: "later" leaves a profile of RGB to the caller, who makes the image smaller first.
        before_decoding: called with width and height, once they are known and within the limits.

    Raises:
        ImageError: names the item and the reason.
    """
    name = short_name(source)
    if isinstance(source, np.ndarray):
        return Picture(_from_array(source, limits, name))
    if isinstance(source, Image.Image):
        _check_pixels(source.size, limits, name)
        image, damage = source, None
    else:
        image, damage = _decoded(_read_bytes(source, limits, name), limits, name, min_side, before_decoding)
    icc = image.info.get("icc_profile") if profile == "later" and image.mode == "RGB" else None
    colors = "ignore" if icc is not None or profile == "ignore" else "srgb"
    owned = image is not source
    return Picture(to_rgb(image, orientation, alpha, name, owned=owned, profile=colors), damage, icc)


def _decoded(
    data: bytes,
    limits: ImageLimits,
    name: str,
    min_side: int | None,
    before_decoding: Callable[[tuple[int, int]], object],
) -> tuple[Image.Image, str | None]:
    """The image of a file, and what is wrong with it."""

    def opened(content: bytes) -> Image.Image:
        image = _open_header(content, limits, name)
        if min_side is not None:
            image.draft(None, (min_side, min_side))
        return image

    image = opened(data)
    before_decoding(image.size)
    try:
        image, damage = decode_pixels(image, data, opened)
    except MemoryError as error:
        raise ImageError(f"{name}: there is not enough memory to decode {image.width} x {image.height}") from error
    except ImageError as error:
        raise ImageError(f"{name}: {str(error).removeprefix(f'{name}: ')}") from error
    damage = damage or image.info.pop(PADDED, None)
    if damage is not None and not limits.damaged:
        raise ImageError(f"{name}: its {image.format} data are broken, cut short or unsupported")
    return image, damage


def open_header(source: ImageSource, limits: ImageLimits = DEFAULT_LIMITS) -> Image.Image:
    """An image whose header alone is read: its size and what it says of itself; no pixel is decoded yet.

    Raises:
        ImageError: as ``open_image``, but for what only decoding shows.
    """
    name = short_name(source)
    return _open_header(_read_bytes(source, limits, name), limits, name)


def stated_size(source: ImageSource, limits: ImageLimits = DEFAULT_LIMITS) -> tuple[int, int]:
    """Width and height as the header of an image file states them, before any turning; no pixel is decoded.

    Raises:
        ImageError: as ``open_image``, but for what only decoding shows.
    """
    with open_header(source, limits) as image:
        return image.size


def short_name(source: object) -> str:
    """A short name of an image for messages; never its content."""
    if isinstance(source, bytes | bytearray | memoryview):
        return f"image of {memoryview(source).nbytes:,} bytes"
    if isinstance(source, np.ndarray):
        return f"array of {source.dtype}, shape {source.shape}"
    if isinstance(source, Image.Image):
        return f"PIL image of mode {source.mode}, {source.width} x {source.height}"
    if isinstance(source, str) and source[:5].lower() == "data:":
        return f"data URI of {len(source):,} characters"
    if isinstance(source, str | os.PathLike):
        shown = ascii(os.fspath(source)) if not str(source).isprintable() else repr(os.fspath(source))
        return f"image {shown if len(shown) <= 200 else shown[:97] + '...' + shown[-97:]}"
    return f"item of type {type(source).__name__}"


def read_file(source: ImageSource, limits: ImageLimits = DEFAULT_LIMITS) -> bytes:
    """The bytes of an image file, whatever carries them; what they hold is not looked at.

    Raises:
        ImageError: they cannot be read, or are too many.
    """
    return _read_bytes(source, limits, short_name(source))


def _read_bytes(source: object, limits: ImageLimits, name: str) -> bytes:
    """The bytes of an image file, whatever carries them."""
    if isinstance(source, bytes | bytearray | memoryview):
        _check_bytes(memoryview(source).nbytes, limits, name)  # before it is copied
        data = bytes(source)
    elif isinstance(source, str) and source[:5].lower() == "data:":
        data = _from_data_uri(source, limits, name)
    elif isinstance(source, str | os.PathLike):
        data = _from_path(source, limits, name)
    elif callable(getattr(source, "read", None)):
        data = _from_file_object(source, limits, name)
    else:
        raise ImageError(
            f"{name}: expected a path, bytes, a file object, a PIL image, an array (H, W, 3) of uint8 or a data URI"
        )
    _check_bytes(len(data), limits, name)
    if not data:
        raise ImageError(f"{name}: there are no bytes in it")
    return data


def _from_path(source: str | os.PathLike[str], limits: ImageLimits, name: str) -> bytes:
    text = os.fspath(source)
    if isinstance(text, str) and _URL.match(text):
        raise ImageError(f"{name}: is a URL, and nothing is fetched here: download it and give its path or bytes")
    if not text:
        raise ImageError(f"{name}: an empty string is no path")
    try:
        path = Path(text)
        if path.is_dir():
            raise ImageError(f"{name}: is a folder, not an image file")
        if not path.exists():
            raise ImageError(f"{name}: there is no such file")
        if not path.is_file():
            raise ImageError(f"{name}: is a device or pipe, not a file: read it yourself and give the bytes")
        _check_bytes(path.stat().st_size, limits, name)
        with path.open("rb") as file:
            return file.read(limits.max_bytes + 1)
    except ImageError:
        raise  # it is a ValueError too
    except (OSError, ValueError, TypeError) as error:  # too long a name, NUL or a lone surrogate in it, bytes as a path
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "is no usable path"
        raise ImageError(f"{name}: {reason}") from error


def _from_file_object(file: Any, limits: ImageLimits, name: str) -> bytes:
    try:
        seekable = bool(file.seekable()) if callable(getattr(file, "seekable", None)) else False
        with SHARED_SOURCE if seekable else nullcontext():
            if seekable:
                file.seek(0)  # as Pillow does: an image file is meant, not the rest of one
            data = file.read(limits.max_bytes + 1)
    except Exception as error:  # any file-like object may fail in any way of its own
        raise ImageError(f"{name}: reading it failed ({type(error).__name__})") from error
    if not isinstance(data, bytes | bytearray):
        raise ImageError(f"{name}: reading it gave {type(data).__name__}, not bytes: open the file in mode 'rb'")
    return bytes(data)


def _from_data_uri(uri: str, limits: ImageLimits, name: str) -> bytes:
    head = read_head(uri)
    if head is None:
        raise ImageError(f"{name}: is not a complete data URI: expected data:image/...;base64,...")
    if not head.media_type.startswith("image/"):
        raise ImageError(f"{name}: holds {head.media_type[:80]!a}, not an image")
    if not head.is_base64:
        raise ImageError(f"{name}: is not in base64: expected data:image/...;base64,...")
    _check_bytes((len(uri) - head.length) * 3 // 4 - 2, limits, name)  # before it is decoded; at most 2 are padding
    try:
        return from_base64(uri[head.length :])
    except ValueError as error:
        raise ImageError(f"{name}: its base64 is broken (a wrong character, length or padding)") from error


def _from_array(array: NDArray[Any], limits: ImageLimits, name: str) -> Image.Image:
    if array.dtype != np.uint8:
        raise ImageError(f"{name}: expected uint8 values from 0 to 255; scale and convert it first")
    if array.ndim != 3 or array.shape[2] != 3:
        advice = ""
        if array.ndim == 2:
            advice = "; gray becomes RGB with np.repeat(array[..., None], 3, axis=2)"
        elif array.ndim == 3 and array.shape[0] == 3:
            advice = "; channels go last: array.transpose(1, 2, 0)"
        elif array.ndim == 4:
            advice = "; give the images of a batch one by one"
        raise ImageError(f"{name}: expected the shape (H, W, 3){advice}")
    _check_pixels((array.shape[1], array.shape[0]), limits, name)
    return Image.fromarray(array)  # Pillow copies RGB: the caller may go on writing into the array


def _open_header(data: bytes, limits: ImageLimits, name: str) -> Image.Image:
    """Recognize the format and check the size that the header states. No pixel is decoded yet."""
    image = open_by_bytes(data, limits.formats, name)
    _check_pixels(image.size, limits, name)
    return image


def _check_bytes(count: int, limits: ImageLimits, name: str) -> None:
    if count > limits.max_bytes:
        raise ImageError(f"{name}: {count:,} bytes or more, the limit is {limits.max_bytes:,} (ImageLimits.max_bytes)")


def _check_pixels(size: tuple[int, int], limits: ImageLimits, name: str) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise ImageError(f"{name}: is empty, {width} x {height} pixels")
    if width * height > limits.max_pixels:
        raise ImageError(
            f"{name}: {width} x {height} pixels are {width * height:,}, "
            f"the limit is {limits.max_pixels:,} (ImageLimits.max_pixels)"
        )
    if max(size) > limits.max_side:
        raise ImageError(
            f"{name}: a side of {max(size):,} pixels, the limit is {limits.max_side:,} (ImageLimits.max_side)"
        )
