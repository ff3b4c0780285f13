"""Four-way orientation of letters, with an init function of its own applied to the whole network.

style: paper re-implementation with weights_init and model.apply
fault: dead-relu
accept: init-scale
broken: 0.24
mended: 0.80
"""

import math

import numpy as np
import torch
import torch.nn as nn
from PIL import Image, ImageDraw, ImageFont
from torch.utils.data import DataLoader, TensorDataset


def letters(n, seed):
    rng = np.random.default_rng(seed)
    font = ImageFont.load_default(size=26)
    images, labels = [], []
    for _ in range(n):
        letter = "AEFJLRTY"[rng.integers(8)]
        label = int(rng.integers(4))
        img = Image.new("L", (40, 40), 0)
        ImageDraw.Draw(img).text((20, 20), letter, fill=int(rng.integers(140, 256)), font=font, anchor="mm")
        shift = tuple(int(v) for v in rng.integers(-2, 3, 2))
        img = img.rotate(label * 90 + float(rng.normal(0, 8)), translate=shift)
        a = np.asarray(img, np.float32) / 255 + rng.normal(0, 0.08, (40, 40))
        images.append((a - 0.15) / 0.3)
        labels.append(label)
    x = torch.tensor(np.stack(images), dtype=torch.float32).unsqueeze(1)
    return TensorDataset(x, torch.tensor(labels))


def weights_init(m, pi=0.01):
    """Kaiming weights, and the prior of the focal loss paper for the bias."""
    if isinstance(m, (nn.Conv2d, nn.Linear)):
        nn.init.kaiming_normal_(m.weight, nonlinearity="relu")
        nn.init.constant_(m.bias, -math.log((1 - pi) / pi))


class OrientationNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 16, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 48, 3, stride=2, padding=1),
            nn.ReLU(),
        )
        self.decoder = nn.Sequential(nn.Linear(48 * 25, 96), nn.ReLU(), nn.Linear(96, 4))
        self.apply(weights_init)

    def forward(self, x):
        return self.decoder(self.encoder(x).flatten(1))


def run(model, loader, optimizer=None):
    model.train(optimizer is not None)
    total, right = 0.0, 0
    with torch.set_grad_enabled(optimizer is not None):
        for x, y in loader:
            logits = model(x)
            loss = nn.functional.cross_entropy(logits, y)
            if optimizer is not None:
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
            total += loss.item() * len(y)
            right += int((logits.argmax(-1) == y).sum())
    return total / len(loader.dataset), right / len(loader.dataset)


if __name__ == "__main__":
    torch.manual_seed(0)
    train, test = DataLoader(letters(2200, 1), 32, shuffle=True), DataLoader(letters(600, 2), 200)
    model = OrientationNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-4)
    for epoch in range(7):
        loss, acc = run(model, train, optimizer)
        val_loss, val_acc = run(model, test)
        print(f"{epoch}: train {loss:.3f} {acc:.3f} | test {val_loss:.3f} {val_acc:.3f}")
