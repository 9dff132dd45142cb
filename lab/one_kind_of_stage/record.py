"""Every stage of the old trainers, twenty steps of each on a small fixed sample, with what is needed to run them again.

    git worktree add ../old 48fbca9
    PYTHONPATH=../old/src python lab/one_kind_of_stage/record.py --data DATA --out RECORDED

It runs the code of commit 48fbca9, the last with two trainers, and needs the small model's training data: ``DATA``
holds its packs, ``DATA/../reference`` the whole tokenizer. Recorded twice on one machine, it is the same bit for bit.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
from dataclasses import asdict
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from babelclip.train.artifacts import english_vectors, pruned_vocabulary, target_space, token_table
from babelclip.train.caption_stage import CaptionSettings, CaptionStage
from babelclip.train.data.shards import read_packs
from babelclip.train.features import Views, _Parts, make_features
from babelclip.train.from_stored import start_classes, start_from_pooled
from babelclip.train.image_stage import ImageSettings, ImageStage
from babelclip.train.names import NameTargets, name_vectors, photo_logits
from babelclip.train.optim import OptimSettings
from babelclip.train.pretrained import initial_text_tensors, read_efficientnet_lite2, read_sentence_teacher
from babelclip.train.still_images import rows_of_views, still_images
from babelclip.train.text_bank import TextBank
from babelclip.train.text_stage import TextSettings, TextStage
from babelclip.train.text_vectors import text_vectors
from babelclip.train.token_stage import TeacherTokens, TokenSettings, TokenStage
from babelclip.train.vocabulary import read_tokenizer_json
from record_contrast import record_contrast
from record_stage import Tensors, caption_labels, image_labels, record, say, text_labels, token_labels
from sample import write_sample
from tokenizers import Tokenizer

from babelclip.towers.config import ConvTrunkConfig, TextTowerConfig, VisionTowerConfig
from babelclip.towers.start import start_vision
from babelclip.towers.text import TextTower
from babelclip.towers.vision import VisionTower
from babelclip.train.data.texts import held_out_photos, read_corpus, read_extra_captions

LAYERS = (0, 4, 11)
DIMS = (32, 64, 128, 256, 384)
SIZE, BLOCK = 128, 11
VIEWS = Views(captions=2, labels=1)
GROUPS = {
    "concept_imagenet": 0.25,
    "concept_imagenet_prompt": 0.1,
    "concept_emoji_cldr": 0.06,
    "concept_emoji_cldr_prompt": 0.02,
    "concept_territory_cldr": 0.01,
    "concept_territory_cldr_prompt": 0.003,
    "multi30k_captions": 0.14,
    "photo_captions": 0.2,
    "stsb": 0.08,
    "ntrex": 0.09,
    "sib200_flores": 0.04,
    "udhr": 0.007,
}


class Recording:
    """The sample, and what the stages share."""

    def __init__(self, data: Path, out: Path) -> None:
        self.out, self.work = out, out / "work"
        say("sample")
        write_sample(data, out / "sample")
        self.work.mkdir()
        self.sample = Path("sample")  # relative: the views of contrastive tasks depend on the images' paths
        self.records = tuple(record for record, _ in read_packs(self.sample / "train"))
        self.held = held_out_photos(self.records, "flickr8k", 5)
        self.corpus = read_corpus(self.sample, self.records, self.held)
        say(
            f"{len(self.records)} photos, {len(self.held)} held out, {len(self.corpus.rows)} rows, "
            f"{len(self.corpus.english)} English texts, {len(self.corpus.pairs)} pairs"
        )
        full = read_tokenizer_json(data.parent / "reference" / "tokenizer" / "tokenizer.json.gz")
        self.full = full
        self.vocabulary = pruned_vocabulary(self.work, full, self.corpus, 12000, _tell_nobody)
        self.tokenizer = self.vocabulary.tokenizer()
        self.tokenizer_json = self.vocabulary.tokenizer_json
        self.teacher = read_sentence_teacher()
        self.table = token_table(self.work, self.tokenizer, self.corpus, _tell_nobody)
        say("teacher")
        self.vectors = english_vectors(self.work, self.teacher, Tokenizer.from_str(full), self.corpus, _tell_nobody)
        self.space = target_space(self.work, self.corpus, self.vectors, self.records, self.held, 0.25)
        torch.manual_seed(0)
        self.text = TextTower(self.text_config())
        start_tensors = initial_text_tensors(self.teacher, self.vocabulary.kept, LAYERS)
        self.text.load_state_dict({**self.text.state_dict(), **start_tensors}, strict=True)

    def text_config(self) -> TextTowerConfig:
        return TextTowerConfig(
            vocab_size=self.vocabulary.size,
            width=384,
            num_layers=len(LAYERS),
            num_heads=12,
            hidden=1536,
            embed_dim=384,
            rotary_base=10000.0,
            projection=True,
        )

    def tokens(self) -> None:
        """Distillation of tokens."""
        settings = TokenSettings(
            group_weights=GROUPS, token_budget=512, language_temperature=0.6, english_weight=2.0, half_precision=False
        )
        asked = TeacherTokens(self.teacher, Tokenizer.from_str(self.full), LAYERS)
        stage = TokenStage(
            self.text, self.tokenizer, asked, self.space, self.corpus.rows, self.table, settings, "tokens"
        )
        optim = OptimSettings(learning_rate=5e-4, weight_decay=0.01, warmup=0.2)
        meta = {"settings": asdict(settings), "layers": LAYERS, "text_config": asdict(self.text_config())}
        fixed = {
            "spread": stage._spread,
            "space.mean": self.space.mean,
            "space.matrix": self.space.matrix,
            "held_rows": torch.from_numpy(stage._held),
        }
        record(stage, optim, self.out / "tokens", meta, fixed, token_labels, self.tokenizer_json)
        stage.finish()

    def texts(self) -> None:
        """Distillation of vectors, without and with the words trained."""
        optim = OptimSettings(learning_rate=3e-4, weight_decay=0.01, warmup=0.2)
        for name, more in (("text", {"seed": 1}), ("names", {"seed": 3, "words_rate": 0.3, "relational_weight": 0.5})):
            settings = TextSettings(
                **{
                    "group_weights": GROUPS,
                    "token_budget": 1024,
                    "language_temperature": 0.6,
                    "english_weight": 3.0,
                    "relational_weight": 1.0,
                    "relational_temperature": 0.05,
                    "pairs_every": 3,
                    "pairs_weight": 0.05,
                    "half_precision": False,
                    **more,
                }
            )
            stage = TextStage(
                self.text, self.tokenizer, self.corpus, self.table, self.space(self.vectors), DIMS, settings, name
            )
            meta = {
                "settings": asdict(settings),
                "dims": DIMS,
                "relational_dims": DIMS[::-2],
                "text_config": asdict(self.text_config()),
            }
            fixed = {"held_rows": torch.from_numpy(stage._held)}
            record(stage, optim, self.out / name, meta, fixed, text_labels, self.tokenizer_json)

    def images(self) -> None:
        """Images against a bank of texts, without and with the trunk's upper blocks trained."""
        say("features")
        trunk = read_efficientnet_lite2()
        parts = _Parts(trunk, BLOCK).eval()

        @torch.inference_mode()
        def run(pixels: np.ndarray) -> list[np.ndarray]:
            return [part.numpy() for part in parts(torch.from_numpy(pixels))]

        self.store = make_features(
            self.sample / "train",
            self.work / "features",
            run,
            size=SIZE,
            block=BLOCK,
            exclude_sources=(),
            views=VIEWS,
            threads=1,
        )
        labels = json.loads(gzip.decompress((self.sample / "labels.json.gz").read_bytes()))
        self.bank = TextBank.gather(self.records, read_extra_captions(self.sample), labels)
        say(f"vectors of {len(self.bank.texts)} texts of the bank, and of names")
        self.text.eval()
        bank_vectors = text_vectors(self.text, self.tokenizer, [text.text for text in self.bank.texts])
        bank_vectors = torch.from_numpy(bank_vectors.numpy().astype(np.float16)).float()  # as the pipeline keeps them
        names = NameTargets(photo_logits(self.store), name_vectors(self.text, self.tokenizer, labels))
        config = self.vision_config()
        start: Tensors | None = None
        for name, rate in (("image", 0.0), ("image_trunk", 0.3)):
            settings = ImageSettings(
                batch_size=32,
                bank_size=256,
                english_share=0.6,
                mean_weight=1.0,
                names_weight=1.0,
                names_order=3.0,
                names_languages=2,
                moved=False,
                keep_patches=0.5,
                whole_share=0.2,
                dropout=0.0,
                regions=False,
                trunk_rate=rate,
                turn_rate=0.0,
                turn_keep=0.0,
                first_scale=30.0,
                source_weights={"flickr8k": 2.0, "coco": 2.0, "emoji_noto": 0.3},
                half_precision=False,
            )
            torch.manual_seed(0)
            tower = VisionTower(config)
            start_vision(tower)
            missing = tower.load_state_dict({f"patches.trunk.{k}": v for k, v in trunk.tensors.items()}, strict=False)
            assert not missing.unexpected_keys
            stage = ImageStage(tower, self.store, self.bank, bank_vectors, names, self.held, DIMS, settings, name)
            if start is None:
                start_from_pooled(tower, *stage.warm_start_sample(512))
                start_classes(tower, trunk.classifier_weight, trunk.classifier_bias, names.names[0][1])
                start = {key: tensor.clone() for key, tensor in tower.state_dict().items()}
            tower.load_state_dict(start)
            fixed = {
                "bank.vectors": stage._vectors,
                "bank.meanings": torch.from_numpy(self.bank.meanings),
                "bank.wordings": torch.from_numpy(self.bank.wordings),
                "photos.means": stage._means,
                "photos.logits": names.logits,
                "store.photos": torch.from_numpy(self.store.photos),
                "store.views": torch.from_numpy(self.store.views),
            }
            for number, (members, vectors) in enumerate(names.names):
                fixed |= {f"names.{number}.members": members, f"names.{number}.vectors": vectors}
            meta = {
                "settings": asdict(settings),
                "dims": DIMS,
                "name_dims": list(stage._name_dims),
                "vision_config": asdict(config),
                "block": BLOCK,
                "size": SIZE,
                "views": asdict(VIEWS),
                "bank": [[text.text, text.language, text.meaning] for text in self.bank.texts],
                "photo_keys": [record.key for record in self.records],
                "bank_english": [list(places) for places in self.bank.photo_english],
                "bank_languages": [[list(places) for places in by] for by in self.bank.photo_texts],
            }
            optim = OptimSettings(learning_rate=4e-4, weight_decay=0.05, warmup=0.2)
            record(stage, optim, self.out / name, meta, fixed, image_labels, None)
        self.tower = tower

    def vision_config(self) -> VisionTowerConfig:
        trunk = ConvTrunkConfig.efficientnet_lite2(classes=1000)
        return VisionTowerConfig(
            image_size=SIZE,
            width=384,
            num_layers=2,
            head_width=64,
            hidden=512,
            patches=trunk,
            pretrained_grid=-(-SIZE // trunk.stride),
        )

    def captions(self) -> None:
        """Captions against images that stand still."""
        settings = CaptionSettings(
            batch_size=32,
            bank_size=256,
            views=2,
            english_share=0.6,
            upper_layers=2,
            first_scale=50.0,
            source_weights={"flickr8k": 2.0, "coco": 2.0},
            held_weight=8.0,
            held_tokens=512,
            held_groups=GROUPS,
            language_temperature=0.6,
            english_weight=2.0,
            pairs_every=3,
            pairs_weight=0.1,
            pairs_tokens=1024,
            half_precision=False,
        )
        still = still_images(self.tower, self.store, rows_of_views(self.store, settings.views), self.work / "still.npy")
        stage = CaptionStage(
            self.text,
            self.tokenizer,
            still,
            self.store,
            self.bank,
            self.corpus,
            self.table,
            self.held,
            DIMS,
            settings,
            "captions",
        )
        fixed = {
            "images.rows": torch.from_numpy(still.rows),
            "images.vectors": still.vectors,
            "bank.meanings": torch.from_numpy(self.bank.meanings),
            "bank.wordings": torch.from_numpy(self.bank.wordings),
            "photos.meanings": torch.from_numpy(stage._photo_meanings),
            "store.photos": torch.from_numpy(self.store.photos),
            "store.views": torch.from_numpy(self.store.views),
        }
        meta = {
            "settings": asdict(settings),
            "dims": DIMS,
            "text_config": asdict(self.text_config()),
            "order_of_parts": ["captions", "captions", "captions", "held", "pairs first", "pairs second"],
            "mean_length": still.mean_length,
        }
        optim = OptimSettings(learning_rate=3e-4, weight_decay=0.01, warmup=0.2)
        record(stage, optim, self.out / "captions", meta, fixed, caption_labels, self.tokenizer_json)


def _tell_nobody(line: str) -> None:
    """For what the old trainer says of its caches."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    out, data = arguments.out.resolve(), arguments.data.resolve()
    torch.set_num_threads(1)
    out.mkdir(parents=True)
    os.chdir(out)
    recording = Recording(data, out)
    recording.tokens()
    recording.texts()
    recording.images()
    recording.captions()
    record_contrast(out, recording.sample / "contrast", recording.work / "tokenizer.json")
    facts = {
        "code": "48fbca9",
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "threads": 1,
        "cpu": torch.backends.cpu.get_cpu_capability(),
    }
    (out / "environment.json").write_text(json.dumps(facts, indent=1))
    say("done")


if __name__ == "__main__":
    main()
