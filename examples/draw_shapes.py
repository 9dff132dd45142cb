"""Draw small pictures of colored shapes with captions in six languages: data to try training on.

    python examples/draw_shapes.py shapes [--number 3000] [--seed 0]

Each picture has a large shape on the left and a small one on the right, and says so in its captions.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

COLORS = {
    "red": ((214, 40, 40), ("red", "rot", "rouge", "rojo", "红色", "أحمر")),
    "green": ((44, 160, 44), ("green", "gr\u00fcn", "vert", "verde", "绿色", "أخضر")),
    "blue": ((31, 80, 200), ("blue", "blau", "bleu", "azul", "蓝色", "أزرق")),
    "yellow": ((240, 200, 20), ("yellow", "gelb", "jaune", "amarillo", "黄色", "أصفر")),
    "black": ((20, 20, 20), ("black", "schwarz", "noir", "negro", "黑色", "أسود")),
    "purple": ((130, 50, 170), ("purple", "lila", "violet", "morado", "紫色", "بنفسجي")),
}
SHAPES = {
    "circle": ("circle", "Kreis", "cercle", "círculo", "圆形", "دائرة"),
    "square": ("square", "Quadrat", "carré", "cuadrado", "正方形", "مربع"),
    "triangle": ("triangle", "Dreieck", "triangle", "triángulo", "三角形", "مثلث"),
    "cross": ("cross", "Kreuz", "croix", "cruz", "十字", "صليب"),
}
LANGUAGES = ("en", "de", "fr", "es", "zh", "ar")
SENTENCES = (
    "a large {1} {0} and a small {3} {2}",
    "groß: {0}, {1}; klein: {2}, {3}",
    "un grand {0} {1} et un petit {2} {3}",
    "un {0} {1} grande y un {2} {3} pequeño",
    "一个大的{1}{0}和一个小的{3}{2}",
    "{0} {1} كبير و{2} {3} صغير",
)
SIZE = 64


def draw(drawing: ImageDraw.ImageDraw, shape: str, color: tuple[int, int, int], x: int, y: int, radius: int) -> None:
    """One shape around (x, y)."""
    box = (x - radius, y - radius, x + radius, y + radius)
    if shape == "circle":
        drawing.ellipse(box, fill=color)
    elif shape == "square":
        drawing.rectangle(box, fill=color)
    elif shape == "triangle":
        drawing.polygon([(x, y - radius), (x - radius, y + radius), (x + radius, y + radius)], fill=color)
    else:
        arm = max(1, radius // 3)
        drawing.rectangle((x - arm, y - radius, x + arm, y + radius), fill=color)
        drawing.rectangle((x - radius, y - arm, x + radius, y + arm), fill=color)


def picture(generator: np.random.Generator, shapes: tuple[str, str], colors: tuple[str, str]) -> Image.Image:
    """A large shape on the left, a small one on the right, on a light ground with noise."""
    image = Image.new("RGB", (SIZE, SIZE), tuple(int(c) for c in generator.integers(215, 256, 3)))
    drawing = ImageDraw.Draw(image)
    for place, (shape, color) in enumerate(zip(shapes, colors, strict=True)):
        x, y = (20, 32) if place == 0 else (50, 32)
        radius = int(generator.integers(13, 18) if place == 0 else generator.integers(6, 9))
        x, y = x + int(generator.integers(-3, 4)), y + int(generator.integers(-10, 11))
        draw(drawing, shape, COLORS[color][0], x, y, radius)
    noisy = np.asarray(image).astype(np.int16) + generator.integers(-12, 13, (SIZE, SIZE, 3))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def captions(shapes: tuple[str, str], colors: tuple[str, str]) -> dict[str, list[str]]:
    """The same sentence in every language."""
    return {
        language: [
            sentence.format(
                SHAPES[shapes[0]][place], COLORS[colors[0]][1][place],
                SHAPES[shapes[1]][place], COLORS[colors[1]][1][place],
            )
        ]
        for place, (language, sentence) in enumerate(zip(LANGUAGES, SENTENCES, strict=True))
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--number", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(options.seed)
    with (options.folder / "captions.jsonl").open("w", encoding="utf-8") as file:
        for number in range(options.number):
            shapes = tuple(str(shape) for shape in generator.choice(list(SHAPES), 2))
            colors = tuple(str(color) for color in generator.choice(list(COLORS), 2))
            name = f"{number:05d}.png"
            picture(generator, shapes, colors).save(options.folder / name)
            file.write(json.dumps({"image": name, "captions": captions(shapes, colors)}, ensure_ascii=False) + "\n")
    print(f"{options.number} pictures in {options.folder}")


if __name__ == "__main__":
    main()
