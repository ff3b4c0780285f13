"""OCR experiment for my typewriter collection: 26 lower-case letters, three parallel columns with different
kernel sizes like in the old multi-column papers. The loss goes down but stays disappointing.

style: retro-computing hobbyist, config dict, OOP model with named columns
fault: optimizer-misses-parameters
broken: 0.213
mended: 0.813
"""

import string
from collections import OrderedDict

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset

CONFIG = dict(
    seed=1984,
    side=28,
    train=2600,
    test=780,
    batch=64,
    epochs=10,
    lr=2e-3,
    columns={"fine": 3, "medium": 5, "coarse": 7},
)

rng = np.random.default_rng(CONFIG["seed"])
torch.manual_seed(CONFIG["seed"])


def typed(letter):
    """One worn key-strike: rotated, shifted, under- or over-inked."""
    s = CONFIG["side"]
    canvas = Image.new("L", (2 * s, 2 * s), 0)
    font = ImageFont.load_default(size=int(rng.integers(34, 46)))
    ImageDraw.Draw(canvas).text(
        (s + rng.integers(-5, 6), s + rng.integers(-5, 6)), letter, fill=255, font=font, anchor="mm"
    )
    canvas = canvas.rotate(float(rng.uniform(-14, 14)), resample=Image.BILINEAR).resize((s, s), Image.BILINEAR)
    a = np.asarray(canvas, np.float32) / 255.0
    ribbon = rng.random((s // 4, s // 4)).astype(np.float32).repeat(4, 0).repeat(4, 1)
    a = a * (0.45 + 0.55 * ribbon)
    return a + rng.normal(0, 0.12, a.shape).astype(np.float32)


def ream(n):
    y = rng.integers(0, 26, n)
    x = np.stack([typed(string.ascii_lowercase[k]) for k in y])
    return TensorDataset(torch.from_numpy((x - 0.1) / 0.25)[:, None].float(), torch.from_numpy(y))


class Column(nn.Module):
    def __init__(self, k, width=12):
        super().__init__()
        self.c1 = nn.Conv2d(1, width, k, padding=k // 2)
        self.c2 = nn.Conv2d(width, 2 * width, 3, padding=1)
        self.c3 = nn.Conv2d(2 * width, 2 * width, 3, padding=1)

    def forward(self, x):
        x = torch.max_pool2d(torch.relu(self.c1(x)), 2)
        x = torch.max_pool2d(torch.relu(self.c2(x)), 2)
        return torch.relu(self.c3(x))


class MultiColumnNet(nn.Module):
    def __init__(self, columns, n_out=26):
        super().__init__()
        self.columns = OrderedDict((name, Column(k)) for name, k in columns.items())
        self.squeeze = nn.Conv2d(24 * len(columns), 16, 1)
        self.out = nn.Linear(16 * 9, n_out)

    def forward(self, x):
        maps = torch.cat([col(x) for col in self.columns.values()], dim=1)
        z = nn.functional.adaptive_avg_pool2d(torch.relu(self.squeeze(maps)), 3)
        return self.out(z.flatten(1))


class Experiment:
    def __init__(self, cfg):
        self.cfg = cfg
        self.train_dl = DataLoader(ream(cfg["train"]), cfg["batch"], shuffle=True)
        self.test_dl = DataLoader(ream(cfg["test"]), 260)
        self.net = MultiColumnNet(cfg["columns"])
        self.opt = optim.Adam(self.net.parameters(), lr=cfg["lr"])
        self.crit = nn.CrossEntropyLoss()

    def epoch(self):
        self.net.train()
        total = 0.0
        for x, y in self.train_dl:
            self.opt.zero_grad()
            loss = self.crit(self.net(x), y)
            loss.backward()
            self.opt.step()
            total += float(loss)
        return total / len(self.train_dl)

    @torch.no_grad()
    def accuracy(self):
        self.net.eval()
        hit = sum((self.net(x).argmax(1) == y).sum().item() for x, y in self.test_dl)
        return hit / len(self.test_dl.dataset)

    def run(self):
        for e in range(self.cfg["epochs"]):
            loss = self.epoch()
            acc = self.accuracy()
            print(f"epoch {e} loss {loss:.3f} accuracy {acc:.3f}")
        return acc


print("letters read correctly:", round(Experiment(CONFIG).run(), 4))
