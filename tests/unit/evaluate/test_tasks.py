"""Each family of tasks on data small enough to know every score."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from babelclip.errors import DatasetError, ItemsError
from babelclip.evaluate.encode import EncodeOnce, VectorForm
from babelclip.evaluate.task import Score
from babelclip.evaluate.tasks.bitext import BitextMining
from babelclip.evaluate.tasks.crossmodal import CrossmodalRetrieval
from babelclip.evaluate.tasks.names import NameRecognition, languages_with_most_names, name_vectors
from babelclip.evaluate.tasks.sts import SentenceSimilarity
from babelclip.evaluate.tasks.topics import TopicClassification


def value(scores: list[Score], language: str, metric: str) -> tuple[float, int]:
    [score] = [score for score in scores if (score.language, score.metric) == (language, metric)]
    assert score.low <= score.value <= score.high
    return score.value, score.count


@pytest.fixture
def captioned(write_pack) -> None:
    """Three photos on the axes, and a repeat that must not take part."""
    write_pack(
        "p.tar.gz",
        {
            "x": (b"X", {"captions": {"en": ["near x", "far from x"], "de": ["bei x"]}, "dup": False}),
            "y": (b"Y", {"captions": {"en": ["near y"]}, "dup": False}),
            "z": (b"Z", {"captions": {"en": ["near z"], "de": []}, "dup": False}),
            "again": (b"AGAIN", {"captions": {"en": ["near x"], "fr": ["doublon"]}, "dup": True}),
        },
    )


TABLE = {
    b"X": [1, 0, 0],
    b"Y": [0, 1, 0],
    b"Z": [0, 0, 1],
    "near x": [0.9, 0.1, 0.2],
    "far from x": [0.1, 0.5, 0.9],  # finds z, then y, then x
    "near y": [0.1, 0.9, 0.2],
    "near z": [0.6, 0.1, 0.5],  # finds x before z
    "bei x": [0.5, 0.8, 0.1],  # finds y before x
}


def test_names_as_captions(tmp_path: Path, write_pack, table_encoder) -> None:
    write_pack("e.tar.gz", {"x": (b"X", {"label": "emoji:x"}), "y": (b"Y", {"label": "emoji:y"})})
    table = {
        "emoji:x": {"en": "near x", "de": "bei x", "en_alt": "?"},
        "emoji:y": {"en": "near y"},
        "other:z": {"fr": "z"},
    }
    (tmp_path / "labels.json.gz").write_bytes(gzip.compress(json.dumps(table).encode()))
    task = CrossmodalRetrieval.of_names("emoji", tmp_path, "e.tar.gz", "emoji:")
    scores = task.run(EncodeOnce(table_encoder(TABLE)), seed=0)
    assert value(scores, "en", "text_to_image_recall@1") == (100.0, 2)
    assert value(scores, "de", "text_to_image_recall@1") == (0.0, 1)
    assert {score.language for score in scores} == {"en", "de"}
    assert [file.path for file in task.facts.data] == ["e.tar.gz", "labels.json.gz"]


def test_crossmodal_by_hand(tmp_path: Path, captioned, table_encoder) -> None:
    encoder = table_encoder(TABLE)
    task = CrossmodalRetrieval.of_pack("set", tmp_path, "p.tar.gz")
    scores = task.run(EncodeOnce(encoder), seed=0)
    assert value(scores, "en", "text_to_image_recall@1") == (50.0, 4)  # near x, near y of four captions
    assert value(scores, "en", "text_to_image_recall@5") == (100.0, 4)
    assert value(scores, "de", "text_to_image_recall@1") == (0.0, 1)
    # x: "near x" first. y: "near y" first. z: "far from x" is nearer to z than "near z" is.
    assert value(scores, "en", "image_to_text_recall@1") == pytest.approx((200 / 3, 3))
    assert value(scores, "de", "image_to_text_recall@1") == (100.0, 1)  # only photos with a caption ask
    assert {score.language for score in scores} == {"en", "de"}  # French occurs on the repeat alone
    assert b"AGAIN" not in encoder.images_seen
    assert task.facts.settings["photos"] == 3
    assert task.facts.settings["languages"] == ["en", "de"]


def test_crossmodal_takes_the_languages_asked_for(tmp_path: Path, captioned) -> None:
    assert CrossmodalRetrieval.of_pack("s", tmp_path, "p.tar.gz", ["de"]).facts.settings["languages"] == ["de"]
    with pytest.raises(DatasetError, match="fr"):
        CrossmodalRetrieval.of_pack("s", tmp_path, "p.tar.gz", ["de", "fr"])


NAMES = {
    "c:0": {"en": "cat", "de": "Katze", "la": "feles"},
    "c:1": {"en": "dog", "de": "Hund"},
    "c:2": {"en": "bird"},
}


@pytest.fixture
def labeled(write_pack, write_labels, write_templates) -> None:
    write_pack("p.tar.gz", {k: (k.encode(), {"label": f"c:{k[0]}"}) for k in ("0a", "0b", "1a", "2a")})
    write_labels({**NAMES, "other:1": {"en": "no rival"}})
    write_templates("clip_benchmark_en.json", {"imagenet1k": ["a {c}.", "the {c}."]})
    write_templates("babel_imagenet_nllb_prompts.json", {"DE": ["ein {}"] * 80})


def test_names_by_hand(tmp_path: Path, labeled, table_encoder) -> None:
    encoder = table_encoder(
        {
            b"0a": [1, 0, 0],
            b"0b": [0.2, 0.9, 0],  # looks like a dog
            b"1a": [0, 1, 0],
            b"2a": [0.8, 0, 0.7],  # looks like a cat
            "a cat.": [1, 0, 0],
            "the cat.": [1, 0, 0],
            "a dog.": [0, 1, 0],
            "the dog.": [0, 1, 0],
            "a bird.": [0, 0, 1],
            "the bird.": [0, 0, 1],
            "ein Katze": [1, 0, 0],
            "ein Hund": [1, 1, 0],
        }
    )
    task = NameRecognition.of_pack("n", tmp_path, "p.tar.gz", prefix="c:", templates="imagenet1k", others=1)
    scores = task.run(EncodeOnce(encoder), seed=0)
    assert value(scores, "en", "top1") == (50.0, 4)
    assert value(scores, "en", "top5") == (100.0, 4)
    assert value(scores, "de", "top1") == pytest.approx((200 / 3, 3))  # the bird has no German name: it does not count
    assert task.facts.settings["names"] == [3, 2]
    assert task.facts.settings["templates"] == [2, 1]
    assert "a no rival." not in encoder.texts_seen


def test_prompts_are_averaged_then_normalized(table_encoder) -> None:
    encode = EncodeOnce(table_encoder({"a cat": [1, 0], "the cat": [0, 1], "a dog": [1, 0], "the dog": [3, 4]}))
    vectors = name_vectors(encode, ["cat", "dog"], ["a {}", "the {}"])
    half = 0.5**0.5
    dog = np.array([1.6, 0.8]) / np.hypot(1.6, 0.8)  # (1, 0) + (0.6, 0.8), by their normalized vectors
    np.testing.assert_allclose(vectors, [[half, half], dog], atol=1e-6)
    assert vectors.dtype == np.float32


def test_languages_rank_by_names_then_code() -> None:
    assert languages_with_most_names({**NAMES, "c:3": {"cs": "pes", "de": "x"}}) == ["de", "cs", "la"]


def test_a_label_without_name_is_refused(tmp_path: Path, labeled, write_pack) -> None:
    write_pack("q.tar.gz", {"k": (b"I", {"label": "c:9"})})
    with pytest.raises(DatasetError, match="'c:9'"):
        NameRecognition.of_pack("n", tmp_path, "q.tar.gz", prefix="c:", templates="imagenet1k")


def test_more_languages_than_there_are_is_refused(tmp_path: Path, labeled) -> None:
    with pytest.raises(DatasetError, match="2 languages besides en, not 5"):
        NameRecognition.of_pack("n", tmp_path, "p.tar.gz", prefix="c:", templates="imagenet1k", others=5)


def write_pairs(path: Path, rows: list[tuple[str, str, str, float | None]]) -> None:
    columns = list(zip(*rows, strict=True))
    pq.write_table(pa.table(dict(zip(("lang", "sentence1", "sentence2", "score"), columns, strict=True))), path)


def test_sts_by_hand(tmp_path: Path, table_encoder) -> None:
    rows = [("en", "p", text, score) for text, score in (("q0", 0.0), ("q1", 1.0), ("q3", 2.0), ("q2", 3.0))]
    rows += [("de", "p", "q0", 2.0), ("de", "p", "q1", 1.0)]
    write_pairs(tmp_path / "s.parquet", rows)
    encoder = table_encoder({"p": [1, 0], "q0": [0, 1], "q1": [1, 3], "q2": [1, 2], "q3": [1, 0.1]})
    task = SentenceSimilarity("s", tmp_path, "s.parquet")
    scores = task.run(EncodeOnce(encoder), seed=0)
    assert value(scores, "en", "spearman") == pytest.approx((0.8, 4))  # people 1 2 3 4, cosines 1 2 4 3
    assert [score.value for score in scores if score.language == "de"] == pytest.approx([-1.0])
    assert sorted(encoder.texts_seen) == ["p", "q0", "q1", "q2", "q3"]  # each text once, in all languages together


def test_sts_refuses_other_tables(tmp_path: Path) -> None:
    pq.write_table(pa.table({"lang": ["en"]}), tmp_path / "s.parquet")
    with pytest.raises(DatasetError, match="sentence1"):
        SentenceSimilarity("s", tmp_path, "s.parquet")
    write_pairs(tmp_path / "t.parquet", [("en", "a", "b", None)])
    with pytest.raises(DatasetError, match="empty cells"):
        SentenceSimilarity("s", tmp_path, "t.parquet")
    (tmp_path / "u.parquet").write_bytes(b"no parquet")
    with pytest.raises(DatasetError, match=r"u\.parquet"):
        SentenceSimilarity("s", tmp_path, "u.parquet")


def test_bitext_by_hand(tmp_path: Path, table_encoder) -> None:
    rows = {
        "lang": ["de", "de", "de", "fr"],
        "text": ["Hund", "Katze", "Hündchen", "chien"],
        "en": ["dog", "cat", "dog", "dog"],
    }
    pq.write_table(pa.table(rows), tmp_path / "b.parquet")
    encoder = table_encoder(
        {"Hund": [1, 0.1], "Katze": [0.9, 0.5], "Hündchen": [0.1, 1], "chien": [0, 1], "dog": [1, 0], "cat": [0.5, 0.9]}
    )
    scores = BitextMining("b", tmp_path, "b.parquet").run(EncodeOnce(encoder), seed=0)
    # Hund finds dog; Katze finds dog, which is wrong; Hündchen finds cat.
    assert value(scores, "de", "to_english") == pytest.approx((100 / 3, 3))
    # dog finds Hund, twice, also where Hündchen asked; cat finds Hündchen.
    assert value(scores, "de", "from_english") == pytest.approx((200 / 3, 3))
    assert value(scores, "fr", "to_english") == (100.0, 1)  # its own language's sentences are all its rivals


def test_topics_by_hand(tmp_path: Path, table_encoder) -> None:
    rows = {"lang": ["en", "en", "af"], "text": ["match", "vote", "stem"], "topic": ["sports", "politics", "politics"]}
    pq.write_table(pa.table(rows), tmp_path / "t.parquet")
    encoder = table_encoder({"match": [1, 0], "vote": [0.9, 0.1], "stem": [0, 1], "sports": [1, 0], "politics": [0, 1]})
    task = TopicClassification("t", tmp_path, "t.parquet")
    scores = task.run(EncodeOnce(encoder), seed=0)
    assert value(scores, "en", "top1") == (50.0, 2)
    assert value(scores, "af", "top1") == (100.0, 1)
    assert task.facts.settings["topics"] == ["politics", "sports"]


def test_only_labels_that_occur_compete_where_asked(tmp_path: Path, labeled, write_pack, table_encoder) -> None:
    write_pack("q.tar.gz", {k: (k.encode(), {"label": f"c:{k[0]}"}) for k in ("0a", "1a")})
    vectors = {b"0a": [1, 0, 0.9], b"1a": [0, 1, 1.1], "a cat.": [1, 0, 0], "the cat.": [1, 0, 0]}
    vectors |= {"a dog.": [0, 1, 0], "the dog.": [0, 1, 0], "a bird.": [0, 0, 1], "the bird.": [0, 0, 1]}

    def top1(present: bool) -> float:
        task = NameRecognition.of_pack("n", tmp_path, "q.tar.gz", prefix="c:", templates="imagenet1k", present=present)
        return value(task.run(EncodeOnce(table_encoder(vectors)), seed=0), "en", "top1")[0]

    assert top1(present=False) == 50.0  # the second looks most like a bird, which does not occur
    assert top1(present=True) == 100.0


def test_texts_come_back_in_order_and_at_the_width_asked_for(table_encoder) -> None:
    encoder = table_encoder({"long text": [3, 4, 5], "b": [0, 1, 7], "a": [1, 0, 9]})
    encode = EncodeOnce(encoder, dim=2)
    vectors = encode.texts(["long text", "b", "a", "b"])
    np.testing.assert_allclose(vectors, [[0.6, 0.8], [0, 1], [1, 0], [0, 1]], atol=1e-6)
    assert sorted(encoder.texts_seen) == ["a", "b", "long text"]
    assert encode.width == 2


def test_forms_are_cut_then_quantized_and_nothing_is_encoded_twice(table_encoder) -> None:
    encoder = table_encoder({"a": [0.6, -0.8, 5], "b": [0.001, 1, 2], b"i": [3, 4, 0]})
    memory: dict[str | bytes, np.ndarray] = {}
    forms = [VectorForm(), VectorForm(2), VectorForm(2, "int8"), VectorForm(2, "binary")]
    encodes = [EncodeOnce(encoder, form=form, memory=memory) for form in forms]
    whole, cut, int8, signs = (encode.texts(["b", "a", "b"]) for encode in encodes)
    assert whole.shape == (3, 3)
    np.testing.assert_allclose(cut, [[0.001, 1], [0.6, -0.8], [0.001, 1]], atol=1e-6)
    np.testing.assert_allclose(int8[1], np.array([76, -102]) / np.hypot(76, 102), atol=1e-6)
    assert int8[0].tolist() == [0.0, 1.0]  # 0.001 is less than a 127th
    np.testing.assert_allclose(signs, np.array([[1, 1], [1, -1], [1, 1]]) / 2**0.5, atol=1e-6)
    for encode in encodes:
        encode.images([b"i", b"i"], ["one", "two"])
    assert sorted(encoder.texts_seen) == ["a", "b"]
    assert len(encoder.images_seen) == 2  # both rows of the first call, none later


def test_a_failed_image_is_named() -> None:
    class Broken:
        def encode_image(self, images: list[bytes], *, dim: int | None = None) -> np.ndarray:
            raise ItemsError({1: "truncated file"}, np.full((len(images), 2), np.nan, np.float32))

    with pytest.raises(DatasetError, match="'second': truncated file"):
        EncodeOnce(Broken()).images([b"a", b"b"], ["first", "second"])


def test_vectors_that_are_not_finite_are_refused() -> None:
    class Wrong:
        def encode_text(self, texts: list[str], *, dim: int | None = None) -> np.ndarray:
            return np.full((len(texts), 2), np.nan, np.float32)

    with pytest.raises(ValueError, match="not finite"):
        EncodeOnce(Wrong()).texts(["a"])
