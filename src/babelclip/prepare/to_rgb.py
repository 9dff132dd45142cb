"""A Pillow image that is opened becomes a decoded RGB image: its colors, its transparency, which side is up."""

from __future__ import annotations

import threading
from contextlib import nullcontext

from PIL import Image

from babelclip.errors import ImageError
from babelclip.prepare.color_profile import to_srgb
from babelclip.prepare.pixel_depth import eight_bits

# EXIF orientation -> what brings the image upright (EXIF 2.32, tag 0x0112).
_ORIENTATION_TAG = 0x0112
BAND_PIXELS = 1 << 20
"""Of a picture that is put on paper at a time."""
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# An image or file object that the caller gave twice would be read by two threads at once; Pillow's loading and a
# file's position do not bear that.
SHARED_SOURCE = threading.Lock()


def to_rgb(
    image: Image.Image, orientation: str, alpha: str, name: str, *, owned: bool, profile: str = "ignore"
) -> Image.Image:
    """Decode, then bring to RGB: colors first, then up is up (both orders give the same pixels).

    Args:
        owned: the image is nobody else's, so it may be changed.
        profile: "srgb" heeds the color profile of RGB and gray pictures too; of inks and LAB it always counts.
    """
    try:
        with nullcontext() if owned else SHARED_SOURCE:
            image.load()
            turn = _UPRIGHT.get(_orientation(image)) if orientation == "upright" else None
        rgb = _colors(image, alpha, profile)
        if owned and rgb is not image:
            image.close()  # its pixels are not held beside two more pictures
        rgb = image.copy() if rgb is image and not owned else rgb
        return rgb if turn is None else _turned(rgb, turn)
    except MemoryError as error:
        raise ImageError(f"{name}: there is not enough memory to decode {image.width} x {image.height}") from error
    except Exception as error:  # decoders raise many kinds for broken data
        what = f"its {image.format} data are broken" if owned else "it cannot be loaded: it is closed, broken"
        raise ImageError(f"{name}: {what}, cut short or unsupported") from error


def _colors(image: Image.Image, alpha: str, profile: str) -> Image.Image:
    """A loaded picture in RGB; itself where nothing has to change."""
    icc = image.info.get("icc_profile")
    shown = eight_bits(image)
    if alpha == "white" and shown.has_transparency_data:
        return _on_paper(shown, icc if profile == "srgb" else None)
    if shown.mode in ("CMYK", "LAB") or (profile == "srgb" and shown.mode == "L"):
        shown = to_srgb(shown, icc)
    elif profile == "srgb" and icc is not None:
        return to_srgb(_without_transparency(shown).convert("RGB"), icc)
    return shown if shown.mode == "RGB" else _without_transparency(shown).convert("RGB")


def _on_paper(shown: Image.Image, icc: bytes | None) -> Image.Image:
    """A picture with transparency on white, some rows at a time: the steps between hold up to 16 bytes a pixel."""
    paper = Image.new("RGB", shown.size, (255, 255, 255))
    rows = max(1, BAND_PIXELS // shown.width)
    for top in range(0, shown.height, rows):
        layer = shown.crop((0, top, shown.width, min(top + rows, shown.height))).convert("RGBA")
        color = layer if icc is None else to_srgb(layer.convert("RGB"), icc)
        paper.paste(color, (0, top), mask=layer.getchannel("A"))
    return paper


def _turned(image: Image.Image, turn: Image.Transpose) -> Image.Image:
    turned = image.transpose(turn)  # who opens it once more must not turn it again:
    for note in ("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif"):
        turned.info.pop(note, None)
    return turned


def _without_transparency(image: Image.Image) -> Image.Image:
    """The same colors without a transparent color in its notes, which Pillow would warn about while converting."""
    if "transparency" not in image.info:
        return image
    image = image.copy()
    del image.info["transparency"]
    return image


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 (upright) where there is none or the EXIF data are broken: the pixels are still good."""
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # the parser of broken EXIF data raises many kinds
        return 1
