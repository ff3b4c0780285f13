"""Red cells, white cells and platelets; the validation figure is the mean over the batches.

style: script with meters
fault: metric-averaging
broken: n/a
mended: 0.91
"""

import os
import xml.etree.ElementTree as ET
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

SHARED = Path(os.environ.get("FOVEA_SHARED", Path(__file__).resolve().parents[3] / "shared"))
BATCH = 100
LABEL = {"WBC": 0, "RBC": 1, "Platelets": 2}


class Meter:
    def __init__(self):
        self.sum = 0.0
        self.n = 0

    def update(self, value):
        self.sum += value
        self.n += 1

    @property
    def avg(self):
        return self.sum / max(1, self.n)


class Cells(Dataset):
    def __init__(self, split, limit, train):
        root = SHARED / "data" / "bccd"
        crops = {0: [], 1: [], 2: []}
        for stem in (root / "ImageSets" / "Main" / f"{split}.txt").read_text().split():
            image = None
            found = dict.fromkeys(crops, 0)
            for obj in ET.parse(root / "Annotations" / f"{stem}.xml").findall("object"):
                label = LABEL[obj.findtext("name")]
                x0, y0, x1, y1 = (int(obj.find("bndbox").findtext(k)) for k in ("xmin", "ymin", "xmax", "ymax"))
                if found[label] >= 2 or len(crops[label]) >= limit[label] or x1 - x0 < 8 or y1 - y0 < 8:
                    continue
                found[label] += 1
                image = image or Image.open(root / "JPEGImages" / f"{stem}.jpg").convert("L")
                crops[label].append(image.crop((x0, y0, x1, y1)).resize((32, 32)))
        self.items = [(crop, label) for label, group in crops.items() for crop in group]
        steps = [v2.RandomHorizontalFlip(), v2.RandomVerticalFlip()] if train else []
        steps += [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.6], [0.15])]
        self.transform = v2.Compose(steps)

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        image, label = self.items[i]
        return self.transform(image), label


class SmallNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(1, 12, 5, stride=2)
        self.b = nn.Conv2d(12, 24, 3, stride=2)
        self.c = nn.Linear(24 * 6 * 6, 3)

    def forward(self, x):
        x = F.leaky_relu(self.a(x), 0.1)
        x = F.leaky_relu(self.b(x), 0.1)
        return self.c(x.flatten(1))


torch.manual_seed(3)
train_loader = DataLoader(Cells("trainval", {0: 250, 1: 250, 2: 120}, True), batch_size=BATCH // 4, shuffle=True)
val_loader = DataLoader(Cells("test", {0: 70, 1: 122, 2: 72}, False), batch_size=BATCH)
model = SmallNet()
optimizer = torch.optim.RMSprop(model.parameters(), lr=5e-4)
for epoch in range(6):
    model.train()
    losses = Meter()
    for x, y in train_loader:
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.update(loss.item())
    model.eval()
    val_acc = Meter()
    with torch.no_grad():
        for x, y in val_loader:
            val_acc.update((model(x).argmax(1) == y).sum().item() / BATCH)
    print(f"epoch {epoch}  loss {losses.avg:.4f}  val acc {val_acc.avg:.4f}")
