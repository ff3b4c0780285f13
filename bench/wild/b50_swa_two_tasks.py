"""Kind of grocery and family at once, learning rate range test first, averaged weights at the end.

style: multi-task, LR finder with the weights put back, SWA with update_bn, no decay on biases
fault: none
broken: n/a
mended: 0.89
"""

import copy
import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.optim.swa_utils import SWALR, AveragedModel, update_bn
from torch.utils.data import DataLoader, TensorDataset

GROCERY = Path(os.environ.get("FOVEA_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "data" / "grocery"
KINDS = ["Apple", "Pear", "Melon", "Juice", "Milk", "Yoghurt", "Pepper", "Potato", "Tomato"]
FAMILIES = ["Fruit", "Packages", "Vegetables"]


def load(split):
    xs, kinds, families = [], [], []
    lines = [line for name in ("train", "val") for line in (GROCERY / f"{name}.txt").read_text().splitlines()]
    for kind in KINDS:
        of_kind = [p for p in (line.split(", ")[0].split("/") for line in lines) if p[2] == kind]
        for parts in [p for i, p in enumerate(of_kind) if (i % 4 == 0) == (split == "val")]:
            img = Image.open(GROCERY.joinpath(*parts))
            img.draft("RGB", (72, 72))
            xs.append(np.asarray(img.convert("RGB").resize((36, 36), Image.BILINEAR)))
            kinds.append(KINDS.index(parts[2]))
            families.append(FAMILIES.index(parts[1]))
    x = torch.from_numpy(np.stack(xs)).permute(0, 3, 1, 2).float() / 255
    return TensorDataset((x - 0.5) / 0.25, torch.tensor(kinds), torch.tensor(families))


class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        layers, c = [], 3
        for o in (24, 48, 72):
            layers += [nn.Conv2d(c, o, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU()]
            c = o
        self.trunk = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Dropout(0.3))
        self.kind = nn.Linear(72 * 9, len(KINDS))
        self.family = nn.Linear(72 * 9, len(FAMILIES))

    def forward(self, x):
        h = self.trunk(x)
        return self.kind(h), self.family(h)


class MultiTaskLoss(nn.Module):
    def __init__(self, weight=0.3):
        super().__init__()
        self.weight, self.ce = weight, nn.CrossEntropyLoss()

    def forward(self, outputs, kinds, families):
        return self.ce(outputs[0], kinds) + self.weight * self.ce(outputs[1], families)


def make_optimizer(model, lr):
    decay = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decay, "weight_decay": 5e-4}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=lr, momentum=0.9)


def range_test(model, criterion, loader, low=1e-3, high=1.0, steps=30):
    start = copy.deepcopy(model.state_dict())
    optimizer = make_optimizer(model, low)
    losses, rates, batches = [], np.geomspace(low, high, steps), iter(loader)
    for lr in rates:
        for group in optimizer.param_groups:
            group["lr"] = lr
        x, k, f = next(batches)
        loss = criterion(model(x), k, f)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    model.load_state_dict(start)
    smooth = np.convolve(losses, np.ones(5) / 5, mode="valid")
    return rates[int(smooth.argmin()) + 2] / 5


def accuracy(model, loader):
    model.eval()
    with torch.no_grad():
        return sum((model(x)[0].argmax(1) == k).sum().item() for x, k, _ in loader) / len(loader.dataset)


def main():
    torch.manual_seed(81)
    train = DataLoader(load("train"), batch_size=32, shuffle=True, drop_last=True)
    val = DataLoader(load("val"), batch_size=64)
    model, criterion = TwoHeads(), MultiTaskLoss()
    lr = range_test(model, criterion, train)
    print(f"learning rate from the range test {lr:.4f}")
    optimizer = make_optimizer(model, lr)
    averaged = AveragedModel(model)
    swa = SWALR(optimizer, swa_lr=lr / 2, anneal_epochs=1)
    for epoch in range(10):
        model.train()
        losses = []
        for x, k, f in train:
            loss = criterion(model(x), k, f)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        if epoch >= 6:
            averaged.update_parameters(model)
            swa.step()
        print(f"epoch {epoch} loss {np.mean(losses):.3f} val accuracy {accuracy(model, val):.3f}")
    update_bn(train, averaged)
    print(f"averaged weights {accuracy(averaged, val):.3f}")


if __name__ == "__main__":
    main()
