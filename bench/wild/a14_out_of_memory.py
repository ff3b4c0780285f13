"""Blood cells at 64 px; the batch was made smaller until the training fitted into memory.

style: forum post ("CUDA out of memory, so I set batch_size to 2")
fault: batchnorm-small-batch
"""

import os
import random
import xml.etree.ElementTree as ET

import numpy as np
import torch
import torch.nn as nn
from PIL import Image
from torch.utils.data import DataLoader, Dataset

here = os.path.dirname(os.path.abspath(__file__))
shared = os.environ.get("FOVEA_SHARED", os.path.join(here, "..", "..", "..", "shared"))
bccd = os.path.join(shared, "data", "bccd")
names = {"RBC": 0, "WBC": 1, "Platelets": 2}


class BCCD(Dataset):
    def __init__(self, split, limit):
        self.data = []
        count = {0: 0, 1: 0, 2: 0}
        with open(os.path.join(bccd, "ImageSets", "Main", split + ".txt")) as f:
            stems = f.read().split()
        for stem in stems:
            img = Image.open(os.path.join(bccd, "JPEGImages", stem + ".jpg")).convert("RGB")
            per_image = {0: 0, 1: 0, 2: 0}
            for obj in ET.parse(os.path.join(bccd, "Annotations", stem + ".xml")).getroot().findall("object"):
                label = names[obj.find("name").text]
                box = [int(v.text) for v in obj.find("bndbox")]
                if per_image[label] == 2 or count[label] == limit or min(box[2] - box[0], box[3] - box[1]) < 10:
                    continue
                per_image[label] += 1
                count[label] += 1
                x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
                r = max(box[2] - box[0], box[3] - box[1]) / 2
                crop = img.crop((int(x - r), int(y - r), int(x + r), int(y + r))).resize((48, 48))
                a = np.asarray(crop, dtype=np.float32)
                self.data.append((torch.from_numpy((a - 150) / 50).permute(2, 0, 1), label))

    def __len__(self):
        return len(self.data)

    def __getitem__(self, i):
        return self.data[i]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, 2, 1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, 2, 1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(64, 64, bias=False),
            nn.BatchNorm1d(64),
            nn.ReLU(),
            nn.Linear(64, 64, bias=False),
            nn.BatchNorm1d(64),
            nn.ReLU(),
            nn.Linear(64, 3),
        )

    def forward(self, x):
        return self.classifier(self.features(x))


random.seed(0)
torch.manual_seed(0)
train_data = BCCD("trainval", 130)
val_data = BCCD("test", 100)
train_loader = DataLoader(train_data, batch_size=2, shuffle=True, drop_last=True)
val_loader = DataLoader(val_data, batch_size=2)

model = Net()
loss_fn = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for epoch in range(2):
    model.train()
    for x, y in train_loader:
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
    model.eval()
    n = 0
    with torch.no_grad():
        for x, y in val_loader:
            n += (model(x).argmax(1) == y).sum().item()
    print("epoch", epoch, "acc", n / len(val_data))
