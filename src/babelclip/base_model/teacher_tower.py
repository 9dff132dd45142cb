"""Where the image tower of babelclip-base comes from, and all that is known about it in advance.

No weight of it is part of this project. What is: the package that carries it, its sizes, the preparation of images, its
graph without weights, and the vectors of a few photos of the demo, by which a machine checks what it has made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from babelclip.base_model.package import CLIP_PACKAGE, PinnedPackage
from babelclip.decode import decode, parse_json
from babelclip.errors import FolderError
from babelclip.prepare.config import ImagePrepareConfig
from babelclip.runtime.exported import GraphFacts
from babelclip.towers.config import ClipVisionConfig

_HERE = Path(__file__).parent


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownVectors:
    """Content of ``known_vectors.json``: unit vectors before any turn."""

    photos: Mapping[str, tuple[float, ...]]  # name in the folder of photos -> (E,)
    check: tuple[float, ...]  # raw, of ``babelclip.runtime.check_vector.check_image_batch``
    graph: GraphFacts  # of the graph beside it


@dataclass(frozen=True, kw_only=True, slots=True)
class TeacherTower:
    """A teacher's image tower."""

    package: PinnedPackage
    config: ClipVisionConfig
    prepare: ImagePrepareConfig
    graph: Path  # its references lead nowhere until ``babelclip.runtime.repoint`` has set them
    known: Path  # ``KnownVectors``
    photos: Path  # the folder of the photos whose vectors are known
    logit_scale: float  # its natural logarithm, for a text tower that brings none
    license: str
    seen: str

    def known_vectors(self) -> KnownVectors:
        """What the vectors should be.

        Raises:
            FolderError: The file is broken.
        """
        try:
            content = parse_json(self.known.read_text(encoding="utf-8"))
            return decode(KnownVectors, content, self.known.name, require_all=True)
        except ValueError as error:
            raise FolderError(f"{self.known} does not hold what the image tower should give: {error}") from error


CLIP_VIT_B_16 = TeacherTower(
    package=CLIP_PACKAGE,
    config=ClipVisionConfig.vit_b_16(),
    prepare=ImagePrepareConfig(size=224, resize_mode="squash", alpha="white", orientation="upright"),
    graph=_HERE / "image.onnx",
    known=_HERE / "known_vectors.json",
    photos=_HERE.parent / "demo" / "photos",
    logit_scale=4.6051702,  # ln 100, at which CLIP's own was held
    license=(
        "The package says of itself MIT. Of the weights it says that the model card of the upstream model "
        "(openai/clip-vit-base-patch16, revision 57c216476eefef5ab752ec549e440a49ae4ae5f3) states the MIT License, and "
        "that the upstream entry on the hub declares no license field, so that who needs certainty should confirm the "
        "terms with its makers before a commercial release. babelclip repeats this and promises nothing beyond it."
    ),
    seen=(
        "The tower learned from some 400 million pairs of images and texts collected from the web (Radford et al. "
        "2021), which its makers did not publish. What people on the web wrote and showed, prejudice included, is in "
        "what it sees, and the photos of public test sets may have been among those pairs."
    ),
)
