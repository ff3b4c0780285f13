"""Line-scan camera over the loom writes frame_<n>.png and the operator's tablet writes a CSV with one verdict per
frame in capture order.  I train a defect classifier from the two.

style: factory engineer, files + CSV in a temp folder, logging module
fault: labels-shuffled
broken: 0.219
mended: 1.000
"""

import csv
import glob
import logging
import os
import tempfile

import numpy as np
import torch
import torch.nn as nn
from PIL import Image
from torch.utils.data import DataLoader, Dataset, Subset

logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
log = logging.getLogger("loom")
rng = np.random.default_rng(77)
torch.manual_seed(77)

VERDICTS = ["ok", "broken_end", "oil", "thick_weft", "hole"]
H = 40


def scan(kind):
    yy, xx = np.mgrid[:H, :H]
    p = rng.uniform(3.6, 4.4)
    im = 140 + 22 * np.sin(2 * np.pi * xx / p + rng.uniform(0, 6)) + 22 * np.sin(2 * np.pi * yy / p + rng.uniform(0, 6))
    cy, cx = rng.uniform(8, H - 8, 2)
    if kind == 1:
        im[:, int(cx) : int(cx) + 2] -= 55
    elif kind == 2:
        im -= 60 * np.exp(-(((yy - cy) / 6) ** 2 + ((xx - cx) / 6) ** 2))
    elif kind == 3:
        im[int(cy) : int(cy) + 3, :] += 50
    elif kind == 4:
        im[(yy - cy) ** 2 + (xx - cx) ** 2 < rng.uniform(9, 18)] = 25
    return np.clip(im + rng.normal(0, 10, im.shape), 0, 255).astype(np.uint8)


def record_shift(folder, n=1800):
    """What the camera and the tablet leave behind after one shift."""
    with open(os.path.join(folder, "verdicts.csv"), "w", newline="") as fh:
        w = csv.writer(fh)
        w.writerow(["n", "verdict"])
        for n_ in range(n):
            k = int(rng.integers(len(VERDICTS)))
            Image.fromarray(scan(k)).save(os.path.join(folder, f"frame_{n_}.png"))
            w.writerow([n_, VERDICTS[k]])


class Shift(Dataset):
    def __init__(self, folder):
        self.paths = sorted(glob.glob(os.path.join(folder, "frame_*.png")))
        with open(os.path.join(folder, "verdicts.csv")) as fh:
            self.labels = [VERDICTS.index(r["verdict"]) for r in csv.DictReader(fh)]
        if len(self.paths) != len(self.labels):
            raise RuntimeError("camera and tablet disagree on the number of frames")

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, i):
        a = np.asarray(Image.open(self.paths[i]), dtype=np.float32)
        return torch.from_numpy((a - 140.0) / 35.0)[None], self.labels[i]


class Inspector(nn.Module):
    def __init__(self, k):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 5, padding=2, stride=2)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.conv3 = nn.Conv2d(32, 32, 3, padding=1)
        self.bn1, self.bn2, self.bn3 = nn.BatchNorm2d(16), nn.BatchNorm2d(32), nn.BatchNorm2d(32)
        self.pool = nn.MaxPool2d(2)
        self.out = nn.Linear(32 * 25, k)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = self.pool(torch.relu(self.bn2(self.conv2(x))))
        x = self.pool(torch.relu(self.bn3(self.conv3(x))))
        return self.out(x.flatten(1))


def evaluate(net, loader):
    net.eval()
    hits = []
    with torch.inference_mode():
        for x, y in loader:
            hits.append(net(x).argmax(1) == y)
    return torch.cat(hits).float().mean().item()


def main():
    with tempfile.TemporaryDirectory(prefix="shift_") as folder:
        record_shift(folder)
        shift = Shift(folder)
        log.info("%d frames, verdict counts %s", len(shift), np.bincount(shift.labels).tolist())
        order = rng.permutation(len(shift))
        train, hold = Subset(shift, order[:1440]), Subset(shift, order[1440:])
        loader = DataLoader(train, batch_size=48, shuffle=True)
        hold_loader = DataLoader(hold, batch_size=120)
        net = Inspector(len(VERDICTS))
        opt = torch.optim.SGD(net.parameters(), lr=0.03, momentum=0.9, weight_decay=5e-4)
        loss_fn = nn.CrossEntropyLoss()
        for epoch in range(10):
            net.train()
            s = 0.0
            for x, y in loader:
                opt.zero_grad()
                loss = loss_fn(net(x), y)
                loss.backward()
                opt.step()
                s += loss.item()
            log.info("epoch %d  loss %.3f  hold-out %.3f", epoch, s / len(loader), evaluate(net, hold_loader))
        print("hold-out accuracy:", evaluate(net, hold_loader))


if __name__ == "__main__":
    main()
