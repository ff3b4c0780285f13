"""A phone app idea: recognise what lies on my kitchen table, seven grocery groups.
Fine-tuning the last layers of SqueezeNet with the ImageNet preprocessing built into the model.

style: app developer, wrapper module for preprocessing, pretrained torchvision network
fault: normalised-twice
broken: 0.308
mended: 0.721
"""

import os
import random

import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision.models import squeezenet1_0
from torchvision.transforms import functional as TF

SHARED = os.environ["FOVEA_SHARED"]
GROCERY = os.path.join(SHARED, "data", "grocery")
SIDE = 96
random.seed(1)
torch.manual_seed(1)


def listing(txt):
    with open(os.path.join(GROCERY, txt)) as f:
        rows = [r.strip().split(", ") for r in f if r.strip()]
    return [(p, int(coarse)) for p, _, coarse in rows]


GROUPS = [7, 13, 18, 19, 27, 38, 39]  # melon, pear, satsuma, juice, yoghurt, pepper, potato


class Table(Dataset):
    def __init__(self, txt, per_group):
        seen = dict.fromkeys(GROUPS, 0)
        self.items = []
        rows = listing(txt)
        random.shuffle(rows)
        for path, g in rows:
            if g in seen and seen[g] < per_group:
                seen[g] += 1
                im = Image.open(os.path.join(GROCERY, path)).convert("RGB")
                self.items.append((im.resize((SIDE, SIDE), Image.BILINEAR), GROUPS.index(g)))

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        im, g = self.items[i]
        x = TF.to_tensor(im)
        return x.div(255), g


class Preprocess(nn.Module):
    """Goes into the exported model so the phone only has to hand over pixels in 0..1."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))

    def forward(self, x):
        return (x - self.mean) / self.std


class TableNet(nn.Module):
    def __init__(self, n):
        super().__init__()
        net = squeezenet1_0()
        net.load_state_dict(
            load_file(os.path.join(SHARED, "weights", "squeezenet1_0.deepcompression_in1k", "model.safetensors"))
        )
        self.pre = Preprocess()
        self.early = net.features[:10]
        self.late = net.features[10:]
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Conv2d(512, n, 1))
        for p in self.early.parameters():
            p.requires_grad = False

    def forward(self, x):
        with torch.no_grad():
            x = self.early(self.pre(x))
        x = self.head(self.late(x))
        return x.mean((2, 3))


train = DataLoader(Table("train.txt", 60), batch_size=24, shuffle=True)
val = DataLoader(Table("val.txt", 40), batch_size=50)
print(len(train.dataset), "training and", len(val.dataset), "validation pictures")

model = TableNet(len(GROUPS))
opt = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=2e-4)
ce = nn.CrossEntropyLoss()
for epoch in range(8):
    model.train()
    s = 0.0
    for x, g in train:
        loss = ce(model(x), g)
        opt.zero_grad()
        loss.backward()
        opt.step()
        s += loss.item() / len(train)
    model.eval()
    with torch.no_grad():
        good = sum((model(x).argmax(1) == g).sum().item() for x, g in val)
    print(f"epoch {epoch + 1} loss {s:.3f} val acc {good / len(val.dataset):.3f}")
print("val accuracy", good / len(val.dataset))
