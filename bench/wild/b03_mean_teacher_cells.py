"""Blood cell crops with an averaged copy of the weights, which is the model that gets validated and saved.

style: research code, engine functions with AverageMeter, averaged teacher
source: https://github.com/CuriousAI/mean-teacher/issues/9
fault: batchnorm-mode
broken: 0.54
mended: 0.99
"""

import copy
import os
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

ROOT = Path(os.environ.get("FOVEA_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "data" / "bccd"
CLASSES = {"RBC": 0, "WBC": 1, "Platelets": 2}


class AverageMeter:
    def __init__(self):
        self.sum = self.count = 0

    def update(self, value, n):
        self.sum += value * n
        self.count += n

    @property
    def avg(self):
        return self.sum / max(self.count, 1)


class CellCrops(Dataset):
    """Square crops around the annotated cells; at most `per_image` red cells of each image."""

    def __init__(self, split, per_image=2, size=32, train=False):
        names = (ROOT / "ImageSets" / "Main" / f"{split}.txt").read_text().split()
        self.items, self.train = [], train
        for name in names:
            image = Image.open(ROOT / "JPEGImages" / f"{name}.jpg").convert("RGB")
            seen = 0
            for obj in ET.parse(ROOT / "Annotations" / f"{name}.xml").getroot().iter("object"):
                kind = obj.findtext("name")
                if kind == "RBC":
                    seen += 1
                    if seen > per_image:
                        continue
                box = [int(float(obj.find("bndbox").findtext(k))) for k in ("xmin", "ymin", "xmax", "ymax")]
                if box[2] - box[0] < 4 or box[3] - box[1] < 4:
                    continue
                cx, cy = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
                crop = image.crop((int(cx - 48), int(cy - 48), int(cx + 48), int(cy + 48)))
                self.items.append((np.asarray(crop.resize((size, size), Image.BILINEAR)), CLASSES[kind]))

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        array, label = self.items[i]
        x = torch.from_numpy(array.copy()).permute(2, 0, 1).float().div(255)
        if self.train and torch.rand(1) < 0.5:
            x = x.flip(-1)
        return (x - 0.7) / 0.15, label


class ConvBNReLU(nn.Sequential):
    def __init__(self, cin, cout, stride=1):
        super().__init__(nn.Conv2d(cin, cout, 3, stride, 1, bias=False), nn.BatchNorm2d(cout), nn.ReLU(inplace=True))


def build_model():
    return nn.Sequential(
        ConvBNReLU(3, 16),
        ConvBNReLU(16, 32, 2),
        ConvBNReLU(32, 48, 2),
        ConvBNReLU(48, 64, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, len(CLASSES)),
    )


@torch.no_grad()
def update_ema_variables(model, ema_model, alpha, step):
    alpha = min(1 - 1 / (step + 1), alpha)
    for ema_param, param in zip(ema_model.parameters(), model.parameters(), strict=True):
        ema_param.mul_(alpha).add_(param, alpha=1 - alpha)


def train_one_epoch(model, ema_model, loader, optimizer, step):
    model.train()
    losses, top1 = AverageMeter(), AverageMeter()
    for x, y in loader:
        logits = model(x)
        loss = F.cross_entropy(logits, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        update_ema_variables(model, ema_model, 0.97, step)
        losses.update(loss.item(), len(y))
        top1.update((logits.argmax(1) == y).float().mean().item(), len(y))
    return losses.avg, top1.avg, step


@torch.no_grad()
def validate(model, loader):
    model.eval()
    losses, top1 = AverageMeter(), AverageMeter()
    for x, y in loader:
        logits = model(x)
        losses.update(F.cross_entropy(logits, y).item(), len(y))
        top1.update((logits.argmax(1) == y).float().mean().item(), len(y))
    return losses.avg, top1.avg


def main():
    torch.manual_seed(7)
    train_set, val_set = CellCrops("train", train=True), CellCrops("val")
    print(f"{len(train_set)} training crops, {len(val_set)} validation crops")
    train_loader = DataLoader(train_set, batch_size=32, shuffle=True, drop_last=True)
    val_loader = DataLoader(val_set, batch_size=64)

    model = build_model()
    ema_model = copy.deepcopy(model)
    for p in ema_model.parameters():
        p.requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)

    best, step = 0.0, 0
    with tempfile.TemporaryDirectory() as folder:
        for epoch in range(6):
            loss, acc, step = train_one_epoch(model, ema_model, train_loader, optimizer, step)
            val_loss, val_acc = validate(ema_model, val_loader)
            print(f"epoch {epoch}: loss {loss:.3f} acc {acc:.3f} | teacher loss {val_loss:.3f} acc {val_acc:.3f}")
            if val_acc >= best:
                best = val_acc
                torch.save(ema_model.state_dict(), Path(folder) / "best.pt")
        ema_model.load_state_dict(torch.load(Path(folder) / "best.pt"))
    print(f"final accuracy of the saved model: {validate(ema_model, val_loader)[1]:.3f}")


if __name__ == "__main__":
    main()
