"""Five garden birds plus "nothing heard" from little log-mel pictures, with mean+std pooling over time as in
the x-vector papers. Recordings below the noise gate come out as blank clips.

style: bioacoustics PhD student, spectrogram images, statistics pooling
fault: nan
broken: 0.164
mended: 0.998
"""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

SPECIES = ["nothing", "robin", "wren", "chiffchaff", "blackbird", "tit"]
N_MEL, N_T = 32, 48
R = np.random.RandomState(5)
torch.manual_seed(5)


def clip(k):
    t = np.arange(N_T)
    f = np.arange(N_MEL)[:, None]
    s = np.zeros((N_MEL, N_T))
    base = R.uniform(8, 20)
    onset = R.randint(0, 12)

    def ridge(freq, a, b, amp=1.0):
        env = ((t >= a) & (t < b)).astype(float)
        return amp * np.exp(-((f - freq) ** 2) / 2.2) * env

    if k == 0:
        if R.rand() < 0.5:
            return s.astype(np.float32)
    elif k == 1:
        s += ridge(base + 3 * np.sin(t / 2.0), onset, onset + 30)
    elif k == 2:
        for j in range(7):
            s += ridge(base + (j % 2) * 5, onset + 5 * j, onset + 5 * j + 3)
    elif k == 3:
        for j in range(4):
            s += ridge(base - j % 2 * 3, onset + 8 * j, onset + 8 * j + 5)
    elif k == 4:
        s += ridge(base + 0.25 * (t - onset), onset, onset + 24)
    else:
        for j in range(4):
            s += ridge(base + 8 - 1.5 * ((t - onset) % 9), onset + 9 * j, onset + 9 * j + 7)
    s = s * R.uniform(0.5, 1.2) + np.abs(R.randn(N_MEL, N_T)) * 0.16
    return np.log1p(4 * s).astype(np.float32)


def library(n):
    k = R.randint(0, len(SPECIES), n)
    return torch.from_numpy(np.stack([clip(i) for i in k]))[:, None], torch.from_numpy(k)


class StatsPool(nn.Module):
    """(N, C, F, T) -> mean and standard deviation over time."""

    def forward(self, x):
        x = x.mean(2)
        mu = x.mean(-1)
        var = ((x - mu.unsqueeze(-1)) ** 2).mean(-1)
        return torch.cat([mu, var.sqrt()], dim=1)


class CallNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.c1 = nn.Conv2d(1, 16, (5, 3))
        self.c2 = nn.Conv2d(16, 32, 3)
        self.c3 = nn.Conv2d(32, 32, 3)
        self.pool = StatsPool()
        self.fc = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, len(SPECIES)))

    def forward(self, x):
        x = F.max_pool2d(F.leaky_relu(self.c1(x), 0.1), (2, 1))
        x = F.max_pool2d(F.leaky_relu(self.c2(x), 0.1), 2)
        x = F.leaky_relu(self.c3(x), 0.1)
        return self.fc(self.pool(x))


xtr, ytr = library(1500)
xva, yva = library(500)
net = CallNet()
optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)

for epoch in range(14):
    net.train()
    losses = []
    for idx in torch.randperm(len(xtr)).split(50):
        optimiser.zero_grad()
        loss = F.cross_entropy(net(xtr[idx]), ytr[idx])
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    net.eval()
    with torch.no_grad():
        pred = net(xva).argmax(1)
    print(f"epoch {epoch:2d}  loss {np.mean(losses):.4f}  val acc {(pred == yva).float().mean():.4f}")
print("species accuracy %.4f" % (pred == yva).float().mean().item())
