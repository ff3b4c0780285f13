"""Groceries on a shelf: MobileNetV2 fine-tuned to tell which aisle a product belongs to.

style: config dict, torchvision transforms v1, own Dataset reading a list file
fault: train-eval-transform
accept: not-normalised
broken: 0.463
mended: 0.716
"""

import os
import random

import numpy as np
import timm
import torch
import torch.nn as nn
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as T

AISLES = ("Fruit", "Packages", "Vegetables")
CFG = dict(
    root=os.path.join(os.environ["FOVEA_SHARED"], "data", "grocery"),
    weights=os.path.join(os.environ["FOVEA_SHARED"], "weights", "mobilenetv2_100.tf_in1k"),
    size=64,
    batch_size=16,
    epochs=2,
    lr_head=1e-3,
    lr_body=2e-4,
    weight_decay=1e-4,
    seed=3,
)


def seed_everything(seed):
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


class ShelfDataset(Dataset):
    def __init__(self, root, split, transform):
        self.root, self.transform = root, transform
        self.items = []
        with open(os.path.join(root, split + ".txt")) as f:
            for line in f.readlines()[:: 2 if split == "train" else 1]:
                path = line.split(",")[0].strip()
                self.items.append((path, AISLES.index(path.split("/")[1])))
        self.cache = {}

    def __len__(self):
        return len(self.items)

    def read(self, path):
        if path not in self.cache:
            img = Image.open(os.path.join(self.root, path))
            img.draft("RGB", (116, 116))
            self.cache[path] = img.convert("RGB")
        return self.cache[path]

    def __getitem__(self, i):
        path, label = self.items[i]
        return self.transform(self.read(path)), label


def build_transforms(size, cfg):
    mean, std = cfg["mean"], cfg["std"]
    train_tf = T.Compose(
        [
            T.Resize(size + 12),
            T.RandomCrop(size),
            T.RandomHorizontalFlip(),
            T.ToTensor(),
            T.Normalize(mean, std),
        ]
    )
    val_tf = T.Compose(
        [
            T.Resize(size + 12),
            T.CenterCrop(size),
            T.ToTensor(),
        ]
    )
    return train_tf, val_tf


def build_model(cfg, n_classes):
    model = timm.create_model("local-dir:" + cfg["weights"], pretrained=True)
    width = model.classifier.in_features
    model.classifier = nn.Sequential(nn.BatchNorm1d(width), nn.Dropout(0.2), nn.Linear(width, n_classes))
    return model


@torch.no_grad()
def validate(model, loader, criterion):
    model.eval()
    loss_sum, hit, n = 0.0, 0, 0
    for x, y in loader:
        out = model(x)
        loss_sum += criterion(out, y).item() * len(y)
        hit += (out.argmax(1) == y).sum().item()
        n += len(y)
    return loss_sum / n, hit / n


def main(cfg):
    torch.set_num_threads(1)
    seed_everything(cfg["seed"])
    model = build_model(cfg, len(AISLES))
    train_tf, val_tf = build_transforms(cfg["size"], model.pretrained_cfg)
    train_ds = ShelfDataset(cfg["root"], "train", train_tf)
    val_ds = ShelfDataset(cfg["root"], "val", val_tf)
    train_dl = DataLoader(train_ds, cfg["batch_size"], shuffle=True, drop_last=True)
    val_dl = DataLoader(val_ds, 64)

    head = list(model.classifier.parameters())
    head_ids = {id(p) for p in head}
    body = [p for p in model.parameters() if id(p) not in head_ids]
    optimizer = torch.optim.AdamW(
        [
            {"params": body, "lr": cfg["lr_body"]},
            {"params": head, "lr": cfg["lr_head"]},
        ],
        weight_decay=cfg["weight_decay"],
    )
    total = cfg["epochs"] * len(train_dl)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=total)
    criterion = nn.CrossEntropyLoss()

    for epoch in range(cfg["epochs"]):
        model.train()
        run, hit, n = 0.0, 0, 0
        for x, y in train_dl:
            optimizer.zero_grad()
            out = model(x)
            loss = criterion(out, y)
            loss.backward()
            optimizer.step()
            scheduler.step()
            run += loss.item() * len(y)
            hit += (out.argmax(1) == y).sum().item()
            n += len(y)
        vl, va = validate(model, val_dl, criterion)
        print(
            f"epoch {epoch + 1}: train loss {run / n:.3f} acc {hit / n:.3f} | val loss {vl:.3f} acc {va:.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main(CFG)
