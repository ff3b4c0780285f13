"""Head on a pretrained MobileNetV2: training with PIL, testing with a loader written for OpenCV.

style: transfer learning script with a deployment-like predict function
source: https://troubles-factory.com/cases/2026-06-18-01-rgb-bgr-normalization-train-inference-mismatch/
fault: channel-order
accept: train-eval-transform
broken: 0.44
mended: 0.84
"""

import os
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

SHARED = Path(os.environ.get("FOVEA_SHARED", Path(__file__).resolve().parents[3] / "shared"))
GROCERY = SHARED / "data" / "grocery"
FRUIT = ["Golden-Delicious", "Granny-Smith", "Red-Delicious", "Royal-Gala", "Lemon", "Lime", "Orange", "Banana"]
SIZE = 96


class cv:
    """The two functions of OpenCV that are needed, for machines without it."""

    @staticmethod
    def imread(path):
        img = Image.open(path)
        img.draft("RGB", (SIZE, SIZE))
        return np.asarray(img.convert("RGB"))[:, :, ::-1]

    @staticmethod
    def resize(array, size):
        return np.asarray(Image.fromarray(np.ascontiguousarray(array)).resize(size, Image.BILINEAR))


def files(split):
    """Two of five photos of each fruit are the test set."""
    lines = (GROCERY / "train.txt").read_text().splitlines() + (GROCERY / "val.txt").read_text().splitlines()
    paths = [line.split(", ")[0] for line in lines]
    for label, name in enumerate(FRUIT):
        mine = [GROCERY / p for p in paths if p.split("/")[-2] == name]
        for i, path in enumerate(mine):
            if (i % 5 > 2) == (split == "test"):
                yield path, label


def to_tensor(array):
    x = torch.from_numpy(np.ascontiguousarray(array)).permute(2, 0, 1).float() / 255
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    return (x - mean) / std


class FruitDataset(Dataset):
    def __init__(self, split):
        self.items = list(files(split))

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        path, label = self.items[i]
        img = Image.open(path)
        img.draft("RGB", (SIZE, SIZE))
        img = img.convert("RGB").resize((SIZE, SIZE), Image.BILINEAR)
        return to_tensor(np.asarray(img)), label


class FruitNet(nn.Module):
    def __init__(self, n_classes):
        super().__init__()
        self.backbone = timm.create_model(
            f"local-dir:{SHARED / 'weights' / 'mobilenetv2_100.tf_in1k'}", pretrained=True, num_classes=0
        )
        for p in self.backbone.parameters():
            p.requires_grad = False
        self.head = nn.Linear(self.backbone.num_features, n_classes)

    def train(self, mode=True):
        super().train(mode)
        self.backbone.eval()
        return self

    def forward(self, x):
        with torch.no_grad():
            f = self.backbone(x)
        return self.head(f)


def predict(model, path):
    img = cv.resize(cv.imread(path), (SIZE, SIZE))
    model.eval()
    with torch.no_grad():
        return model(to_tensor(img)[None]).argmax(1).item()


def main():
    torch.manual_seed(6)
    train_set = FruitDataset("train")
    print(len(train_set), "training images")
    loader = DataLoader(train_set, batch_size=24, shuffle=True)
    model = FruitNet(len(FRUIT))
    optimizer = torch.optim.Adam(model.head.parameters(), lr=3e-3)
    for epoch in range(3):
        model.train()
        losses, hits = [], 0
        for x, y in loader:
            out = model(x)
            loss = nn.functional.cross_entropy(out, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            hits += (out.argmax(1) == y).sum().item()
        print(f"epoch {epoch} loss {np.mean(losses):.3f} accuracy {hits / len(train_set):.3f}")

    test = list(files("test"))
    right = sum(predict(model, path) == label for path, label in test)
    print(f"test accuracy {right / len(test):.3f} on {len(test)} images")


if __name__ == "__main__":
    main()
