"""Make the page that docs/images/audit.png shows: an audit of small data with planted faults.

    .venv/bin/python docs/images/make_audit.py FOLDER
    chromium --headless --window-size=1100,7000 --screenshot=page.png FOLDER/page/audit.html

and cut the section "Copies and leaks" out.

The photos are scikit-learn's china.jpg and flower.jpg (CC BY, see docs/reference/augmentation.md), cut into tiles.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image, ImageEnhance, ImageOps
from sklearn.datasets import load_sample_image

import fovea

TILE_PX = 106


def tiles(name: str) -> list[Image.Image]:
    """Cut a photo into tiles that overlap nowhere."""
    photo = load_sample_image(name)
    rows, columns = photo.shape[0] // TILE_PX, photo.shape[1] // TILE_PX
    return [
        Image.fromarray(photo[y * TILE_PX : (y + 1) * TILE_PX, x * TILE_PX : (x + 1) * TILE_PX])
        for y in range(rows)
        for x in range(columns)
    ]


def main(folder: Path) -> None:
    """Write the data and audit it."""
    data = folder / "photos"
    for label, name in (("temple", "china.jpg"), ("dahlia", "flower.jpg")):
        for number, tile in enumerate(tiles(name)):
            split = "val" if number % 4 == 3 else "train"
            path = data / split / label / f"{number:02}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            tile.save(path, quality=90)
    temple = Image.open(data / "train/temple/14.jpg")
    temple.resize((90, 90)).save(data / "train/temple/small.jpg", quality=60)
    ImageOps.mirror(temple).save(data / "val/temple/mirrored.jpg", quality=50)
    dahlia = Image.open(data / "train/dahlia/13.jpg")
    ImageEnhance.Brightness(dahlia.rotate(4).crop((8, 8, 98, 98))).enhance(1.2).save(data / "train/temple/turned.jpg")
    ImageEnhance.Brightness(Image.open(data / "train/dahlia/12.jpg")).enhance(0.12).save(data / "train/dahlia/dark.jpg")
    whole = (data / "train/temple/16.jpg").read_bytes()
    (data / "train/temple/broken.jpg").write_bytes(whole[: len(whole) // 2])
    fovea.audit(data, out=folder / "page", fast=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
