"""Grade the roughness of ice surfaces (six grades, from fractal height maps). The encoder gets SGD and the small
head gets Adam, as suggested in a forum answer about different learning rates.

style: glaciologist, two optimisers, scipy FFT data
fault: missing-zero-grad
broken: 0.177
mended: 0.862
"""

import numpy as np
import torch
import torch.nn as nn

rng = np.random.default_rng(66)
torch.manual_seed(66)

GRADES = [1.2, 1.6, 2.0, 2.4, 2.8, 3.2]  # spectral exponents, rough to smooth
N = 32
fx = np.fft.fftfreq(N)[:, None]
fy = np.fft.fftfreq(N)[None, :]
k = np.hypot(fx, fy)
k[0, 0] = 1.0


def surface(beta):
    spec = rng.normal(size=(N, N)) + 1j * rng.normal(size=(N, N))
    z = np.fft.ifft2(spec * k ** (-beta / 2)).real
    z = (z - z.mean()) / z.std()
    return z + 0.15 * rng.normal(size=z.shape)


def batch_of(n):
    g = rng.integers(0, len(GRADES), n)
    z = np.stack([surface(GRADES[i]) for i in g])
    return torch.tensor(z, dtype=torch.float32)[:, None], torch.tensor(g)


X, Y = batch_of(2400)
Xv, Yv = batch_of(600)

encoder = nn.Sequential(
    nn.Conv2d(1, 16, 3),
    nn.ReLU(),
    nn.Conv2d(16, 32, 3),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(32, 32, 3),
    nn.ReLU(),
    nn.AdaptiveAvgPool2d(1),
    nn.Flatten(),
)
head = nn.Sequential(nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, len(GRADES)))

opt_encoder = torch.optim.SGD(encoder.parameters(), lr=0.02, momentum=0.9)
opt_head = torch.optim.Adam(head.parameters(), lr=2e-3)
criterion = nn.CrossEntropyLoss()


def fit_one_epoch():
    encoder.train()
    head.train()
    total = 0.0
    for idx in torch.randperm(len(X)).split(48):
        opt_head.zero_grad()
        scores = head(encoder(X[idx]))
        loss = criterion(scores, Y[idx])
        loss.backward()
        opt_encoder.step()
        opt_head.step()
        total += loss.item() * len(idx)
    return total / len(X)


def assess():
    encoder.eval()
    head.eval()
    with torch.no_grad():
        p = head(encoder(Xv)).argmax(1)
    exact = (p == Yv).float().mean().item()
    near = ((p - Yv).abs() <= 1).float().mean().item()
    return exact, near


for epoch in range(15):
    l = fit_one_epoch()
    exact, near = assess()
    print(f"epoch {epoch:2d} loss {l:8.4f} exact {exact:.3f} within one grade {near:.3f}")

print("exact grade accuracy: %.4f" % exact)
