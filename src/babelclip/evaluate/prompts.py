"""Which sentences a class name is put into.

The files come from two projects and lie in ``eval/templates``:

- ``clip_benchmark_{en,ar,it,jp,cn}.json`` (LAION CLIP_benchmark): written by people, ``{c}`` stands for the name;
- ``babel_imagenet_nllb_prompts.json`` (Babel-ImageNet): the 80 English ImageNet templates, in the order of
  CLIP_benchmark's, translated by machine into 89 languages, ``{}`` stands for the name.

The rule, laid down before any score was seen:

- English: **all** templates of the data set (80 for ImageNet, 18 for CIFAR-10), as in CLIP_benchmark;
- other languages: the **plain** ones alone, those that say "a photo of ..." or "a good photo of ..." and nothing
  more. Written by people where CLIP_benchmark has the language, else the translations at the positions of the
  English plain ones. Forty languages with all 80 would be 2 million texts.

Translations keep runs of blanks around the name and before the full stop; those are taken out.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from babelclip.decode import decode_as, parse_json
from babelclip.errors import DatasetError
from babelclip.evaluate.read_pack import read_data_file
from babelclip.evaluate.task import DataFile

Choice = Literal["all", "plain"]

FOLDER = "eval/templates"
TRANSLATED = f"{FOLDER}/babel_imagenet_nllb_prompts.json"
TRANSLATED_PLAIN = (39, 32, 61, 33)  # a photo of a X. / a photo of the X. / a good photo of a X. / ... of the X.
WRITTEN_PLAIN = {  # language -> (file, positions of the plain ones in its "imagenet1k" list)
    "en": (f"{FOLDER}/clip_benchmark_en.json", TRANSLATED_PLAIN),
    "ar": (f"{FOLDER}/clip_benchmark_ar.json", (33, 35, 34)),  # photo X / photo of X / good photo of X
    "it": (f"{FOLDER}/clip_benchmark_it.json", (35,)),  # una buona foto di X; it has no "una foto di X"
    "ja": (f"{FOLDER}/clip_benchmark_jp.json", (23, 24)),  # X no shashin / X no yoi shashin
    "zh": (f"{FOLDER}/clip_benchmark_cn.json", (0, 33, 37, 34)),  # X de zhaopian / xiangpian / yi zhang ... / hao ...
}


class Templates:
    """Templates of one data set by language, and the files that they were read from."""

    def __init__(self, folder: Path, dataset: str = "imagenet1k") -> None:
        self._folder = folder
        self._dataset = dataset
        self._read: dict[str, tuple[dict[str, Any], DataFile]] = {}

    def choose(self, language: str, choice: Choice) -> list[str]:
        """Templates with ``{}`` for the name, each once.

        Raises:
            DatasetError: no templates in this language, or a file that is not as documented.
        """
        if language in WRITTEN_PLAIN:
            path, plain = WRITTEN_PLAIN[language]
            found = self._file(path, self._dataset)
        else:
            path, plain = TRANSLATED, TRANSLATED_PLAIN
            found = self._file(path, language.upper()) if self._dataset == "imagenet1k" else None
        if found is None:
            raise DatasetError(f"{path} has no templates for {self._dataset} in language {language!r}")
        if choice == "plain" and self._dataset != "imagenet1k":
            raise DatasetError(f"plain templates are known for imagenet1k only, not for {self._dataset}")
        if choice == "plain" and max(plain) >= len(found):
            raise DatasetError(f"{path}: {language!r} needs more than {max(plain)} templates, found {len(found)}")
        chosen = [found[position] for position in plain] if choice == "plain" else found
        tidied = [tidy(template) for template in chosen]
        for template in tidied:
            if template.count("{}") != 1:
                raise DatasetError(f"{path}: expected one place for the name in {template!r} ({language})")
        return list(dict.fromkeys(tidied))

    @property
    def files(self) -> tuple[DataFile, ...]:
        """What has been read so far."""
        return tuple(file for _, file in self._read.values())

    def _file(self, path: str, key: str) -> list[str] | None:
        """One of a file's lists; None where it has none of that name."""
        try:
            if path not in self._read:
                content, file = read_data_file(self._folder, path)
                self._read[path] = (decode_as(dict[str, Any], parse_json(content), path), file)
            found = self._read[path][0].get(key)
            return None if found is None else list(decode_as(tuple[str, ...], found, f"{path}: {key}"))
        except ValueError as error:
            raise DatasetError(f"{path} is not JSON with lists of templates: {error}") from error


def tidy(template: str) -> str:
    """One blank where there were several, none at the ends nor before closing punctuation; ``{}`` for the name."""
    single = re.sub(r"\s+", " ", template.replace("{c}", "{}")).strip()
    return re.sub(r" (?=[.,;:!?。।])", "", single)


def fill_template(template: str, name: str) -> str:
    """The template with the name in its place. Braces inside a name stay as they are."""
    before, _, after = template.partition("{}")
    return f"{before}{name}{after}"
