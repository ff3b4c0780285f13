"""We tag shelf photos by department (three of them) for the replenishment service, MobileNetV2 backbone,
everything built from the config so that the platform team can swap parts.

style: startup production repository, config + registry + hooks
fault: train-eval-transform
broken: 0.544
mended: 0.743
"""

from __future__ import annotations

import os
import random
import time
from collections import defaultdict

import numpy as np
import timm
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

SHARED = os.environ["FOVEA_SHARED"]
ROOT = SHARED + "/data/grocery"

# ------------------------------------------------------------------ config
img_norm_cfg = dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5])
CFG = dict(
    seed=7,
    groups=["Fruit", "Packages", "Vegetables"],
    per_group=100,
    train_pipeline=[
        dict(type="Load", size=(64, 64)),
        dict(type="RandomFlip", prob=0.5),
        dict(type="Normalize", **img_norm_cfg),
        dict(type="Pack"),
    ],
    val_pipeline=[
        dict(type="Load", size=(64, 64)),
        dict(type="Normalize"),
        dict(type="Pack"),
    ],
    loader=dict(batch_size=30),
    model=dict(name="mobilenetv2_100", head_std=0.01),
    optim=dict(lr=4e-4, weight_decay=1e-2),
    epochs=5,
    hooks=[dict(type="CosineLR"), dict(type="TextLogger", every=1)],
)

REGISTRY: dict[str, type] = {}


def register(cls):
    REGISTRY[cls.__name__] = cls
    return cls


def build(spec, **extra):
    spec = dict(spec)
    return REGISTRY[spec.pop("type")](**spec, **extra)


# ------------------------------------------------------------------ pipeline
@register
class Load:
    def __init__(self, size):
        self.size = size

    def __call__(self, path):
        with Image.open(path) as im:
            im.draft("RGB", (160, 160))
            return np.asarray(im.convert("RGB").resize(self.size, Image.BILINEAR), np.float32)


@register
class RandomFlip:
    def __init__(self, prob):
        self.prob = prob

    def __call__(self, img):
        return img[:, ::-1] if random.random() < self.prob else img


@register
class Normalize:
    def __init__(self, mean=(0.0, 0.0, 0.0), std=(255.0, 255.0, 255.0)):
        self.mean, self.std = np.float32(mean), np.float32(std)

    def __call__(self, img):
        return (img - self.mean) / self.std


@register
class Pack:
    def __call__(self, img):
        return torch.from_numpy(np.ascontiguousarray(img.transpose(2, 0, 1)))


class ShelfDataset(Dataset):
    def __init__(self, split, pipeline, groups, limit=None):
        self.steps = [build(s) for s in pipeline]
        rows = defaultdict(list)
        with open(f"{ROOT}/{split}.txt") as fh:
            for line in fh:
                path = line.split(",")[0].strip()
                group = path.split("/")[1]
                if group in groups:
                    rows[group].append(path)
        self.items = []
        for k, g in enumerate(groups):
            chosen = rows[g]
            if limit:
                chosen = random.Random(k).sample(chosen, min(limit, len(chosen)))
            self.items += [(f"{ROOT}/{p}", k) for p in chosen]

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        x, y = self.items[i]
        for step in self.steps:
            x = step(x)
        return x, y


# ------------------------------------------------------------------ hooks
@register
class CosineLR:
    def before_epoch(self, run):
        t = run.epoch / run.cfg["epochs"]
        for g in run.opt.param_groups:
            g["lr"] = run.cfg["optim"]["lr"] * 0.5 * (1 + np.cos(np.pi * t))

    def after_epoch(self, run):
        pass


@register
class TextLogger:
    def __init__(self, every):
        self.every = every

    def before_epoch(self, run):
        self.t = time.time()

    def after_epoch(self, run):
        if run.epoch % self.every == 0:
            print(f"[{run.epoch}] loss {run.loss:.3f} ({time.time() - self.t:.1f}s)", flush=True)


class Runner:
    def __init__(self, cfg):
        self.cfg = cfg
        random.seed(cfg["seed"])
        torch.manual_seed(cfg["seed"])
        self.train_set = ShelfDataset("train", cfg["train_pipeline"], cfg["groups"], cfg["per_group"])
        self.val_set = ShelfDataset("val", cfg["val_pipeline"], cfg["groups"])
        self.model = timm.create_model(
            cfg["model"]["name"],
            pretrained=True,
            num_classes=len(cfg["groups"]),
            pretrained_cfg_overlay=dict(file=SHARED + "/weights/mobilenetv2_100.tf_in1k/model.safetensors"),
        )
        nn.init.normal_(self.model.classifier.weight, std=cfg["model"]["head_std"])
        nn.init.zeros_(self.model.classifier.bias)
        self.opt = torch.optim.AdamW(self.model.parameters(), **cfg["optim"])
        self.hooks = [build(h) for h in cfg["hooks"]]
        self.criterion = nn.CrossEntropyLoss()

    def fire(self, event):
        for h in self.hooks:
            getattr(h, event)(self)

    def train(self):
        loader = DataLoader(self.train_set, shuffle=True, drop_last=True, **self.cfg["loader"])
        for self.epoch in range(self.cfg["epochs"]):
            self.fire("before_epoch")
            self.model.train()
            total = 0.0
            for x, y in loader:
                loss = self.criterion(self.model(x), y)
                self.opt.zero_grad()
                loss.backward()
                self.opt.step()
                total += loss.item()
            self.loss = total / len(loader)
            self.fire("after_epoch")

    @torch.no_grad()
    def evaluate(self):
        self.model.eval()
        hits = sum(
            (self.model(x).argmax(1) == y).sum().item() for x, y in DataLoader(self.val_set, **self.cfg["loader"])
        )
        return hits / len(self.val_set)


if __name__ == "__main__":
    runner = Runner(CFG)
    runner.train()
    print(f"val/top1 {runner.evaluate():.3f}")
