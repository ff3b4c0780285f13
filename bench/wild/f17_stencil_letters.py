"""Crates in our warehouse carry one stencilled capital letter.  Read it (26 classes) from a 28x28 crop.

style: warehouse IT, Lightning-like module class without Lightning
fault: softmax-before-loss
broken: 0.538
mended: 0.998
"""

import random
import string

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from torch.utils.data import DataLoader, Dataset

SEED = 26
random.seed(SEED)
np.random.seed(SEED)
torch.manual_seed(SEED)
LETTERS = string.ascii_uppercase
FONTS = [ImageFont.load_default(size=s) for s in (22, 24, 26)]


def stencil(ch):
    wood = Image.effect_noise((40, 40), 40).filter(ImageFilter.BoxBlur(1))
    wood = wood.point(lambda v: int(v * 0.6 + 90))
    ink = Image.new("L", (40, 40), 0)
    d = ImageDraw.Draw(ink)
    d.text(
        (20 + random.uniform(-2, 2), 20 + random.uniform(-2, 2)),
        ch,
        fill=255,
        font=random.choice(FONTS),
        anchor="mm",
        stroke_width=random.choice((0, 1)),
    )
    ink = ink.rotate(random.uniform(-12, 12), resample=Image.BILINEAR)
    bridge = ImageDraw.Draw(ink)
    bridge.rectangle([19, 0, 20, 40], fill=0)
    tone = random.randint(15, 60)
    wood.paste(tone, (0, 0), ink)
    return wood.crop((6, 6, 34, 34))


class Crates(Dataset):
    def __init__(self, per_letter):
        rows = [(stencil(c), k) for k, c in enumerate(LETTERS) for _ in range(per_letter)]
        self.x = torch.tensor(np.stack([np.asarray(r[0]) for r in rows]), dtype=torch.float32)[:, None]
        self.x = (self.x - 140) / 55
        self.y = torch.tensor([r[1] for r in rows])

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        return self.x[i], self.y[i]


class LetterReader(nn.Module):
    def __init__(self, lr=0.05):
        super().__init__()
        self.lr = lr
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 20, 3, padding=1),
            nn.BatchNorm2d(20),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(20, 40, 3, padding=1),
            nn.BatchNorm2d(40),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(40, 60, 3, padding=1),
            nn.BatchNorm2d(60),
            nn.ReLU(),
            nn.AdaptiveMaxPool2d(3),
        )
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(540, 96), nn.ReLU(), nn.Linear(96, len(LETTERS)))

    def forward(self, x):
        """Per-letter probabilities, the conveyor software thresholds them."""
        return F.softmax(self.classifier(self.encoder(x)), dim=1)

    def training_step(self, batch):
        x, y = batch
        return F.cross_entropy(self(x), y)

    def validation_step(self, batch):
        x, y = batch
        return (self(x).argmax(dim=1) == y).float().sum().item()

    def configure_optimizers(self):
        opt = torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9, nesterov=True)
        return opt, torch.optim.lr_scheduler.StepLR(opt, step_size=7, gamma=0.3)


def fit(module, train, val, max_epochs):
    opt, sched = module.configure_optimizers()
    acc = 0.0
    for epoch in range(max_epochs):
        module.train()
        log = []
        for batch in train:
            opt.zero_grad()
            loss = module.training_step(batch)
            loss.backward()
            opt.step()
            log.append(loss.item())
        sched.step()
        module.eval()
        with torch.no_grad():
            acc = sum(module.validation_step(b) for b in val) / len(val.dataset)
        print("epoch %02d | loss %.3f | val_acc %.3f" % (epoch, np.mean(log), acc))
    return acc


if __name__ == "__main__":
    train = DataLoader(Crates(70), batch_size=52, shuffle=True)
    val = DataLoader(Crates(20), batch_size=260)
    print("final val_acc %.4f" % fit(LetterReader(), train, val, 10))
