"""Named sets of tasks with the bars that belong to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from babelclip.errors import ConfigError
from babelclip.evaluate.bars import Bar
from babelclip.evaluate.read_clip_benchmark import open_clip_benchmark
from babelclip.evaluate.task import Task
from babelclip.evaluate.tasks.bitext import BitextMining
from babelclip.evaluate.tasks.crossmodal import CrossmodalRetrieval
from babelclip.evaluate.tasks.names import NameRecognition
from babelclip.evaluate.tasks.sts import SentenceSimilarity
from babelclip.evaluate.tasks.topics import TopicClassification

FLICKR_OTHERS = ("de", "fr", "pt", "cs", "zh", "es", "ar", "uk")
T2I_5 = "text_to_image_recall@5"

FLICKR_BARS = (
    Bar("flickr8k_test text-to-image R@5, English", "flickr8k_test", T2I_5, 45.0, ("en",)),
    Bar("flickr8k_test text-to-image R@5, mean of 8 others", "flickr8k_test", T2I_5, 30.0, FLICKR_OTHERS),
    Bar("flickr8k_test text-to-image R@5, worst of them", "flickr8k_test", T2I_5, 22.0, FLICKR_OTHERS, of="worst"),
)
CIFAR_BAR = Bar("CIFAR-10 by name, top-1, English", "cifar10", "top1", 55.0, ("en",))
IMAGENET_BARS = (
    Bar("998 photos among 1,000 names, top-1, English", "nips2017", "top1", 70.0, ("en",)),
    Bar("998 photos by name, top-1, mean of 40 other languages", "nips2017", "top1", 30.0, others=40),
)
STS_BARS = (
    Bar("STS-B Spearman, English", "stsb", "spearman", 0.72, ("en",)),
    Bar("STS-B Spearman, mean of 10 others", "stsb", "spearman", 0.65, others=10),
)


@dataclass(frozen=True, slots=True)
class Suite:
    """Tasks in the order in which they run."""

    name: str
    tasks: tuple[Task, ...]
    bars: tuple[Bar, ...]


def _small(folder: Path) -> Suite:
    """Everything the small model is judged by, and two more multilingual sets."""
    images = "eval/images"
    return Suite(
        "small",
        (
            CrossmodalRetrieval.of_pack("flickr8k_test", folder, f"{images}/flickr8k_test_multilingual.tar.gz"),
            _cifar10(folder),
            NameRecognition.of_pack(
                "nips2017",
                folder,
                f"{images}/nips2017_ccby_imagenet.tar.gz",
                prefix="in1k:",
                templates="imagenet1k",
                others=40,
            ),
            SentenceSimilarity("stsb", folder, "eval/text/stsb_test.parquet"),
            CrossmodalRetrieval.of_pack("xflickr243", folder, f"{images}/xflickr243_multilingual.tar.gz"),
            CrossmodalRetrieval.of_pack("tuxpaint", folder, f"{images}/tuxpaint_multilingual.tar.gz"),
        ),
        (*FLICKR_BARS, CIFAR_BAR, *IMAGENET_BARS, *STS_BARS),
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
            _cifar10(folder),
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
        (*FLICKR_BARS, CIFAR_BAR, *STS_BARS),
    )


def _wide(folder: Path) -> Suite:
    """All families on all sets that are read so far, names in English only: where a model is strong, where not."""

    def named(name: str, pack: str, prefix: str, templates: str, *, present: bool = False) -> NameRecognition:
        path = f"eval/images/{pack}.tar.gz"
        return NameRecognition.of_pack(name, folder, path, prefix=prefix, templates=templates, present=present)

    return Suite(
        "wide",
        (
            *(
                CrossmodalRetrieval.of_pack(name, folder, f"eval/images/{pack}.tar.gz")
                for name, pack in (
                    ("flickr8k_test", "flickr8k_test_multilingual"),
                    ("xflickr243", "xflickr243_multilingual"),
                    ("coco", "coco_captions"),
                    ("tuxpaint", "tuxpaint_multilingual"),
                    ("vi_bn", "vi_bn_captions"),
                )
            ),
            _cifar10(folder),
            named("imagenette", "imagenette_val", "in1k:", "imagenet1k", present=True),
            named("tinyimagenet", "tinyimagenet_val1000", "in1k:", "imagenet1k", present=True),
            named("caltech101", "caltech101_test", "caltech:", "caltech101"),
            named("flowers5", "flowers5_test", "flower:", "imagenet1k"),
            named("nips2017", "nips2017_ccby_imagenet", "in1k:", "imagenet1k"),
            SentenceSimilarity("stsb", folder, "eval/text/stsb_test.parquet"),
            BitextMining("tatoeba", folder, "eval/text/tatoeba_en_xx.parquet"),
            TopicClassification("sib200", folder, "eval/text/sib200_validation.parquet"),
        ),
        (),
    )


def _cifar10(folder: Path) -> NameRecognition:
    return NameRecognition.of_pack(
        "cifar10", folder, "eval/images/cifar10_test1000.tar.gz", prefix="cifar:", templates="cifar10"
    )


SUITES: dict[str, Callable[[Path], Suite]] = {"small": _small, "quick": _quick, "wide": _wide}


def open_suite(name: str, folder: Path) -> Suite:
    """Build a suite over a data folder; every file that it needs is read here.

    Raises:
        ConfigError: no such suite.  DatasetError: a file is absent or not as documented.
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
