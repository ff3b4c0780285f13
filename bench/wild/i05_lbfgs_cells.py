"""White cell, red cell or platelet? Full-batch L-BFGS on a smooth little network, the way I fit everything else;
no mini-batches, the sum over all cells is the objective.

style: computational statistician, objective function and closure
fault: none
mended: 0.981
"""

import os
import xml.etree.ElementTree as ElementTree

import numpy as np
import torch
from PIL import Image

SHARED = os.environ["FOVEA_SHARED"]
BCCD = SHARED + "/data/bccd"
KIND = ("Platelets", "RBC", "WBC")
torch.manual_seed(0)


def cells(listing):
    rng = np.random.default_rng(0)
    X, y = [], []
    for s in open(f"{BCCD}/ImageSets/Main/{listing}.txt").read().split():
        img = Image.open(f"{BCCD}/JPEGImages/{s}.jpg").convert("RGB")
        by = {k: [] for k in KIND}
        for o in ElementTree.parse(f"{BCCD}/Annotations/{s}.xml").iter("object"):
            bb = o.find("bndbox")
            x0, y0, x1, y1 = (int(float(bb.find(t).text)) for t in ("xmin", "ymin", "xmax", "ymax"))
            if min(x1 - x0, y1 - y0) > 8:
                cx, cy = (x0 + x1) // 2, (y0 + y1) // 2
                by[o.find("name").text].append((cx - 48, cy - 48, cx + 48, cy + 48))  # same scale for all
        for k, boxes in by.items():
            for j in rng.permutation(len(boxes))[:2]:
                X.append(np.asarray(img.crop(boxes[j]).resize((24, 24), Image.BOX), np.float32))
                y.append(KIND.index(k))
    order = np.argsort(y, kind="stable")
    return np.stack(X)[order], np.asarray(y)[order]


X, y = cells("trainval")
Xt, yt = cells("test")
mu, sd = X.mean((0, 1, 2)), X.std((0, 1, 2))
prep = lambda a: torch.from_numpy(((a - mu) / sd).transpose(0, 3, 1, 2).copy())
X, Xt, y, yt = prep(X), prep(Xt), torch.from_numpy(y), torch.from_numpy(yt)
print("n =", len(y), torch.bincount(y).tolist(), " n_test =", len(yt), torch.bincount(yt).tolist())


class Smooth(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a = torch.nn.Conv2d(3, 10, 5, stride=2)
        self.b = torch.nn.Conv2d(10, 16, 3, stride=2)
        self.c = torch.nn.Linear(16 * 16 + 16, 3)

    def forward(self, x):
        h = torch.nn.functional.softplus(self.a(x))
        h = torch.tanh(self.b(h))
        return self.c(torch.cat([h.flatten(1), h.mean((2, 3))], 1))


f = Smooth()
RIDGE = 0.3
optim = torch.optim.LBFGS(f.parameters(), lr=1.0, max_iter=60, history_size=20, line_search_fn="strong_wolfe")


def objective():
    fit = torch.nn.functional.cross_entropy(f(X), y, reduction="sum")
    return fit + 0.5 * RIDGE * sum((p**2).sum() for p in f.parameters())


def closure():
    optim.zero_grad()
    value = objective()
    value.backward()
    return value


f.train()
for outer in range(2):
    before = optim.step(closure)
    with torch.no_grad():
        print(f"outer {outer}: {before.item():9.3f} -> {objective().item():9.3f}", flush=True)

f.eval()
with torch.no_grad():
    yhat = f(Xt).argmax(1)
print("held-out accuracy %.3f" % (yhat == yt).float().mean().item())
