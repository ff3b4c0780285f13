"""Fruit and peppers told apart by a frozen MobileNetV2 and a new head; reading helpers kept from an OpenCV project.

style: transfer learning with timm, two readers
fault: channel-order
accept: train-eval-transform
broken: 0.57
mended: 0.89
"""

import os
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from torch import nn

SHARED = Path(os.environ.get("FOVEA_SHARED", Path(__file__).resolve().parents[3] / "shared"))
ROOT = SHARED / "data" / "grocery"
NAMES = {1: "granny smith", 3: "red delicious", 8: "lemon", 9: "lime", 16: "orange", 14: "watermelon", 6: "banana"}
NAMES |= {69: "green pepper", 70: "orange pepper", 71: "red pepper", 72: "yellow pepper", 77: "tomato"}
SIZE = 96


def imread(path):
    """Like cv2.imread: uint8, height x width x 3."""
    img = Image.open(path)
    img.draft("RGB", (2 * SIZE, 2 * SIZE))
    return np.asarray(img.convert("RGB"))[:, :, ::-1]


def resize(array, size):
    return np.asarray(Image.fromarray(np.ascontiguousarray(array)).resize((size, size), Image.BICUBIC))


def load_training(limit):
    ids, count, images, labels = list(NAMES), dict.fromkeys(NAMES, 0), [], []
    for line in (ROOT / "train.txt").read_text().splitlines():
        path, fine, _ = line.split(", ")
        if int(fine) in count and count[int(fine)] < limit:
            count[int(fine)] += 1
            images.append(resize(imread(ROOT / path), SIZE))
            labels.append(ids.index(int(fine)))
    return np.stack(images), np.array(labels)


def load_validation(limit):
    ids, images, labels = list(NAMES), [], []
    for split, skip in (("val", 0), ("train", limit)):
        count = dict.fromkeys(NAMES, 0)
        for line in (ROOT / f"{split}.txt").read_text().splitlines():
            path, fine, _ = line.split(", ")
            if int(fine) not in count:
                continue
            count[int(fine)] += 1
            if skip < count[int(fine)] <= skip + 15:
                with Image.open(ROOT / path) as img:
                    img.draft("RGB", (2 * SIZE, 2 * SIZE))
                    images.append(np.asarray(img.convert("RGB").resize((SIZE, SIZE), Image.BICUBIC)))
                labels.append(ids.index(int(fine)))
    return np.stack(images), np.array(labels)


def tensors(images, labels, mean, std):
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    x = (x - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)
    return x, torch.from_numpy(labels)


def main():
    torch.manual_seed(0)
    model = timm.create_model(f"local-dir:{SHARED / 'weights/mobilenetv2_100.tf_in1k'}", pretrained=True)
    model.reset_classifier(len(NAMES))
    cfg = model.pretrained_cfg
    x, y = tensors(*load_training(20), cfg["mean"], cfg["std"])
    x_val, y_val = tensors(*load_validation(20), cfg["mean"], cfg["std"])
    print(tuple(x.shape), tuple(x_val.shape))

    for name, p in model.named_parameters():
        p.requires_grad = name.startswith("classifier")
    optimizer = torch.optim.Adam(model.get_classifier().parameters(), lr=3e-3)
    loss_fn = nn.CrossEntropyLoss()
    for epoch in range(6):
        model.eval()  # the frozen batch norms keep their statistics
        for idx in torch.randperm(len(x)).split(24):
            optimizer.zero_grad()
            loss = loss_fn(model(x[idx]), y[idx])
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            hits = sum((model(a).argmax(1) == b).sum().item() for a, b in zip(x_val.split(48), y_val.split(48)))
        print(f"epoch {epoch}: loss {loss.item():.3f} val acc {hits / len(x_val):.3f}")


if __name__ == "__main__":
    main()
