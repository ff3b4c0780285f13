"""Shelf a product belongs on, from a pretrained MobileNet, head first and then the last stage.

style: transfer learning in two phases, early stages frozen on purpose and cached, class-weighted loss, parameter groups
fault: none
broken: n/a
mended: 0.865
"""

import os
from collections import Counter
from pathlib import Path

import timm
import torch
import torch.nn as nn
from PIL import Image
from torchvision import transforms as T

SHARED = Path(os.environ["FOVEA_SHARED"])
ROOT = SHARED / "data/grocery"
torch.manual_seed(26)

SHELVES = ["citrus", "other fruit", "juice", "dairy and the like", "vegetables"]
CITRUS = {"Lemon", "Lime", "Orange", "Red-Grapefruit", "Satsumas"}


def shelf(path):
    _, section, kind = path.split("/")[:3]
    if section == "Fruit":
        return 0 if kind in CITRUS else 1
    if section == "Packages":
        return 2 if kind == "Juice" else 3
    return 4


prep = T.Compose(
    [T.Resize(128, T.InterpolationMode.BICUBIC), T.CenterCrop(128), T.ToTensor(), T.Normalize((0.5,) * 3, (0.5,) * 3)]
)


def items(name, every=1):
    for line in open(ROOT / name).read().splitlines()[::every]:
        path = line.split(",")[0].strip()
        yield ROOT / path, shelf(path)


net = timm.create_model(
    "mobilenetv2_100",
    pretrained=True,
    num_classes=0,
    pad_type="same",
    pretrained_cfg_overlay=dict(file=str(SHARED / "weights/mobilenetv2_100.tf_in1k/model.safetensors")),
)
stem = nn.Sequential(net.conv_stem, net.bn1, *net.blocks[:6]).eval().requires_grad_(False)


class Top(nn.Module):
    """What comes after the frozen stages."""

    def __init__(self):
        super().__init__()
        self.last, self.conv_head, self.bn2 = net.blocks[6], net.conv_head, net.bn2
        self.drop, self.fc = nn.Dropout(0.2), nn.Linear(net.num_features, len(SHELVES))

    def forward(self, x):
        x = self.bn2(self.conv_head(self.last(x)))
        return self.fc(self.drop(x.mean((2, 3))))


@torch.no_grad()
def cache(rows):
    rows, out = list(rows), []
    for i in range(0, len(rows), 48):
        out.append(stem(torch.stack([prep(Image.open(p).convert("RGB")) for p, _ in rows[i : i + 48]])))
    return torch.cat(out), torch.tensor([c for _, c in rows])


xt, yt = cache(items("train.txt", every=2))
xv, yv = cache(items("val.txt"))
count = Counter(yt.tolist())
weight = torch.tensor([len(yt) / (len(SHELVES) * count[c]) for c in range(len(SHELVES))])
print("train", tuple(xt.shape), "val", tuple(xv.shape), "rarest", min(count.values()), "commonest", max(count.values()))
top = Top()
criterion = nn.CrossEntropyLoss(weight=weight, label_smoothing=0.05)


def validate():
    top.eval()
    with torch.no_grad():
        pred = torch.cat([top(b) for b in xv.split(100)]).argmax(1)
    recall = torch.stack([(pred[yv == c] == c).float().mean() for c in yv.unique()]).mean().item()
    return (pred == yv).float().mean().item(), recall


def epochs(n, opt, sched, phase):
    for e in range(n):
        top.train()
        if phase == 1:  # the pretrained statistics stay as they are for now
            for m in (top.last, top.conv_head, top.bn2):
                m.eval()
        total = 0.0
        for idx in torch.randperm(len(yt)).split(44):
            opt.zero_grad()
            loss = criterion(top(xt[idx]), yt[idx])
            loss.backward()
            opt.step()
            total += loss.item() * len(idx)
        sched.step()
        acc, recall = validate()
        print(f"phase {phase} epoch {e + 1}: loss {total / len(yt):.4f}  acc {acc:.4f}  balanced {recall:.4f}")


for p in top.parameters():
    p.requires_grad_(False)
top.fc.requires_grad_(True)
opt = torch.optim.AdamW(top.fc.parameters(), lr=1e-3, weight_decay=1e-2)
epochs(8, opt, torch.optim.lr_scheduler.CosineAnnealingLR(opt, 8), phase=1)

top.requires_grad_(True)
opt = torch.optim.AdamW(
    [
        {"params": [p for n, p in top.named_parameters() if not n.startswith("fc")], "lr": 2e-4},
        {"params": top.fc.parameters(), "lr": 4e-4},
    ],
    weight_decay=1e-2,
)
epochs(7, opt, torch.optim.lr_scheduler.CosineAnnealingLR(opt, 7), phase=2)
acc, recall = validate()
print(f"final accuracy {acc:.4f}  balanced {recall:.4f}")
