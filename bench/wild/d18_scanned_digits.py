"""Handwritten digits kept as numbered PNG files with a csv of answers next to them.

style: competition starter code, folder of images plus labels.csv
fault: labels-shuffled
broken: 0.089
mended: 0.992
"""

import csv
import glob
import os
import tempfile

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset

EPOCHS = 12
BATCH = 32
LR = 2e-3


def export(folder):
    """Write the scans as the competition hosts deliver them."""
    d = load_digits()
    order = np.random.RandomState(5).permutation(len(d.target))
    parts = {"train": order[:1300], "valid": order[1300:]}
    for part, idx in parts.items():
        os.makedirs(os.path.join(folder, part))
        with open(os.path.join(folder, part + "_labels.csv"), "w", newline="") as f:
            w = csv.writer(f)
            w.writerow(["id", "digit"])
            for k, i in enumerate(idx):
                img = Image.fromarray((d.images[i] * 15.9).astype(np.uint8)).resize((16, 16), Image.BICUBIC)
                img.save(os.path.join(folder, part, f"scan_{k}.png"))
                w.writerow([k, d.target[i]])


class ScanDataset(Dataset):
    def __init__(self, folder, part):
        self.files = sorted(glob.glob(os.path.join(folder, part, "*.png")))
        with open(os.path.join(folder, part + "_labels.csv")) as f:
            self.labels = [int(row["digit"]) for row in csv.DictReader(f)]
        assert len(self.files) == len(self.labels)
        self.images = [np.asarray(Image.open(p), np.float32) / 255 for p in self.files]

    def __len__(self):
        return len(self.files)

    def __getitem__(self, i):
        x = torch.from_numpy(self.images[i])[None]
        return (x - 0.3) / 0.35, self.labels[i]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.c1 = nn.Conv2d(1, 32, 3, padding=1)
        self.b1 = nn.BatchNorm2d(32)
        self.c2 = nn.Conv2d(32, 64, 3, padding=1)
        self.b2 = nn.BatchNorm2d(64)
        self.pool = nn.MaxPool2d(2)
        self.f1 = nn.Linear(64 * 16, 128)
        self.f2 = nn.Linear(128, 10)
        self.drop = nn.Dropout(0.3)

    def forward(self, x):
        x = self.pool(torch.relu(self.b1(self.c1(x))))
        x = self.pool(torch.relu(self.b2(self.c2(x))))
        x = torch.relu(self.f1(x.flatten(1)))
        return self.f2(self.drop(x))


def main():
    torch.manual_seed(1)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        export(folder)
        train, valid = ScanDataset(folder, "train"), ScanDataset(folder, "valid")
    train_dl = DataLoader(train, BATCH, shuffle=True)
    valid_dl = DataLoader(valid, 128)
    net, crit = Net(), nn.CrossEntropyLoss()
    opt = torch.optim.Adam(net.parameters(), lr=LR)
    sched = torch.optim.lr_scheduler.ExponentialLR(opt, gamma=0.85)
    for epoch in range(1, EPOCHS + 1):
        net.train()
        tl = tc = tn = 0
        for x, y in train_dl:
            opt.zero_grad()
            out = net(x)
            loss = crit(out, y)
            loss.backward()
            opt.step()
            tl, tc, tn = tl + loss.item() * len(y), tc + (out.argmax(1) == y).sum().item(), tn + len(y)
        sched.step()
        net.eval()
        vl = vc = vn = 0
        with torch.no_grad():
            for x, y in valid_dl:
                out = net(x)
                vl, vc, vn = vl + crit(out, y).item() * len(y), vc + (out.argmax(1) == y).sum().item(), vn + len(y)
        print(
            f"{epoch:3d}/{EPOCHS} train loss {tl / tn:.4f} acc {tc / tn:.4f}   valid loss {vl / vn:.4f} acc {vc / vn:.4f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
