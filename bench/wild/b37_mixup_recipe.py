"""Groceries with mixup, label smoothing and a good deal of augmentation; training accuracy below validation.

style: kaggle kernel, CFG class, soft-target loss module, cosine with warm-up
fault: none
broken: n/a
mended: 0.82
"""

import os
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as T


class CFG:
    root = Path(os.environ.get("FOVEA_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "data" / "grocery"
    names = ["Apple", "Juice", "Melon", "Milk", "Pepper", "Tomato", "Potato", "Banana"]
    size = 40
    bs = 32
    epochs = 10
    lr = 3e-3
    alpha = 0.3
    smoothing = 0.1
    seed = 2024


class GroceryDataset(Dataset):
    def __init__(self, split, tf):
        self.tf, self.images, self.labels = tf, [], []
        lines = [line for name in ("train", "val") for line in (CFG.root / f"{name}.txt").read_text().splitlines()]
        for label, name in enumerate(CFG.names):
            paths = [p for p in (line.split(", ")[0] for line in lines) if p.split("/")[2] == name]
            for path in [p for i, p in enumerate(paths) if (i % 4 == 1) == (split == "valid")]:
                img = Image.open(CFG.root / path)
                img.draft("RGB", (96, 96))
                self.images.append(img.convert("RGB").resize((48, 48), Image.BILINEAR))
                self.labels.append(label)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return {"image": self.tf(self.images[i]), "label": self.labels[i]}


train_tf = T.Compose(
    [
        T.RandomResizedCrop(CFG.size, scale=(0.5, 1.0)),
        T.RandomHorizontalFlip(),
        T.ColorJitter(0.2, 0.2, 0.2),
        T.ToTensor(),
        T.Normalize([0.5] * 3, [0.25] * 3),
        T.RandomErasing(p=0.25, scale=(0.02, 0.15)),
    ]
)
valid_tf = T.Compose([T.Resize(CFG.size), T.ToTensor(), T.Normalize([0.5] * 3, [0.25] * 3)])


class SoftTargetCE(nn.Module):
    def forward(self, logits, target):
        return -(target * F.log_softmax(logits, dim=1)).sum(1).mean()


def mixup(x, y):
    target = F.one_hot(y, len(CFG.names)).float()
    target = target * (1 - CFG.smoothing) + CFG.smoothing / len(CFG.names)
    lam = np.random.beta(CFG.alpha, CFG.alpha)
    perm = torch.randperm(len(x))
    return lam * x + (1 - lam) * x[perm], lam * target + (1 - lam) * target[perm]


def cbr(i, o, s):
    return nn.Sequential(nn.Conv2d(i, o, 3, s, 1, bias=False), nn.BatchNorm2d(o), nn.SiLU())


def main():
    torch.manual_seed(CFG.seed)
    np.random.seed(CFG.seed)
    train = DataLoader(GroceryDataset("train", train_tf), batch_size=CFG.bs, shuffle=True, drop_last=True)
    valid = DataLoader(GroceryDataset("valid", valid_tf), batch_size=CFG.bs)
    model = nn.Sequential(
        cbr(3, 24, 2), cbr(24, 48, 2), cbr(48, 96, 2), nn.Flatten(), nn.Dropout(0.2), nn.Linear(2400, len(CFG.names))
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=CFG.lr, weight_decay=0.05)
    steps = CFG.epochs * len(train)
    warm = len(train)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda s: (s + 1) / warm if s < warm else 0.5 * (1 + np.cos(np.pi * (s - warm) / (steps - warm))),
    )
    criterion = SoftTargetCE()
    for epoch in range(CFG.epochs):
        model.train()
        total = 0.0
        for batch in train:
            x, target = mixup(batch["image"], batch["label"])
            loss = criterion(model(x), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            total += loss.item()
        model.eval()
        with torch.no_grad():
            hits = sum((model(b["image"]).argmax(1) == b["label"]).sum().item() for b in valid)
        print(f"epoch {epoch} loss {total / len(train):.3f} valid acc {hits / len(valid.dataset):.3f}")


if __name__ == "__main__":
    main()
