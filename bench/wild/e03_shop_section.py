"""Section of the shop (fruit, packages, vegetables) from a pretrained MobileNet with a slim neck.

style: transfer learning, timm backbone with cached features, neck + classifier, AdamW, notebook-like
fault: frozen-parameters
broken: 0.760
mended: 0.926
"""

import os
from pathlib import Path

import timm
import torch
import torch.nn as nn
from PIL import Image
from safetensors.torch import load_file
from torchvision import transforms

torch.manual_seed(0)
SHARED = Path(os.environ["FOVEA_SHARED"])
ROOT = SHARED / "data" / "grocery"
SECTIONS = ["Fruit", "Packages", "Vegetables"]

# ---- data -------------------------------------------------------------------------------------
prep = transforms.Compose(
    [
        transforms.Resize(128),
        transforms.CenterCrop(128),
        transforms.ToTensor(),
        transforms.Normalize([0.5] * 3, [0.5] * 3),
    ]
)


def read_list(name, every=1):
    rows = [line.split(",")[0].strip() for line in open(ROOT / name) if line.strip()]
    return [(ROOT / p, SECTIONS.index(p.split("/")[1])) for p in rows[::every]]


# ---- model ------------------------------------------------------------------------------------
class SectionNet(nn.Module):
    def __init__(self, n_classes, width=32):
        super().__init__()
        self.backbone = timm.create_model("mobilenetv2_100", pretrained=False, pad_type="same")
        self.backbone.load_state_dict(load_file(str(SHARED / "weights/mobilenetv2_100.tf_in1k/model.safetensors")))
        self.backbone.reset_classifier(0)
        self.neck = nn.Sequential(nn.Linear(1280, width, bias=False), nn.BatchNorm1d(width), nn.ReLU())
        self.fc = nn.Linear(width, n_classes)

    def head(self, f):
        return self.fc(self.neck(f))

    def forward(self, x):
        return self.head(self.backbone(x))


model = SectionNet(len(SECTIONS))
# the ImageNet part stays as it is, we only train what is new
for name, p in model.named_parameters():
    p.requires_grad = name.startswith("fc")


@torch.no_grad()
def extract(items):
    model.backbone.eval()
    feats = []
    for i in range(0, len(items), 64):
        batch = torch.stack([prep(Image.open(p).convert("RGB")) for p, _ in items[i : i + 64]])
        feats.append(model.backbone(batch))
    return torch.cat(feats), torch.tensor([t for _, t in items])


train_f, train_y = extract(read_list("train.txt", every=2))
val_f, val_y = extract(read_list("val.txt"))
print("train", tuple(train_f.shape), "val", tuple(val_f.shape), "counts", train_y.bincount().tolist())

# ---- training ---------------------------------------------------------------------------------
weights = len(train_y) / (3 * train_y.bincount().float())
criterion = nn.CrossEntropyLoss(weight=weights)
optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-3, weight_decay=1e-2)


def accuracy():
    model.neck.eval()
    with torch.no_grad():
        return (model.head(val_f).argmax(1) == val_y).float().mean().item()


for epoch in range(12):
    model.neck.train()
    order = torch.randperm(len(train_y))
    running = 0.0
    for idx in order.split(64):
        if len(idx) < 16:
            continue
        optimizer.zero_grad()
        loss = criterion(model.head(train_f[idx]), train_y[idx])
        loss.backward()
        optimizer.step()
        running += loss.item() * len(idx)
    print(f"[{epoch + 1:02d}] train loss {running / len(train_y):.4f}  val acc {accuracy():.3f}")
print("final accuracy on val.txt:", round(accuracy(), 3))
