"""What the page says, in English and Chinese."""

from __future__ import annotations

from collections.abc import Mapping

WORDS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "title": "Find your photos",
        "search": "Search",
        "placeholder": "What do you look for? Any language",
        "drop": "or drop, paste or choose an image",
        "choose": "Choose an image",
        "filters": "Filters",
        "after": "taken on or after",
        "before": "taken before",
        "folder": "folder",
        "all_folders": "all folders",
        "kind": "kind",
        "all_kinds": "all kinds",
        "image": "photos",
        "page": "pages",
        "text": "texts",
        "indexed": "{count} indexed",
        "found": "{count} shown, best first",
        "nothing": "Nothing was found. Fewer filters or other words may help.",
        "empty": "Nothing is indexed yet. This fills the index: babelclip index FOLDER",
        "more": "Show more",
        "similar": "Similar ones",
        "where": "Where is it seen?",
        "close": "Close",
        "previous": "Previous",
        "next": "Next",
        "score": "score",
        "taken": "taken",
        "indexing": "indexing: {done} of {total}",
        "failed": "That did not work: ",
        "like": "Similar to an image",
        "language": "中文",
        "skip": "To the results",
        "private": "Everything happens on this machine.",
    },
    "zh": {
        "title": "找到你的照片",
        "search": "搜索",
        "placeholder": "想找什么？用任何语言",
        "drop": "或拖入、粘贴、选择一张图片",
        "choose": "选择图片",
        "filters": "筛选",
        "after": "拍摄不早于",
        "before": "拍摄早于",
        "folder": "文件夹",
        "all_folders": "所有文件夹",
        "kind": "类型",
        "all_kinds": "所有类型",
        "image": "照片",
        "page": "页面",
        "text": "文本",
        "indexed": "已索引 {count} 项",
        "found": "显示 {count} 项，最接近的在前",
        "nothing": "没有找到。减少筛选或换个说法试试。",
        "empty": "还没有任何索引。运行此命令建立索引：babelclip index 文件夹",
        "more": "显示更多",
        "similar": "相似的图片",
        "where": "在图中何处？",
        "close": "关闭",
        "previous": "上一张",
        "next": "下一张",
        "score": "得分",
        "taken": "拍摄于",
        "indexing": "正在索引：{done} / {total}",
        "failed": "没有成功：",
        "like": "与图片相似",
        "language": "English",
        "skip": "跳到结果",
        "private": "一切都在这台机器上进行。",
    },
}


def words_for(chosen: str | None, accepted: str) -> tuple[str, Mapping[str, str]]:
    """The language and its words: the one that was chosen, else the first one of ``Accept-Language`` that there is."""
    wanted = [chosen or ""] + [part.split(";")[0].strip().lower()[:2] for part in accepted.split(",")]
    language = next((code for code in wanted if code in WORDS), "en")
    return language, WORDS[language]
