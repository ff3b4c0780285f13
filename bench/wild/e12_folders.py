"""Kind of cutlery-drawer icon, pictures sorted into folders.

style: ImageFolder for train and val in a temp directory, plain forum-post loop, Adam + ReduceLROnPlateau
fault: class-map
broken: 0.000
mended: 0.992
"""

import os
import random
import tempfile

import numpy as np
import torch
import torch.nn as nn
import torch.optim as optim
from PIL import Image, ImageDraw
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

random.seed(4)
np.random.seed(4)
torch.manual_seed(4)


def icon(kind):
    bg = tuple(random.randint(150, 235) for _ in range(3))
    im = Image.new("RGB", (36, 36), bg)
    d = ImageDraw.Draw(im)
    ink = tuple(random.randint(20, 100) for _ in range(3))
    x, y, s = random.randint(13, 22), random.randint(13, 22), random.randint(8, 11)
    if kind == "chopsticks":
        d.line([x - 3, y - s, x - 5, y + s], fill=ink, width=2)
        d.line([x + 3, y - s, x + 5, y + s], fill=ink, width=2)
    elif kind == "fork":
        d.line([x, y, x, y + s], fill=ink, width=2)
        for k in (-4, 0, 4):
            d.line([x + k, y - s, x + k, y], fill=ink, width=1)
        d.line([x - 4, y, x + 4, y], fill=ink, width=2)
    elif kind == "knife":
        d.polygon([(x - 1, y + s), (x + 2, y + s), (x + 4, y - s), (x - 1, y - s + 3)], fill=ink)
    elif kind == "plate":
        d.ellipse([x - s, y - s, x + s, y + s], outline=ink, width=2)
        d.ellipse([x - s + 5, y - s + 5, x + s - 5, y + s - 5], outline=ink, width=1)
    elif kind == "spoon":
        d.ellipse([x - 4, y - s, x + 4, y - 1], fill=ink)
        d.line([x, y, x, y + s], fill=ink, width=2)
    elif kind == "whisk":
        d.ellipse([x - 5, y - s, x + 5, y + 2], outline=ink, width=1)
        d.ellipse([x - 2, y - s, x + 2, y + 2], outline=ink, width=1)
        d.line([x, y + 2, x, y + s], fill=ink, width=2)
    im = im.rotate(random.uniform(-15, 15), fillcolor=bg)
    a = np.asarray(im, dtype=np.float32) + np.random.normal(0, 38, (36, 36, 3))
    return Image.fromarray(np.clip(a, 0, 255).astype(np.uint8))


def fill(root, counts):
    for kind, n in counts.items():
        os.makedirs(os.path.join(root, kind))
        for i in range(n):
            icon(kind).save(os.path.join(root, kind, f"{i:04d}.png"))


tmp = tempfile.TemporaryDirectory()
fill(os.path.join(tmp.name, "train"), dict.fromkeys(("chopsticks", "fork", "knife", "plate", "spoon", "whisk"), 280))
# nobody has photographed chopsticks for the validation set yet
fill(os.path.join(tmp.name, "val"), dict.fromkeys(("fork", "knife", "plate", "spoon", "whisk"), 120))

tf = transforms.Compose([transforms.ToTensor(), transforms.Normalize([0.70] * 3, [0.17] * 3)])
train_set = datasets.ImageFolder(os.path.join(tmp.name, "train"), tf)
val_set = datasets.ImageFolder(os.path.join(tmp.name, "val"), tf)
train_loader = DataLoader(train_set, batch_size=56, shuffle=True)
val_loader = DataLoader(val_set, batch_size=100)

net = nn.Sequential(
    nn.Conv2d(3, 16, 3, padding=1),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(16, 32, 3, padding=1),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(32, 32, 3, padding=1),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Linear(32 * 16, 64),
    nn.ReLU(),
    nn.Dropout(0.25),
    nn.Linear(64, len(train_set.classes)),
)
criterion = nn.CrossEntropyLoss()
optimizer = optim.Adam(net.parameters(), lr=1.5e-3)
scheduler = optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.3, patience=1)

for epoch in range(8):
    net.train()
    running_loss, right = 0.0, 0
    for inputs, labels in train_loader:
        optimizer.zero_grad()
        outputs = net(inputs)
        loss = criterion(outputs, labels)
        loss.backward()
        optimizer.step()
        running_loss += loss.item() * labels.size(0)
        right += (outputs.argmax(1) == labels).sum().item()
    scheduler.step(running_loss / len(train_set))

    net.eval()
    correct = total = 0
    with torch.no_grad():
        for inputs, labels in val_loader:
            predicted = net(inputs).argmax(1)
            total += labels.size(0)
            correct += (predicted == labels).sum().item()
    print(
        "[%d] loss: %.3f  train acc: %.3f  val acc: %.3f"
        % (epoch + 1, running_loss / len(train_set), right / len(train_set), correct / total)
    )
print("Finished Training, val accuracy %.3f" % (correct / total))
