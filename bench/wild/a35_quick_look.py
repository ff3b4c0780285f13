"""Quick experiment: which of four aircraft silhouettes; a few pictures held back to see how well it goes.

style: notebook, top-level, holds back a slice
fault: validation-too-small
broken: n/a
mended: 0.97
"""

# In[1]:
import math
import random

import torch
import torch.nn as nn
from PIL import Image, ImageDraw
from torchvision.transforms.functional import to_tensor

random.seed(21)
torch.manual_seed(21)

# In[2]:
KINDS = {"jet": (1.0, 0.25, 40), "glider": (1.7, 0.15, 0), "delta": (1.1, 0.9, 60), "biplane": (1.0, 0.3, 0)}


def silhouette(kind):
    span, chord, sweep = KINDS[kind]
    img = Image.new("L", (96, 96), random.randint(160, 230))
    d = ImageDraw.Draw(img)
    s, ink = random.uniform(16, 22), random.randint(20, 90)
    d.rectangle((46, 48 - s, 50, 48 + s), fill=ink)
    back = math.tan(math.radians(sweep)) * s * span * 0.5
    for side in (-1, 1):
        tip = 48 + side * s * span
        d.polygon([(48, 48 - s * chord), (tip, 48 + back - 2), (tip, 48 + back + 3), (48, 48 + s * chord)], fill=ink)
        if kind == "biplane":
            d.rectangle((min(48, tip), 42 - s * 0.4, max(48, tip), 45 - s * 0.4), fill=ink)
        d.polygon([(48, 46 + s * 0.7), (48 + side * s * 0.4, 50 + s * 0.9), (48, 48 + s)], fill=ink)
    img = img.rotate(random.uniform(0, 360), fillcolor=img.getpixel((0, 0)))
    x = to_tensor(img.resize((32, 32), Image.BOX))
    return (x + 0.12 * torch.randn_like(x) - 0.7) / 0.2


labels = [random.randrange(4) for _ in range(620)]
images = torch.stack([silhouette(list(KINDS)[k]) for k in labels])
labels = torch.tensor(labels)

# In[3]:
x_train, y_train = images[:600], labels[:600]
x_val, y_val = images[600:], labels[600:]

# In[4]:
model = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1),
    nn.GroupNorm(4, 16),
    nn.GELU(),
    nn.MaxPool2d(2),
    nn.Conv2d(16, 32, 3, padding=1),
    nn.GroupNorm(4, 32),
    nn.GELU(),
    nn.MaxPool2d(2),
    nn.Conv2d(32, 64, 3, padding=1),
    nn.GroupNorm(4, 64),
    nn.GELU(),
    nn.AdaptiveMaxPool2d(1),
    nn.Flatten(),
    nn.Linear(64, len(KINDS)),
)
opt = torch.optim.AdamW(model.parameters(), lr=2e-3)

# In[5]:
for epoch in range(10):
    model.train()
    for idx in torch.randperm(600).split(30):
        loss = nn.functional.cross_entropy(model(x_train[idx]), y_train[idx])
        opt.zero_grad()
        loss.backward()
        opt.step()
    model.eval()
    with torch.no_grad():
        acc = (model(x_val).argmax(1) == y_val).float().mean()
    print(f"epoch {epoch + 1:2d}  loss {loss.item():.3f}  val_acc {acc.item():.3f}")
