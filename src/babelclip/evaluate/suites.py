"""Named sets of tasks with the bars that belong to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from babelclip.errors import ConfigError
from babelclip.evaluate.read_clip_benchmark import open_clip_benchmark
from babelclip.evaluate.targets import Target
from babelclip.evaluate.task import Task
from babelclip.evaluate.tasks.bitext import BitextMining
from babelclip.evaluate.tasks.crossmodal import CrossmodalRetrieval
from babelclip.evaluate.tasks.names import NameRecognition
from babelclip.evaluate.tasks.sts import SentenceSimilarity
from babelclip.evaluate.tasks.topics import TopicClassification

FLICKR_OTHERS = ("de", "fr", "pt", "cs", "zh", "es", "ar", "uk")
XFLICKR_HUMAN = ("en", "de", "es", "id", "ja", "nl", "pt", "ru", "tr", "zh")
"""Languages of xflickr243 in which people wrote the captions."""
T2I, I2T = ("text_to_image_recall@5",), ("image_to_text_recall@5",)
_ENGLISH = ("en",)
CUTS = (96, 64)  # a quarter of the small model's width, and the shortest that is promised

FLICKR_TARGETS = (
    Target("flickr8k_test text-to-image R@5, English", "flickr8k_test", T2I, 55.0, _ENGLISH, aim=68.0),
    Target("flickr8k_test image-to-text R@5, English", "flickr8k_test", I2T, 58.0, _ENGLISH, aim=72.0),
    Target("flickr8k_test text-to-image R@5, mean of 8 others", "flickr8k_test", T2I, 46.0, FLICKR_OTHERS, aim=64.0),
    Target(
        "flickr8k_test text-to-image R@5, worst of them",
        "flickr8k_test", T2I, 36.0, FLICKR_OTHERS, of="worst", aim=58.0,
    ),
)  # fmt: skip
CIFAR_TARGET = Target("CIFAR-10 by name, top-1, English", "cifar10", ("top1",), 65.0, _ENGLISH, aim=85.0)
STS_TARGETS = (
    Target("STS-B Spearman, English", "stsb", ("spearman",), 0.78, _ENGLISH, aim=0.84),
    Target("STS-B Spearman, mean of 10 others", "stsb", ("spearman",), 0.72, others=10, aim=0.80),
)
SMALL_TARGETS = (
    *FLICKR_TARGETS,
    Target("xflickr243 R@5 both ways, mean of 10 languages as people wrote", "xflickr243", T2I + I2T, 55.0,
        XFLICKR_HUMAN, aim=75.0),
    Target("COCO (473 photos) text-to-image R@5, English", "coco", T2I, 50.0, _ENGLISH, aim=65.0),
    CIFAR_TARGET,
    Target("Imagenette by name, top-1, English", "imagenette", ("top1",), 92.0, _ENGLISH, aim=98.0),
    Target("Tiny-ImageNet by name, top-1, English", "tinyimagenet", ("top1",), 45.0, _ENGLISH, aim=65.0),
    Target("Caltech-101 by name, top-1, English", "caltech101", ("top1",), 65.0, _ENGLISH, aim=82.0),
    Target("five flowers by name, top-1, English", "flowers5", ("top1",), 70.0, _ENGLISH, aim=85.0),
    Target("998 photos among 1,000 names, top-1, English", "nips2017", ("top1",), 82.0, _ENGLISH, aim=89.0),
    Target("998 photos by name, top-1, mean of 40 other languages", "nips2017", ("top1",), 48.0, others=40, aim=72.0),
    Target("emoji of unseen concepts by name, R@5, mean of all languages", "emoji", T2I, 25.0, aim=50.0),
    Target("tuxpaint text-to-image R@5, mean of languages with 400 captions", "tuxpaint", T2I, 20.0,
        min_count=350, aim=40.0),  # repeats are no queries: of 400 captions at least 356 remain, of fewer at most 322
    *STS_TARGETS,
    Target("Tatoeba accuracy to English, mean of 74 languages", "tatoeba", ("to_english",), 70.0, others=74, aim=85.0),
    Target("Tatoeba, share of languages above 50%", "tatoeba", ("to_english",), 80.0, others=74,
        of="share above 50", aim=95.0),
    Target("flickr8k_test R@5, English, both ways: 96 of 384 dimensions keep", "flickr8k_test", T2I + I2T, 98.0,
        _ENGLISH, dim=96, keeps=True, aim=99.0),
    Target("the same: 64 dimensions keep", "flickr8k_test", T2I + I2T, 88.0, _ENGLISH, dim=64, keeps=True, aim=93.0),
    Target("flickr8k_test text-to-image R@5, English, 64 dimensions", "flickr8k_test", T2I, 48.0, _ENGLISH,
        dim=64, aim=63.0),
)  # fmt: skip
"""What the small model is to reach and what it aims for (docs/reference/evaluation.md#targets)."""


@dataclass(frozen=True, slots=True)
class Suite:
    """Tasks in the order in which they run."""

    name: str
    tasks: tuple[Task, ...]
    targets: tuple[Target, ...]
    widths: tuple[int, ...] = ()  # that its bars ask for, besides whole vectors


def _retrieval(folder: Path, name: str, pack: str) -> CrossmodalRetrieval:
    return CrossmodalRetrieval.of_pack(name, folder, f"eval/images/{pack}.tar.gz")


def _named(folder: Path, name: str, pack: str, prefix: str, templates: str, *, present: bool = False) -> Task:
    path = f"eval/images/{pack}.tar.gz"
    return NameRecognition.of_pack(name, folder, path, prefix=prefix, templates=templates, present=present)


def _named_sets(folder: Path) -> tuple[Task, ...]:
    """Recognition among English names, but of ImageNet's thousand."""
    return (
        _named(folder, "cifar10", "cifar10_test1000", "cifar:", "cifar10"),
        _named(folder, "imagenette", "imagenette_val", "in1k:", "imagenet1k", present=True),
        _named(folder, "tinyimagenet", "tinyimagenet_val1000", "in1k:", "imagenet1k", present=True),
        _named(folder, "caltech101", "caltech101_test", "caltech:", "caltech101"),
        _named(folder, "flowers5", "flowers5_test", "flower:", "imagenet1k"),
    )


def _small(folder: Path) -> Suite:
    """Everything that the small model is judged by."""
    return Suite(
        "small",
        (
            _retrieval(folder, "flickr8k_test", "flickr8k_test_multilingual"),
            _retrieval(folder, "xflickr243", "xflickr243_multilingual"),
            _retrieval(folder, "coco", "coco_captions"),
            *_named_sets(folder),
            NameRecognition.of_pack(
                "nips2017",
                folder,
                "eval/images/nips2017_ccby_imagenet.tar.gz",
                prefix="in1k:",
                templates="imagenet1k",
                others=40,
            ),
            CrossmodalRetrieval.of_names("emoji", folder, "eval/images/emoji_test.tar.gz", "emoji:"),
            _retrieval(folder, "tuxpaint", "tuxpaint_multilingual"),
            SentenceSimilarity("stsb", folder, "eval/text/stsb_test.parquet"),
            BitextMining("tatoeba", folder, "eval/text/tatoeba_en_xx.parquet"),
        ),
        SMALL_TARGETS,
        widths=CUTS,
    )


def _quick(folder: Path) -> Suite:
    """For a look during training: the same data, fewer languages and prompts; the ImageNet bars do not apply."""
    images = "eval/images"
    return Suite(
        "quick",
        (
            CrossmodalRetrieval.of_pack(
                "flickr8k_test", folder, f"{images}/flickr8k_test_multilingual.tar.gz", ("en", *FLICKR_OTHERS)
            ),
            _named(folder, "cifar10", "cifar10_test1000", "cifar:", "cifar10"),
            NameRecognition.of_pack(
                "nips2017_plain",
                folder,
                f"{images}/nips2017_ccby_imagenet.tar.gz",
                prefix="in1k:",
                templates="imagenet1k",
                others=8,
                english="plain",
            ),
            SentenceSimilarity("stsb", folder, "eval/text/stsb_test.parquet"),
        ),
        (*FLICKR_TARGETS, CIFAR_TARGET, *STS_TARGETS),
    )


def _wide(folder: Path) -> Suite:
    """All families on all sets that are read so far, names in English only: where a model is strong, where not."""
    return Suite(
        "wide",
        (
            _retrieval(folder, "flickr8k_test", "flickr8k_test_multilingual"),
            _retrieval(folder, "xflickr243", "xflickr243_multilingual"),
            _retrieval(folder, "coco", "coco_captions"),
            _retrieval(folder, "tuxpaint", "tuxpaint_multilingual"),
            _retrieval(folder, "vi_bn", "vi_bn_captions"),
            *_named_sets(folder),
            _named(folder, "nips2017", "nips2017_ccby_imagenet", "in1k:", "imagenet1k"),
            SentenceSimilarity("stsb", folder, "eval/text/stsb_test.parquet"),
            BitextMining("tatoeba", folder, "eval/text/tatoeba_en_xx.parquet"),
            TopicClassification("sib200", folder, "eval/text/sib200_validation.parquet"),
        ),
        (),
    )


SUITES: dict[str, Callable[[Path], Suite]] = {"small": _small, "quick": _quick, "wide": _wide}


def open_suite(name: str, folder: Path) -> Suite:
    """Build a suite over a data folder; every file that it needs is read here.

    Raises:
        ConfigError: no such suite.
        DatasetError: a file is absent or not as documented.
    """
    if name not in SUITES:
        raise ConfigError(f"unknown suite {name!r}; there are {', '.join(SUITES)}")
    return SUITES[name](folder)


def open_clip_benchmarks(folders: Sequence[Path], language: str) -> Suite:
    """Sets in CLIP_benchmark's layout as a suite without bars.

    Raises:
        DatasetError: a file is absent or not as documented.
    """
    return Suite("clip_benchmark", tuple(open_clip_benchmark(folder, language) for folder in folders), ())
