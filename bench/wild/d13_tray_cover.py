"""How full is the tray? Regression of the covered share from a picture.

style: regression, big-picture-small-batch research code
fault: batchnorm-small-batch
accept: batchnorm-mode
broken: 0.929
mended: 0.995
"""

import numpy as np
import torch
import torch.nn as nn
from PIL import Image, ImageDraw

torch.set_num_threads(1)
torch.manual_seed(8)
HW = 48


def tray(rng):
    im = Image.new("RGB", (HW, HW), tuple(int(v) for v in rng.uniform(170, 215, 3)))
    truth = Image.new("1", (HW, HW), 0)
    d, t = ImageDraw.Draw(im), ImageDraw.Draw(truth)
    for _ in range(rng.integers(0, 34)):
        r = rng.uniform(2.5, 5.5)
        x, y = rng.uniform(0, HW, 2)
        box = [x - r, y - r, x + r, y + r]
        d.ellipse(box, fill=tuple(int(v) for v in rng.uniform(60, 165, 3)))
        t.ellipse(box, fill=1)
    a = np.asarray(im, np.float32) + rng.normal(0, 8, (HW, HW, 3))
    return a.transpose(2, 0, 1), np.asarray(truth, np.float32).mean()


def stack(n, seed):
    rng = np.random.default_rng(seed)
    items = [tray(rng) for _ in range(n)]
    return (
        torch.tensor(np.stack([i[0] for i in items]), dtype=torch.float32),
        torch.tensor([i[1] for i in items], dtype=torch.float32),
    )


def block(i, o, stride):
    return nn.Sequential(nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True))


class CoverNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            block(3, 16, 1), block(16, 24, 2), block(24, 32, 2), block(32, 48, 2), block(48, 64, 2), block(64, 64, 1)
        )
        self.regress = nn.Linear(64, 1)

    def forward(self, x):
        return self.regress(self.features(x).mean((2, 3))).squeeze(1)


def r2(pred, y):
    return 1 - ((pred - y) ** 2).sum().item() / ((y - y.mean()) ** 2).sum().item()


def main():
    xt, yt = stack(700, 21)
    xv, yv = stack(300, 22)
    m = xt.mean((0, 2, 3), keepdim=True)
    s = xt.std((0, 2, 3), keepdim=True)
    xt, xv = (xt - m) / s, (xv - m) / s
    ym, ys = yt.mean(), yt.std()
    yt, yv = (yt - ym) / ys, (yv - ym) / ys

    net = CoverNet()
    loss_fn = nn.MSELoss()
    epochs, batch = 6, 2
    opt = torch.optim.Adam(net.parameters(), lr=1e-3)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, T_max=epochs)
    for epoch in range(epochs):
        net.train()
        perm = torch.randperm(len(xt))
        acc = 0.0
        for i in range(0, len(perm), batch):
            idx = perm[i : i + batch]
            loss = loss_fn(net(xt[idx]), yt[idx])
            opt.zero_grad()
            loss.backward()
            opt.step()
            acc += loss.item()
        sched.step()
        net.eval()
        with torch.no_grad():
            p = torch.cat([net(c) for c in xv.split(50)])
        print(
            f"epoch {epoch + 1}/{epochs}  mse {acc / (len(perm) / batch):.4f}  val_mse {loss_fn(p, yv).item():.4f}  val_R2 {r2(p, yv):.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
