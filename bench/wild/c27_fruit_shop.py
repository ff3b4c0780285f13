"""Real photos of five groups of groceries; the epoch with the best validation accuracy is kept and reported.

style: blog tutorial, train_test_split on paths, best checkpoint in memory
fault: validation-too-small
broken: 1.00
mended: 0.90
"""

import copy
import os
from collections import Counter
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
from PIL import Image
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader, Dataset

torch.set_num_threads(1)
SHARED = Path(os.environ.get("FOVEA_SHARED", Path(__file__).resolve().parents[3] / "shared"))
ROOT = SHARED / "data" / "grocery"
N_GROUPS, PER_GROUP, SIZE = 5, 110, 32


def list_photos():
    rows = [line.split(", ") for line in (ROOT / "train.txt").read_text().splitlines()]
    groups = [g for g, _ in Counter(r[2] for r in rows).most_common(N_GROUPS)]
    rng = np.random.default_rng(0)
    paths, labels = [], []
    for label, group in enumerate(sorted(groups, key=int)):
        members = [r[0] for r in rows if r[2] == group]
        for path in rng.permutation(members)[:PER_GROUP]:
            paths.append(str(path))
            labels.append(label)
    return paths, labels


class Photos(Dataset):
    def __init__(self, paths, labels, flip):
        self.labels, self.flip, self.arrays = labels, flip, []
        for path in paths:
            image = Image.open(ROOT / path)
            image.draft("RGB", (64, 64))
            self.arrays.append(np.asarray(image.convert("RGB").resize((SIZE, SIZE), Image.BOX)))

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        x = torch.from_numpy(self.arrays[i].copy()).permute(2, 0, 1).float() / 255
        if self.flip and torch.rand(()) < 0.5:
            x = x.flip(2)
        return (x - 0.45) / 0.25, self.labels[i]


def make_model():
    layers, cin = [], 3
    for cout in (16, 32, 64):
        layers += [nn.Conv2d(cin, cout, 3, padding=1, bias=False), nn.BatchNorm2d(cout), nn.ReLU(), nn.MaxPool2d(2)]
        cin = cout
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(cin, N_GROUPS))


def accuracy(model, loader):
    model.eval()
    with torch.no_grad():
        return torch.cat([model(x).argmax(1) == y for x, y in loader]).float().mean().item()


def main():
    torch.manual_seed(0)
    paths, labels = list_photos()
    train_p, val_p, train_y, val_y = train_test_split(paths, labels, test_size=15, stratify=labels, random_state=1)
    train_loader = DataLoader(Photos(train_p, train_y, flip=True), batch_size=25, shuffle=True)
    val_loader = DataLoader(Photos(val_p, val_y, flip=False), batch_size=50)
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, weight_decay=1e-4)
    best_acc, best_state = 0.0, None
    for epoch in range(12):
        model.train()
        running = 0.0
        for x, y in train_loader:
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            running += loss.item() * len(y)
        val_acc = accuracy(model, val_loader)
        print(f"epoch {epoch + 1}: train loss {running / len(train_p):.3f}, val accuracy {val_acc:.3f}")
        if val_acc > best_acc:
            best_acc, best_state = val_acc, copy.deepcopy(model.state_dict())
    model.load_state_dict(best_state)
    print(f"best validation accuracy {best_acc:.3f}")


if __name__ == "__main__":
    main()
