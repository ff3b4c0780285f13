"""Haematology course project: tell red cells, white cells and platelets apart from the BCCD boxes.
I cut every annotated cell out and train a small CNN on the crops.

style: bio student, VOC xml parsing, separate train/test transforms
fault: train-eval-transform
broken: 0.526
mended: 0.986
"""

import os
import random
import xml.etree.ElementTree as ET

import numpy as np
import torch
import torch.nn as nn
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

SHARED = os.environ["FOVEA_SHARED"]
ROOT = os.path.join(SHARED, "data", "bccd")
CELLS = ["RBC", "WBC", "Platelets"]
SIZE = 40

random.seed(3)
torch.manual_seed(3)


def read_ids(name):
    with open(os.path.join(ROOT, "ImageSets", "Main", name + ".txt")) as f:
        return [line.split()[0] for line in f if line.strip()]


def cut_cells(ids, max_rbc):
    """List of (PIL crop, label); red cells are capped because there are ten times too many."""
    crops = {c: [] for c in CELLS}
    for i in ids:
        image = Image.open(os.path.join(ROOT, "JPEGImages", i + ".jpg")).convert("RGB")
        for obj in ET.parse(os.path.join(ROOT, "Annotations", i + ".xml")).getroot().iter("object"):
            name = obj.find("name").text
            b = obj.find("bndbox")
            x0, y0, x1, y1 = (int(float(b.find(k).text)) for k in ("xmin", "ymin", "xmax", "ymax"))
            if x1 - x0 < 12 or y1 - y0 < 12:
                continue
            crops[name].append(image.crop((x0, y0, x1, y1)).resize((SIZE, SIZE), Image.BILINEAR))
    random.shuffle(crops["RBC"])
    crops["RBC"] = crops["RBC"][:max_rbc]
    return [(c, k) for k, n in enumerate(CELLS) for c in crops[n]]


class CellSet(Dataset):
    def __init__(self, cells, transform):
        self.cells, self.transform = cells, transform

    def __len__(self):
        return len(self.cells)

    def __getitem__(self, i):
        crop, label = self.cells[i]
        return self.transform(crop), label


train_cells = cut_cells(read_ids("trainval"), 300)
test_cells = cut_cells(read_ids("test"), 75)

# statistics of the training crops
stack = np.stack([np.asarray(c) for c, _ in train_cells]) / 255.0
mean = stack.mean(axis=(0, 1, 2))
std = stack.std(axis=(0, 1, 2))
print("crops:", len(train_cells), len(test_cells), " mean", mean.round(3), " std", std.round(3))

train_transform = transforms.Compose(
    [
        transforms.RandomHorizontalFlip(),
        transforms.RandomVerticalFlip(),
        transforms.ToTensor(),
        transforms.Normalize(mean.tolist(), std.tolist()),
    ]
)
test_transform = transforms.Compose(
    [
        transforms.ToTensor(),
        transforms.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    ]
)

trainloader = DataLoader(CellSet(train_cells, train_transform), batch_size=32, shuffle=True, num_workers=0)
testloader = DataLoader(CellSet(test_cells, test_transform), batch_size=64, shuffle=False, num_workers=0)


class CellNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(nn.Dropout(0.25), nn.Linear(32 * 5 * 5, 48), nn.ReLU(), nn.Linear(48, 3))

    def forward(self, x):
        return self.classifier(torch.flatten(self.features(x), 1))


net = CellNet()
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)

for epoch in range(12):
    net.train()
    running, right = 0.0, 0
    for inputs, labels in trainloader:
        optimizer.zero_grad()
        outputs = net(inputs)
        loss = criterion(outputs, labels)
        loss.backward()
        optimizer.step()
        running += loss.item() * len(labels)
        right += (outputs.argmax(1) == labels).sum().item()
    print(f"epoch {epoch + 1:2d} loss {running / len(train_cells):.3f} train acc {right / len(train_cells):.3f}")

net.eval()
confusion = np.zeros((3, 3), int)
with torch.no_grad():
    for inputs, labels in testloader:
        for t, p in zip(labels.tolist(), net(inputs).argmax(1).tolist()):
            confusion[t, p] += 1
print(confusion)
print("test accuracy: %.3f" % (np.trace(confusion) / confusion.sum()))
