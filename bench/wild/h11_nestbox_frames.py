"""Nest-box cameras: which of four species is in the frame? We pulled 18 frames out of each visit and the
network is already nearly perfect, so we plan to deploy it at new boxes.

style: ornithology lab, npz archive on disk, Subset objects
fault: split-leakage
broken: 1.000
mended: 0.572
"""

import os
import tempfile

import numpy as np
import torch
import torch.nn as nn
from scipy.ndimage import gaussian_filter, zoom
from torch.utils.data import DataLoader, Dataset, Subset

np.random.seed(808)
torch.manual_seed(808)
N_VISITS, FRAMES, SIDE = 96, 18, 32


def bird(species, cx, cy, s):
    yy, xx = np.mgrid[:SIDE, :SIDE]
    body = ((xx - cx) / (5.0 * s)) ** 2 + ((yy - cy) / (3.4 * s)) ** 2 < 1
    head = ((xx - cx - 5 * s) / (2.6 * s)) ** 2 + ((yy - cy + 2.5 * s) / (2.6 * s)) ** 2 < 1
    belly = body & (yy > cy)
    cap = head & (yy < cy - 2.5 * s)
    layer = np.zeros((SIDE, SIDE, 3))
    alpha = (body | head).astype(float)
    layer[...] = [0.45, 0.42, 0.38]
    if species in (0, 1):
        layer[belly] = [0.80, 0.70, 0.20]
    else:
        layer[belly] = [0.60, 0.45, 0.50]
    if species in (1, 3):
        layer[cap] = [0.08, 0.08, 0.14]
    return layer, alpha[..., None]


def visit(species):
    """All frames of one visit share the box, the light and the camera."""
    wood = zoom(np.random.rand(5, 5, 3), (SIDE / 5, SIDE / 5, 1), order=1)
    tint = np.random.uniform(0.4, 1.0, 3)
    wood = (0.25 + 0.5 * wood) * tint
    cx, cy, s = np.random.uniform(9, 20), np.random.uniform(12, 24), np.random.uniform(0.8, 1.2)
    frames = []
    for _ in range(FRAMES):
        cx = np.clip(cx + np.random.randn() * 0.8, 7, 23)
        cy = np.clip(cy + np.random.randn() * 0.6, 9, 26)
        layer, alpha = bird(species, cx, cy, s)
        if np.random.rand() < 0.5:
            layer, alpha, _ = layer[:, ::-1], alpha[:, ::-1], wood
        img = wood * (1 - alpha) + layer * tint * np.random.uniform(0.85, 1.15) * alpha
        img = gaussian_filter(img, (0.6, 0.6, 0)) + np.random.randn(SIDE, SIDE, 3) * 0.06
        frames.append(img)
    return np.stack(frames)


def build_archive(path):
    species = np.arange(N_VISITS) % 4
    frames = np.concatenate([visit(k) for k in species])
    np.savez(
        path,
        frames=(frames.clip(0, 1) * 255).astype(np.uint8),
        label=np.repeat(species, FRAMES),
        visit=np.repeat(np.arange(N_VISITS), FRAMES),
    )


class FrameArchive(Dataset):
    def __init__(self, path):
        z = np.load(path)
        self.x = torch.from_numpy(z["frames"]).permute(0, 3, 1, 2)
        self.y = torch.from_numpy(z["label"]).long()
        self.visit = z["visit"]

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        return (self.x[i].float() / 255 - 0.4) / 0.2, self.y[i]


def hold_out(ds, fraction=0.25):
    order = np.random.permutation(len(ds))
    cut = int(len(ds) * fraction)
    return Subset(ds, order[cut:].tolist()), Subset(ds, order[:cut].tolist())


def network():
    return nn.Sequential(
        nn.Conv2d(3, 24, 3, padding=1),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(24, 48, 3, padding=1),
        nn.BatchNorm2d(48),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(48, 48, 3, padding=1),
        nn.BatchNorm2d(48),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(48 * 16, 64),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Linear(64, 4),
    )


with tempfile.TemporaryDirectory() as tmp:
    archive = os.path.join(tmp, "nestbox.npz")
    build_archive(archive)
    ds = FrameArchive(archive)

train_set, val_set = hold_out(ds)
print(len(train_set), "training frames,", len(val_set), "validation frames")
train_loader = DataLoader(train_set, batch_size=48, shuffle=True)
val_loader = DataLoader(val_set, batch_size=128)
net = network()
opt = torch.optim.AdamW(net.parameters(), lr=1.5e-3, weight_decay=1e-2)
for epoch in range(14):
    net.train()
    for x, y in train_loader:
        opt.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        opt.step()
    net.eval()
    with torch.no_grad():
        hits = sum((net(x).argmax(1) == y).sum().item() for x, y in val_loader)
    print(f"epoch {epoch + 1}: last batch loss {loss.item():.3f}, validation accuracy {hits / len(val_set):.3f}")
print("validation accuracy", round(hits / len(val_set), 4))
