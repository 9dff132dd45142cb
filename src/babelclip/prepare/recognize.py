"""What a file is, by its first bytes; its name is never asked.

A file of its own, because opening a picture, indexing a folder and the command line all ask it.
"""

from __future__ import annotations

import codecs
import re
import struct

HEAD_BYTES = 2048
"""From the start of a file: enough to tell what it is."""

# How the files of the accepted formats begin, to tell a damaged one from something else altogether.
_SIGNATURES = (
    ("JPEG", rb"\xff\xd8\xff"),
    ("PNG", rb"\x89PNG"),
    ("WEBP", rb"RIFF....WEBP"),
    ("GIF", rb"GIF8"),
    ("BMP", rb"BM"),
    ("TIFF", rb"II\*\x00|MM\x00\*|II\+\x00|MM\x00\+"),
    ("PPM", rb"P[1-6f][\s#]"),
)
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_NEUTRAL_BRANDS = frozenset({b"mif1", b"msf1", b"mif2"})  # a picture in a container; others say of which codec

# What the bytes of a file that is no accepted image often are, and what to do about it.
_KNOWN_STARTS = (
    (rb"\s*<(svg|\?xml|!--|!doctype svg)", "an SVG drawing or other XML: render a drawing to PNG first"),
    (rb"\s*<(html|!doctype html)", "an HTML page, perhaps the answer to a failed download"),
    (rb"%PDF", "a PDF document: render its pages to images first, or index it with --documents"),
    (rb"....ftyp(isom|iso2|mp4|qt  |M4V )", "a video: extract a frame first"),
    (rb"PK\x03\x04", "a ZIP archive: unpack it first"),
    (rb"version https://git-lfs", "a Git LFS pointer: fetch the file itself with git lfs pull"),
)
_RAW_STARTS = re.compile(rb"II\*\x00....CR\x02|FUJIFILMCCD-RAW|IIRO|IIRS|MMOR|IIU\x00|....ftypcrx |\x00MRM", re.DOTALL)
_RAW = "a RAW photo: develop it to JPEG or TIFF first; what lies in it as a picture is a preview"
_NEW_SUBFILE_TYPE, _DNG_VERSION = 254, 50706


def format_of(head: bytes) -> str | None:
    """Pillow's name of an image format, "HEIF", "PDF" or "RAW"; None for all else.

    Args:
        head: the first ``HEAD_BYTES`` of a file, or more.
    """
    if _is_raw(head):
        return "RAW"
    if head.startswith(b"%PDF"):
        return "PDF"
    if head[4:8] == b"ftyp":
        return _format_of_container(head)
    return next((name for name, start in _SIGNATURES if re.match(start, head, re.DOTALL)), None)


def why_unknown(head: bytes, formats: tuple[str, ...]) -> str:
    """What a file that was not recognized seems to be, by its first bytes."""
    accepted = ", ".join(formats)
    name = format_of(head)
    if name == "RAW":
        return f"is {_RAW}"
    if name is not None and name != "PDF":
        broken = f"its {name} header is broken or cut short"
        what = "a HEIC photo" if name == "HEIF" else f"a {name} image"
        return broken if name in formats else f"is {what}, accepted are {accepted}"
    for start, what in _KNOWN_STARTS:
        if re.match(start, head.removeprefix(codecs.BOM_UTF8), re.IGNORECASE | re.DOTALL):
            return f"is {what}"
    return f"is none of the accepted formats {accepted}"


def _format_of_container(head: bytes) -> str | None:
    """AVIF and HEIC share a container whose first box lists brands."""
    length = min(int.from_bytes(head[:4], "big"), len(head))
    major, others = head[8:12], {head[start : start + 4] for start in range(16, length - 3, 4)}
    for brands, name in ((_AVIF_BRANDS, "AVIF"), (_HEIF_BRANDS, "HEIF")):
        if major in brands:
            return name
    if major not in _NEUTRAL_BRANDS:
        return None
    return "AVIF" if others & _AVIF_BRANDS else "HEIF"


def _is_raw(head: bytes) -> bool:
    """Files of cameras' own formats. Most are TIFF files whose first picture is a small preview."""
    if _RAW_STARTS.match(head):
        return True
    order = {b"II*\x00": "<", b"MM\x00*": ">"}.get(head[:4])
    if order is None:
        return False
    try:
        start = struct.unpack_from(f"{order}I", head, 4)[0]
        for entry in range(struct.unpack_from(f"{order}H", head, start)[0]):
            tag, kind, _, value = struct.unpack_from(f"{order}HHII", head, start + 2 + 12 * entry)
            if tag == _DNG_VERSION or (tag == _NEW_SUBFILE_TYPE and kind == 4 and value & 1):
                return True
    except struct.error:  # the directory lies further on, as in most TIFF files that are no camera's
        return False
    return False
