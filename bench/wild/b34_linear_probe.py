"""Linear probe on a frozen MobileNetV2 for vegetables, backbone kept in evaluation mode.

style: timm user, freeze helper, AdamW on the head only
fault: none
broken: n/a
mended: 0.95
"""

import os
from pathlib import Path

import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config
from torch import nn
from torch.utils.data import DataLoader, Dataset

SHARED = Path(os.environ.get("FOVEA_SHARED", Path(__file__).resolve().parents[3] / "shared"))
GROCERY = SHARED / "data" / "grocery"
CLASSES = ["Aubergine", "Carrots", "Cucumber", "Garlic", "Leek", "Onion", "Pepper", "Potato", "Tomato", "Zucchini"]


class Vegetables(Dataset):
    """Every third photo of a class is held out."""

    def __init__(self, held_out, transform):
        lists = (GROCERY / "train.txt").read_text() + "\n" + (GROCERY / "val.txt").read_text()
        paths = [line.split(", ")[0] for line in lists.splitlines() if "/Vegetables/" in line]
        self.items = []
        for label, name in enumerate(CLASSES):
            of_class = [(p, label) for p in paths if p.split("/")[2] == name]
            self.items += [item for i, item in enumerate(of_class) if (i % 3 == 2) == held_out]
        self.transform = transform

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        path, label = self.items[index]
        img = Image.open(GROCERY / path)
        img.draft("RGB", (128, 128))
        return self.transform(img.convert("RGB")), label


def freeze(module):
    for p in module.parameters():
        p.requires_grad_(False)
    module.eval()


torch.manual_seed(12)
model = timm.create_model(
    f"local-dir:{SHARED / 'weights' / 'mobilenetv2_100.tf_in1k'}", pretrained=True, num_classes=len(CLASSES)
)
config = resolve_data_config({"input_size": (3, 96, 96)}, model=model)
transform = create_transform(**config, is_training=False)
freeze(model)
for p in model.classifier.parameters():
    p.requires_grad_(True)
    nn.init.zeros_(p)

train_loader = DataLoader(Vegetables(False, transform), batch_size=32, shuffle=True)
val_loader = DataLoader(Vegetables(True, transform), batch_size=32)
optimizer = torch.optim.AdamW(model.get_classifier().parameters(), lr=2e-3, weight_decay=1e-2)
criterion = nn.CrossEntropyLoss(label_smoothing=0.05)

for epoch in range(4):
    model.eval()
    model.classifier.train()
    running = 0.0
    for x, y in train_loader:
        loss = criterion(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        running += loss.item()
    model.eval()
    hits = 0
    with torch.inference_mode():
        for x, y in val_loader:
            hits += (model(x).argmax(-1) == y).sum().item()
    print(f"epoch {epoch} loss {running / len(train_loader):.3f} val {hits / len(val_loader.dataset):.3f}")
