"""My level editor should sort imported 24x24 ground tiles into grass, brick, planks, cobble, water and mesh
automatically. Tiny conv net, must stay under 50 kB in the game build.

style: game developer, procedural tiles, compact helpers
fault: missing-nonlinearity
broken: 0.310
mended: 1.000
"""

import math
import random

import numpy as np
import torch
import torch.nn as nn

SEED = 1337
TILE = 24
KINDS = ["grass", "brick", "planks", "cobble", "water", "mesh"]
rnd = random.Random(SEED)
gen = np.random.default_rng(SEED)
torch.manual_seed(SEED)
Y, X = np.mgrid[:TILE, :TILE].astype(np.float32)


def grass():
    t = np.zeros((TILE, TILE), np.float32)
    for _ in range(60):
        r, c, n = rnd.randrange(TILE), rnd.randrange(TILE), rnd.randrange(3, 6)
        t[r : r + n, c] = 1
    return t


def brick():
    h, w, o = rnd.choice((5, 6)), rnd.choice((8, 10)), rnd.randrange(8)
    row = ((Y + o) // h).astype(int)
    return (((Y + o) % h < 1) | ((X + o + (row % 2) * w / 2) % w < 1)).astype(np.float32)


def planks():
    h, o = rnd.choice((4, 5, 6)), rnd.randrange(6)
    return (((Y + o) % h) < 1).astype(np.float32)


def cobble():
    pts = gen.uniform(-2, TILE + 2, (22, 2))
    d = np.sort(np.hypot(Y[..., None] - pts[:, 0], X[..., None] - pts[:, 1]), axis=-1)
    return (d[..., 1] - d[..., 0] < 0.9).astype(np.float32)


def water():
    f, p, q = rnd.uniform(0.7, 1.0), rnd.uniform(0, 6), rnd.uniform(0, 6)
    return (np.sin(f * Y + 1.4 * np.sin(0.5 * X + q) + p) > 0.5).astype(np.float32)


def mesh():
    s, o = rnd.choice((4, 5, 6)), rnd.randrange(6)
    return (((X + Y + o) % s < 1) | ((X - Y + o) % s < 1)).astype(np.float32)


def bake(kind):
    t = globals()[kind]()
    t = (t - t.mean()) / (t.std() + 1e-6)  # palette-independent
    return t * rnd.uniform(0.6, 1.0) + gen.normal(0, 0.6, t.shape)


def tileset(n):
    lab = [rnd.randrange(len(KINDS)) for _ in range(n)]
    return torch.tensor(np.stack([bake(KINDS[k]) for k in lab]), dtype=torch.float32).unsqueeze(1), torch.tensor(lab)


def conv(i, o, k=3, s=1, act=None):
    mods = [nn.Conv2d(i, o, k, s, k // 2, bias=False), nn.BatchNorm2d(o)]
    if act is not None:
        mods.append(act())
    return nn.Sequential(*mods)


class TileBrain(nn.Module):
    def __init__(self, ch=20):
        super().__init__()
        self.body = nn.Sequential(conv(1, ch, 5), conv(ch, ch, s=2), conv(ch, 2 * ch))
        self.vote = nn.Linear(2 * ch, len(KINDS))

    def forward(self, t):
        return self.vote(self.body(t).mean(dim=(2, 3)))


def level_up(brain, tiles, kinds, laps=10, pack=48):
    opt = torch.optim.AdamW(brain.parameters(), lr=4e-3, weight_decay=1e-3)
    for lap in range(laps):
        for g in opt.param_groups:
            g["lr"] = 4e-3 * (0.1 + 0.9 * math.cos(math.pi / 2 * lap / laps))
        brain.train()
        pain = []
        for hand in torch.randperm(len(tiles)).split(pack):
            loss = nn.functional.cross_entropy(brain(tiles[hand]), kinds[hand])
            opt.zero_grad()
            loss.backward()
            opt.step()
            pain.append(loss.item())
        print(f"lap {lap:2d}  pain {sum(pain) / len(pain):.3f}", flush=True)


tiles, kinds = tileset(1800)
exam, key = tileset(600)
brain = TileBrain()
level_up(brain, tiles, kinds)
brain.eval()
with torch.inference_mode():
    score = (brain(exam).argmax(1) == key).float().mean().item()
print(f"SCORE {score:.3f}  params {sum(p.numel() for p in brain.parameters())}")
