"""Nineteen fruits; the network gives back an embedding and the class probabilities.

style: product script, model returning a tuple, collate_fn, metrics per class
source: https://discuss.pytorch.org/t/cross-entropy-loss-is-not-decreasing/43814/16
fault: softmax-before-loss
broken: 0.47
mended: 0.60
"""

import os
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader

GROCERY = Path(os.environ.get("FOVEA_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "data" / "grocery"
SIZE = 40


def read_photos():
    """The fruit photos of the list; every fourth of each kind is for validation."""
    kinds = defaultdict(list)
    for line in (GROCERY / "train.txt").read_text().splitlines():
        path = line.split(", ")[0]
        if path.split("/")[1] == "Fruit":
            img = Image.open(GROCERY / path)
            img.draft("RGB", (80, 80))
            kinds[path.split("/")[2]].append(img.convert("RGB").resize((SIZE, SIZE), Image.BILINEAR))
    train, val = [], []
    for name, photos in kinds.items():
        train += [(img, name) for i, img in enumerate(photos) if i % 4]
        val += [(img, name) for img in photos[::4]]
    return train, val


class Collate:
    def __init__(self, names, flip):
        self.index = {n: i for i, n in enumerate(names)}
        self.flip = flip

    def __call__(self, samples):
        arrays = []
        for img, _ in samples:
            a = np.asarray(img, dtype=np.float32)
            if self.flip and np.random.rand() < 0.5:
                a = a[:, ::-1]
            arrays.append((a - 128) / 64)
        x = torch.from_numpy(np.ascontiguousarray(np.stack(arrays).transpose(0, 3, 1, 2)))
        return x, torch.tensor([self.index[n] for _, n in samples])


class FruitNet(nn.Module):
    def __init__(self, n_classes, dim=64):
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(3, 24, 3, stride=2, padding=1),
            nn.BatchNorm2d(24),
            nn.ELU(),
            nn.Conv2d(24, 48, 3, stride=2, padding=1),
            nn.BatchNorm2d(48),
            nn.ELU(),
            nn.Conv2d(48, 96, 3, stride=2, padding=1),
            nn.BatchNorm2d(96),
            nn.ELU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
        )
        self.embed = nn.Linear(384, dim)
        self.classify = nn.Linear(dim, n_classes)

    def forward(self, x):
        embedding = self.embed(self.trunk(x))
        return embedding, self.classify(torch.tanh(embedding)).softmax(dim=-1)


def main():
    torch.manual_seed(5)
    np.random.seed(5)
    train, val = read_photos()
    names = sorted({n for _, n in train})
    train_loader = DataLoader(train, batch_size=32, shuffle=True, drop_last=True, collate_fn=Collate(names, True))
    val_loader = DataLoader(val, batch_size=64, collate_fn=Collate(names, False))
    model = FruitNet(len(names))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for epoch in range(10):
        model.train()
        losses = []
        for x, y in train_loader:
            _, probabilities = model(x)
            loss = criterion(probabilities, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        model.eval()
        per_class = defaultdict(list)
        with torch.no_grad():
            for x, y in val_loader:
                for truth, guess in zip(y.tolist(), model(x)[1].argmax(1).tolist(), strict=True):
                    per_class[names[truth]].append(truth == guess)
        acc = np.mean([hit for hits in per_class.values() for hit in hits])
        print(f"epoch {epoch} loss {np.mean(losses):.3f} val acc {acc:.3f} over {len(per_class)} fruits")


if __name__ == "__main__":
    main()
