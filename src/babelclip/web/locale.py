"""What the page says, in English and Chinese."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

TRANSLATIONS: Mapping[str, Mapping[str, str]] = {
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
        "page_number": "page {number}",
        "indexed": "{count} indexed",
        "found": "{count} shown, best first",
        "nothing": "Nothing was found. Fewer filters or other words may help.",
        "lacking": "{count} of {rows} have no {field} and are left out",
        "taken": "date",
        "empty": "Nothing is indexed yet. This fills the index: babelclip index FOLDER",
        "more": "Show more",
        "similar": "Similar ones",
        "where": "Where is it seen?",
        "close": "Close",
        "previous": "Previous",
        "next": "Next",
        "score": "cosine",
        "chance": "chance {chance}",
        "looking": "looking through the folders",
        "indexing": "indexing: {done} of {total}",
        "coming": "The first photos will be here in a moment.",
        "failed": "That did not work: ",
        "later": "others wait for the same, or the file has gone. Try again in a moment.",
        "like": "Similar to an image",
        "all": "show all",
        "language": "中文",
        "skip": "To the results",
        "private": "Everything happens on the machine that serves this page.",
        "remote": "What is searched for, and small pictures of photos, go to the model at {server}.",
        "playground": "Try the vectors",
        "texts": "Texts, one a line",
        "add_images": "and images: drop, paste or choose",
        "width": "numbers of a vector",
        "compare": "Compare",
        "likeness": "How alike they are (cosine); [ ] are images",
        "price": "Price by the API's tariff: {total} tokens ({texts} for texts, {images} for images).",
        "request": "The same from a server (babelclip serve)",
        "vectors": "The vectors",
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
        "page_number": "第 {number} 页",
        "indexed": "已索引 {count} 项",
        "found": "显示 {count} 项，最接近的在前",
        "nothing": "没有找到。减少筛选或换个说法试试。",
        "lacking": "{rows} 项中有 {count} 项没有{field}，未包括在内",
        "taken": "日期",
        "empty": "还没有任何索引。运行此命令建立索引：babelclip index 文件夹",
        "more": "显示更多",
        "similar": "相似的图片",
        "where": "在图中何处？",
        "close": "关闭",
        "previous": "上一张",
        "next": "下一张",
        "score": "余弦",
        "chance": "可能性 {chance}",
        "looking": "正在查看文件夹",
        "indexing": "正在索引：{done} / {total}",
        "coming": "第一批照片马上就到。",
        "failed": "没有成功：",
        "later": "其他人也在等待，或文件已不在。请稍后再试。",
        "like": "与图片相似",
        "all": "显示全部",
        "language": "English",
        "skip": "跳到结果",
        "private": "一切都在提供此页面的机器上进行。",
        "remote": "搜索内容和照片的缩小图会发送到 {server} 上的模型。",
        "playground": "试试向量",
        "texts": "文本，每行一条",
        "add_images": "以及图片：拖入、粘贴或选择",
        "width": "向量的维数",
        "compare": "比较",
        "likeness": "相似程度（余弦）；[ ] 内是图片",
        "price": "按接口的价目：{total} 个词元（文本 {texts}，图片 {images}）。",
        "request": "用服务得到同样的结果（babelclip serve）",
        "vectors": "向量",
    },
}


@dataclass(frozen=True, slots=True)
class Locale:
    """A language, and what the page says in it: ``locale("found", count=3)``."""

    code: str
    translations: Mapping[str, str]

    def __call__(self, name: str, **values: object) -> str:
        """What the page says, with values in its places."""
        return self.translations[name].format(**values)

    @property
    def other(self) -> str:
        """The code of the language that the page can be changed to."""
        return "zh" if self.code == "en" else "en"


def choose_locale(chosen: str | None, accepted: str) -> Locale:
    """The language that was chosen, else the first one of ``Accept-Language`` that there is, else English."""
    wanted = [chosen or ""] + [part.split(";")[0].strip().lower()[:2] for part in accepted.split(",")]
    code = next((code for code in wanted if code in TRANSLATIONS), "en")
    return Locale(code, TRANSLATIONS[code])
