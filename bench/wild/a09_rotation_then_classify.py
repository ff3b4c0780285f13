"""Pretrains a backbone by predicting rotations, then trains a classifier on it: head first, then everything.

style: argparse script with two stages
fault: frozen-parameters
accept: optimizer-misses-parameters
"""

import argparse
import os
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

SHARED = Path(os.environ.get("FOVEA_SHARED", Path(__file__).resolve().parents[3] / "shared"))
LABELS = [0, 7, 13, 18, 19, 20, 27, 38, 39, 41]  # coarse classes


def parse_args():
    parser = argparse.ArgumentParser()
    parser.add_argument("--pretrain-epochs", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--unfreeze-at", type=int, default=2, help="epoch at which the backbone is trained too")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def read_split(split, skip, stop):
    root, images, labels = SHARED / "data" / "grocery", [], []
    seen = dict.fromkeys(LABELS, 0)
    for line in (root / f"{split}.txt").read_text().splitlines():
        path, _, label = line.split(", ")
        label = int(label)
        if label not in LABELS:
            continue
        seen[label] += 1
        if not skip < seen[label] <= stop:
            continue
        image = Image.open(root / path)
        image.draft("RGB", (80, 80))
        images.append(np.asarray(image.convert("RGB").resize((40, 40))))
        labels.append(LABELS.index(label))
    x = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
    return (x - 0.45) / 0.25, torch.tensor(labels)


def block(c_in, c_out):
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, 3, padding=1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU(), nn.MaxPool2d(2)
    )


class Net(nn.Module):
    def __init__(self, out):
        super().__init__()
        self.backbone = nn.Sequential(block(3, 24), block(24, 48), block(48, 64), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(64, out)

    def forward(self, x):
        return self.head(self.backbone(x))


def epoch_of(model, optimizer, batches):
    model.train()
    for x, y in batches:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
    return loss.item()


def shuffled(x, y, size):
    return [(x[i], y[i]) for i in torch.randperm(len(x)).split(size)]


def rotated(x, size):
    batches = []
    for idx in torch.randperm(len(x)).split(size):
        k = torch.randint(0, 4, (len(idx),))
        batches.append((torch.stack([torch.rot90(x[i], int(r), (1, 2)) for i, r in zip(idx, k)]), k))
    return batches


def main(args):
    torch.manual_seed(args.seed)
    x_train, y_train = read_split("train", 0, 55)
    x_val, y_val = (torch.cat(p) for p in zip(read_split("val", 0, 60), read_split("train", 55, 85)))

    model = Net(4)
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    for epoch in range(args.pretrain_epochs):
        print(f"rotations, epoch {epoch}: loss {epoch_of(model, optimizer, rotated(x_train, args.batch_size)):.3f}")

    model.head = nn.Linear(64, len(LABELS))
    for p in model.backbone.parameters():
        p.requires_grad = False
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    for epoch in range(args.epochs):
        if epoch == args.unfreeze_at:
            for p in model.backbone.parameters():
                p.require_grad = True
        loss = epoch_of(model, optimizer, shuffled(x_train, y_train, args.batch_size))
        model.eval()
        with torch.no_grad():
            accuracy = (model(x_val).argmax(1) == y_val).float().mean()
        print(f"classes, epoch {epoch}: loss {loss:.3f}, accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main(parse_args())
