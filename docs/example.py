"""Draw example.png, the README's picture, from what `make demo` left behind.

make demo
python docs/example.py outputs/demo
"""

import sys
from pathlib import Path

from PIL import Image

PRODUCTS = ("cup", "key", "leather")


def main(demo: Path, file: Path) -> None:
    """Stack a panel of FeatureNorm for each product: the first defect, found well or not."""
    rows = [Image.open(first_defect(demo / "heatmaps", product)) for product in PRODUCTS]
    width, height = rows[0].size
    picture = Image.new("RGB", (width, height * len(rows)), "white")
    for number, row in enumerate(rows):
        picture.paste(row, (0, height * number))
    picture = picture.resize((width * 3 // 4, picture.height * 3 // 4), Image.Resampling.LANCZOS)
    picture = picture.quantize(256, dither=Image.Dither.NONE)
    picture.save(file, optimize=True)


def first_defect(heatmaps: Path, product: str) -> Path:
    """The first of the evenly spread defective images, not one of the best or worst cases."""
    folder = heatmaps / "procedural_downstream" / product / "feature_norm"
    cases = ("best_", "worst_", "normal_")
    return min(path for path in folder.glob("*.png") if not path.name.startswith(cases))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(__file__).with_name("example.png"))
