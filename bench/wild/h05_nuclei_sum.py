"""Segmenting nuclei in synthetic H&E-like tiles with a very small encoder-decoder. Our group's convention is
log-likelihoods summed over all pixels, and steps of bounded length.

style: statistician, likelihood vocabulary, gradient step of fixed norm
fault: none
mended: 0.976
"""

import numpy as np
import torch
from torch import nn
from scipy.ndimage import gaussian_filter

gen = np.random.RandomState(19)
torch.manual_seed(19)
SIDE = 48


def tile():
    yy, xx = np.mgrid[:SIDE, :SIDE]
    mask = np.zeros((SIDE, SIDE), bool)
    for _ in range(gen.randint(3, 9)):
        cy, cx = gen.uniform(3, SIDE - 3, 2)
        ra, rb = gen.uniform(3, 6.5, 2)
        ang = gen.uniform(0, np.pi)
        u = (xx - cx) * np.cos(ang) + (yy - cy) * np.sin(ang)
        v = -(xx - cx) * np.sin(ang) + (yy - cy) * np.cos(ang)
        mask |= (u / ra) ** 2 + (v / rb) ** 2 < 1
    stroma = gaussian_filter(gen.randn(SIDE, SIDE), 4)
    stroma = stroma / stroma.std()
    eosin = np.array([0.88, 0.62, 0.78]) + 0.06 * stroma[..., None] * np.array([0.6, 1.0, 0.7])
    haem = np.array([0.42, 0.28, 0.58]) + 0.10 * gaussian_filter(gen.randn(SIDE, SIDE), 1)[..., None]
    soft = gaussian_filter(mask.astype(float), 0.8)[..., None]
    img = eosin * (1 - soft) + haem * soft
    img += gen.randn(SIDE, SIDE, 3) * 0.06
    # out-of-focus red cells, about the size of nuclei
    for _ in range(gen.randint(0, 4)):
        cy, cx = gen.uniform(5, SIDE - 5, 2)
        blob = np.exp(-((xx - cx) ** 2 + (yy - cy) ** 2) / 18.0)[..., None]
        img = img * (1 - 0.6 * blob) + 0.6 * blob * np.array([0.8, 0.35, 0.4])
    return img.transpose(2, 0, 1).astype(np.float32), mask.astype(np.float32)


def tiles(n):
    pair = [tile() for _ in range(n)]
    return torch.tensor(np.stack([p[0] for p in pair])), torch.tensor(np.stack([p[1] for p in pair]))


class Segmenter(nn.Module):
    def __init__(self, w=12):
        super().__init__()
        self.a = nn.Sequential(nn.Conv2d(3, w, 3, padding=1), nn.GroupNorm(3, w), nn.SiLU())
        self.b = nn.Sequential(
            nn.Conv2d(w, 2 * w, 3, stride=2, padding=1),
            nn.GroupNorm(3, 2 * w),
            nn.SiLU(),
            nn.Conv2d(2 * w, 2 * w, 3, padding=1),
            nn.GroupNorm(3, 2 * w),
            nn.SiLU(),
        )
        self.up = nn.ConvTranspose2d(2 * w, w, 2, stride=2)
        self.c = nn.Sequential(nn.Conv2d(2 * w, w, 3, padding=1), nn.GroupNorm(3, w), nn.SiLU())
        self.log_odds = nn.Conv2d(w, 1, 1)

    def forward(self, x):
        a = self.a((x - 0.65) / 0.2)
        return self.log_odds(self.c(torch.cat([a, self.up(self.b(a))], 1)))[:, 0]


def neg_log_likelihood(log_odds, m):
    return nn.functional.binary_cross_entropy_with_logits(log_odds, m, reduction="sum")


def iou(net, x, m):
    with torch.no_grad():
        p = torch.cat([net(c) for c in x.split(50)]) > 0
    m = m.bool()
    return ((p & m).sum() / (p | m).sum()).item()


x_fit, m_fit = tiles(320)
x_new, m_new = tiles(100)
net = Segmenter()
STEP = 0.15
opt = torch.optim.SGD(net.parameters(), lr=STEP, momentum=0.5)
rounds = 12
for r in range(rounds):
    opt.param_groups[0]["lr"] = STEP * (1 - r / rounds)
    nll = 0.0
    for idx in torch.randperm(len(x_fit)).split(16):
        opt.zero_grad(set_to_none=True)
        objective = neg_log_likelihood(net(x_fit[idx]), m_fit[idx])
        objective.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        opt.step()
        nll += objective.item()
    print(f"round {r:2d}  total NLL {nll:10.0f}  IoU on new tiles {iou(net, x_new, m_new):.4f}")
print(f"IoU {iou(net, x_new, m_new):.4f}")
