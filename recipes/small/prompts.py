"""One prompt per language, written for this project; the evaluation's prompts are not used in training.

A file of its own because texts, photos and class names all put names into prompts.
"""

from __future__ import annotations

from collections.abc import Mapping

PROMPTS: Mapping[str, str] = {
    "af": "'n foto van 'n {}", "ar": "صورة {}", "az": "{} fotosu", "be": "фатаграфія: {}", "bg": "снимка на {}",
    "bn": "{} এর ছবি", "ca": "una foto de {}", "cs": "fotografie: {}", "cy": "llun o {}",
    "da": "et billede af {}", "de": "ein Foto von {}", "el": "μια φωτογραφία {}", "en": "a photo of a {}",
    "eo": "foto de {}", "es": "una foto de {}", "et": "foto: {}", "eu": "{} baten argazkia", "fa": "عکسی از {}",
    "fi": "valokuva: {}", "fr": "une photo de {}", "ga": "grianghraf de {}", "gl": "unha foto de {}",
    "he": "תמונה של {}", "hi": "{} की तस्वीर", "hr": "fotografija: {}", "hu": "egy fotó: {}",
    "hy": "{} լուսանկար", "id": "foto {}", "is": "mynd af {}", "it": "una foto di {}", "ja": "{}の写真",
    "ka": "{} ფოტო", "kk": "{} суреті", "ko": "{} 사진", "lt": "nuotrauka: {}", "lv": "fotogrāfija: {}",
    "mk": "фотографија од {}", "ml": "{} ചിത്രം", "ms": "gambar {}", "nl": "een foto van een {}",
    "no": "et bilde av {}", "pl": "zdjęcie: {}", "pt": "uma foto de {}", "ro": "o fotografie cu {}",
    "ru": "фотография: {}", "sk": "fotografia: {}", "sl": "fotografija: {}", "sq": "një foto e {}",
    "sr": "фотографија: {}", "sv": "ett foto av {}", "sw": "picha ya {}", "ta": "{} புகைப்படம்",
    "te": "{} ఫోటో", "th": "ภาพถ่ายของ{}", "tl": "larawan ng {}", "tr": "bir {} fotoğrafı",
    "uk": "фотографія: {}", "ur": "{} کی تصویر", "vi": "một bức ảnh về {}", "zh": "一张{}的照片",
}  # fmt: skip
