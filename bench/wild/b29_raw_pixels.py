"""White blood cells, platelets and red cells as raw pixels into a perceptron.

style: script of a biologist, functions and globals, SGD from the documentation
fault: not-normalised
broken: 0.34
mended: 0.96
"""

import os
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(17)
BCCD = Path(os.environ.get("FOVEA_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "data" / "bccd"
CELLS = ["RBC", "WBC", "Platelets"]


def crops(split, side=28, red_per_image=1):
    x, y = [], []
    for name in (BCCD / "ImageSets" / "Main" / f"{split}.txt").read_text().split():
        photo = Image.open(BCCD / "JPEGImages" / f"{name}.jpg").convert("RGB")
        red = 0
        for obj in ET.parse(BCCD / "Annotations" / f"{name}.xml").getroot().iter("object"):
            cell = obj.findtext("name")
            if cell == "RBC":
                red += 1
                if red > red_per_image:
                    continue
            x0, y0, x1, y1 = (int(obj.find("bndbox").findtext(k)) for k in ("xmin", "ymin", "xmax", "ymax"))
            if x1 <= x0 or y1 <= y0:
                continue
            x.append(np.array(photo.crop((x0, y0, x1, y1)).resize((side, side), Image.BILINEAR)))
            y.append(CELLS.index(cell))
    return torch.tensor(np.stack(x)).permute(0, 3, 1, 2).float(), torch.tensor(y)


X_train, y_train = crops("trainval")
X_test, y_test = crops("test")
print("training cells", len(X_train), "test cells", len(X_test))
train_loader = DataLoader(TensorDataset(X_train, y_train), batch_size=32, shuffle=True)

model = nn.Sequential(
    nn.Flatten(),
    nn.Linear(28 * 28 * 3, 128),
    nn.ReLU(),
    nn.Linear(128, 64),
    nn.ReLU(),
    nn.Linear(64, len(CELLS)),
)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

for epoch in range(10):
    total_loss = 0
    for images, labels in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(images), labels)
        loss.backward()
        optimizer.step()
        total_loss += loss.item()
    with torch.no_grad():
        predictions = model(X_test).argmax(1)
    print("epoch", epoch + 1, "loss", round(total_loss / len(train_loader), 4), end="  ")
    print("accuracy", round((predictions == y_test).float().mean().item(), 4))
