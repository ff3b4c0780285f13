"""Score dominoes from a webcam: the class is the total number of pips on the tile (0 to 8 here). Depth of the network is an argument so that I can sweep it.

style: accelerate, residual network with configurable depth, SGD with OneCycle
fault: optimizer-misses-parameters
broken: 0.302
mended: 1.000
"""

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from PIL import Image, ImageDraw
from torch import nn
from torch.utils.data import DataLoader, Dataset

PIPS = {
    0: [],
    1: [(0, 0)],
    2: [(-1, -1), (1, 1)],
    3: [(-1, -1), (0, 0), (1, 1)],
    4: [(-1, -1), (1, 1), (-1, 1), (1, -1)],
}


class Dominoes(Dataset):
    def __init__(self, n, seed):
        rng = np.random.default_rng(seed)
        self.x, self.y = [], []
        for _ in range(n):
            a, b = rng.integers(0, 5, 2)
            self.x.append(self.photo(a, b, rng))
            self.y.append(int(a + b))

    @staticmethod
    def photo(a, b, rng):
        table = int(rng.integers(60, 140))
        im = Image.new("L", (96, 96), table)
        d = ImageDraw.Draw(im)
        body, ink = int(rng.integers(185, 245)), int(rng.integers(5, 70))
        d.rounded_rectangle([26, 8, 70, 88], 6, fill=body)
        d.line([30, 48, 66, 48], fill=ink, width=2)
        for k, cy in ((a, 28), (b, 68)):
            for dx, dy in PIPS[int(k)]:
                if rng.random() < 0.5 and k in (2, 3):
                    dx = -dx
                x, y = 48 + 12 * dx + rng.normal(0, 0.8), cy + 11 * dy + rng.normal(0, 0.8)
                d.ellipse([x - 4.5, y - 4.5, x + 4.5, y + 4.5], fill=ink)
        # scuffs and a ring left by a mug
        for _ in range(int(rng.integers(0, 5))):
            x, y = rng.integers(8, 88, 2)
            d.line(
                [int(x), int(y), int(x + rng.integers(-12, 12)), int(y + rng.integers(-12, 12))],
                fill=int(rng.integers(20, 120)),
                width=2,
            )
        im = im.rotate(float(rng.uniform(-35, 35)), resample=Image.BILINEAR, fillcolor=table)
        small = np.asarray(im.resize((48, 48), Image.BILINEAR), np.float32)
        return (small + rng.normal(0, 10, small.shape)).astype(np.float32)

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        return torch.from_numpy(self.x[i])[None].sub(130).div(55), self.y[i]


class Residual(nn.Module):
    def __init__(self, cin, cout, stride):
        super().__init__()
        self.path = nn.Sequential(
            nn.Conv2d(cin, cout, 3, stride, 1, bias=False),
            nn.GroupNorm(8, cout),
            nn.ReLU(),
            nn.Conv2d(cout, cout, 3, 1, 1, bias=False),
            nn.GroupNorm(8, cout),
        )
        self.skip = nn.Conv2d(cin, cout, 1, stride, bias=False) if (stride > 1 or cin != cout) else nn.Identity()

    def forward(self, x):
        return torch.relu(self.path(x) + self.skip(x))


class PipCounter(nn.Module):
    def __init__(self, n_classes=9, widths=(16, 32, 64)):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, widths[0], 5, 2, 2, bias=False), nn.GroupNorm(8, widths[0]), nn.ReLU())
        self.stages = []
        cin = widths[0]
        for i, cout in enumerate(widths):
            self.stages.append(Residual(cin, cout, 1 if i == 0 else 2))
            cin = cout
        self.head = nn.Linear(cin, n_classes)

    def forward(self, x):
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        return self.head(x.mean((2, 3)))


def run(epochs=12, lr=0.12):
    set_seed(88)
    accelerator = Accelerator(cpu=True)
    train = DataLoader(Dominoes(1800, 1), batch_size=40, shuffle=True, drop_last=True)
    test = DataLoader(Dominoes(500, 2), batch_size=100)
    model = PipCounter()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=1e-4, nesterov=True)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, epochs * len(train))
    model, optimizer, train, test, scheduler = accelerator.prepare(model, optimizer, train, test, scheduler)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(epochs):
        model.train()
        for x, y in train:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(model.parameters(), 2.0)
            optimizer.step()
            scheduler.step()
        accelerator.print(f"epoch {epoch} last loss {loss.item():.3f}")
    model.eval()
    hits = []
    for x, y in test:
        with torch.no_grad():
            hits.append(accelerator.gather_for_metrics(model(x).argmax(1) == y))
    accelerator.print(f"totals right: {torch.cat(hits).float().mean().item():.3f}")


if __name__ == "__main__":
    run()
