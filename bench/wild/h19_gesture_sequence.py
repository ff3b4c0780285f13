"""Light-pen sequences: in every clip three little symbols appear one after another, and the order decides the
command (six commands). CNN per frame, GRU over the clip.

style: HCI student, sequence model with a python loop over frames
fault: detached-graph
broken: 0.412
mended: 1.000
"""

import itertools

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

np.random.seed(909)
torch.manual_seed(909)

SYMBOLS = 3
COMMANDS = list(itertools.permutations(range(SYMBOLS)))  # 6 orders
T_FRAMES, S = 6, 20


def stamp(frame, sym, cx, cy):
    r = np.random.uniform(3.4, 4.6)
    yy, xx = np.mgrid[:S, :S]
    dx, dy = xx - cx, yy - cy
    if sym == 0:
        m = np.abs(np.hypot(dx, dy) - r) < 0.9
    elif sym == 1:
        m = (np.maximum(np.abs(dx), np.abs(dy)) < r) & (np.maximum(np.abs(dx), np.abs(dy)) > r - 1.6)
    else:
        m = ((np.abs(dx - dy) < 1.4) | (np.abs(dx + dy) < 1.4)) & (np.maximum(np.abs(dx), np.abs(dy)) < r)
    frame[m] += np.random.uniform(0.7, 1.1)


def clip_for(cmd):
    clip = np.random.randn(T_FRAMES, S, S) * 0.22
    slots = np.sort(np.random.choice(T_FRAMES, SYMBOLS, replace=False))
    for slot, sym in zip(slots, COMMANDS[cmd]):
        stamp(clip[slot], sym, *np.random.uniform(5, S - 5, 2))
    for t in range(T_FRAMES):
        if np.random.rand() < 0.5:
            clip[t, np.random.randint(S), :] += 0.6
    return clip


def clips(n):
    y = np.random.randint(0, len(COMMANDS), n)
    x = np.stack([clip_for(k) for k in y]).astype(np.float32)
    return TensorDataset(torch.from_numpy(x).unsqueeze(2), torch.from_numpy(y))


class FrameEncoder(nn.Module):
    def __init__(self, out=24):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
            nn.Linear(32, out),
        )

    def forward(self, x):
        return self.net(x)


class CommandReader(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = FrameEncoder()
        self.gru = nn.GRU(24, 48, batch_first=True)
        self.out = nn.Linear(48, len(COMMANDS))

    def encode_clip(self, clip):
        frames = []
        for t in range(clip.size(1)):
            z = self.encoder(clip[:, t])
            frames.append(z.data)
        return torch.stack(frames, dim=1)

    def forward(self, clip):
        _, h = self.gru(self.encode_clip(clip))
        return self.out(h[-1])


def accuracy(model, loader):
    model.eval()
    hits = 0
    with torch.no_grad():
        for clip, cmd in loader:
            hits += (model(clip).argmax(1) == cmd).sum().item()
    model.train()
    return hits / len(loader.dataset)


train_loader = DataLoader(clips(1500), batch_size=50, shuffle=True)
val_loader = DataLoader(clips(400), batch_size=100)
model = CommandReader()
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
criterion = nn.CrossEntropyLoss()

for epoch in range(15):
    total = 0.0
    for clip, cmd in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(clip), cmd)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        optimizer.step()
        total += loss.item()
    print(f"epoch {epoch + 1:2d}  loss {total / len(train_loader):.3f}  val {accuracy(model, val_loader):.3f}")

print(f"commands recognised: {accuracy(model, val_loader):.4f}")
