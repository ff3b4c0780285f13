"""How full is the glass? Seven ordered levels, from a bar camera. I wanted ordinal outputs (CORAL) and sharpness-aware minimisation, both hand-made.

style: Lightning with manual optimisation, two backward passes per batch, ordinal head
fault: none
mended: 0.924
"""

import lightning as L
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch.utils.data import DataLoader, TensorDataset

LEVELS = 7


def glass(level, rng):
    im = Image.new("RGB", (72, 72), tuple(int(v) for v in rng.integers(90, 220, 3)))
    d = ImageDraw.Draw(im)
    for _ in range(4):
        x, y = rng.integers(0, 72, 2)
        d.rectangle(
            [x, y, x + int(rng.integers(4, 30)), y + int(rng.integers(2, 9))],
            fill=tuple(int(v) for v in rng.integers(60, 230, 3)),
        )
    w, h = rng.uniform(20, 30), rng.uniform(36, 52)
    x0, y0 = rng.uniform(4, 66 - w), rng.uniform(4, 66 - h)
    slant = rng.uniform(0, 4)

    def edge(f):
        # left and right x at height f (0 bottom, 1 top)
        return x0 + slant * (1 - f), x0 + w - slant * (1 - f), y0 + h * (1 - f)

    drink = tuple(int(v) for v in rng.uniform((120, 40, 0), (200, 120, 50)))
    f = np.clip((level + rng.uniform(0.25, 0.75)) / LEVELS, 0.03, 0.97)
    bl, br, by = edge(0)
    tl, tr, ty = edge(1)
    fl, fr, fy = edge(f)
    d.polygon([(tl, ty), (tr, ty), (br, by), (bl, by)], fill=(225, 232, 236))
    d.polygon([(fl, fy), (fr, fy), (br, by), (bl, by)], fill=drink)
    d.line([(tl, ty), (bl, by), (br, by), (tr, ty)], fill=(40, 40, 50), width=3)
    a = np.asarray(im.resize((36, 36), Image.BILINEAR), np.float32)
    return a + rng.normal(0, 10, a.shape)


def bar(n, seed):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, LEVELS, n)
    x = np.stack([glass(k, rng) for k in y]).transpose(0, 3, 1, 2)
    return TensorDataset(torch.tensor((x - 150) / 65, dtype=torch.float32), torch.tensor(y))


class Coral(L.LightningModule):
    def __init__(self, lr=0.06, rho=0.03):
        super().__init__()
        self.automatic_optimization = False
        self.lr, self.rho = lr, rho

        def block(i, o, s):
            return nn.Sequential(nn.Conv2d(i, o, 3, s, 1), nn.GroupNorm(4, o), nn.ReLU())

        self.body = nn.Sequential(
            block(3, 16, 2),
            block(16, 32, 1),
            block(32, 48, 2),
            block(48, 64, 2),
            nn.Flatten(),
            nn.Linear(64 * 25, 64),
            nn.ReLU(),
        )
        self.score = nn.Linear(64, 1, bias=False)
        self.cuts = nn.Parameter(torch.linspace(2, -2, LEVELS - 1))

    def forward(self, x):
        return self.score(self.body(x)) + self.cuts

    def loss(self, x, y):
        above = (y[:, None] > torch.arange(LEVELS - 1, device=y.device)).float()
        return F.binary_cross_entropy_with_logits(self(x), above) * (LEVELS - 1)

    def training_step(self, batch, _):
        x, y = batch
        opt, sch = self.optimizers(), self.lr_schedulers()
        params = [p for p in self.parameters() if p.grad is not None or p.requires_grad]
        loss = self.loss(x, y)
        opt.zero_grad()
        self.manual_backward(loss)
        with torch.no_grad():
            norm = torch.norm(torch.stack([p.grad.norm() for p in params])) + 1e-12
            shift = [self.rho * p.grad / norm for p in params]
            for p, e in zip(params, shift):
                p.add_(e)
        opt.zero_grad()
        self.manual_backward(self.loss(x, y))
        with torch.no_grad():
            for p, e in zip(params, shift):
                p.sub_(e)
        opt.step()
        sch.step()
        self.log("loss", loss.detach(), on_epoch=True, on_step=False)

    def validation_step(self, batch, _):
        x, y = batch
        level = (self(x) > 0).sum(1)
        self.log_dict(
            {"exact": (level == y).float().mean(), "mae": (level - y).abs().float().mean()}, batch_size=len(y)
        )

    def configure_optimizers(self):
        opt = torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)
        return [opt], [torch.optim.lr_scheduler.CosineAnnealingLR(opt, self.trainer.estimated_stepping_batches)]


if __name__ == "__main__":
    L.seed_everything(33, verbose=False)
    trainer = L.Trainer(
        max_epochs=12,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Coral(), DataLoader(bar(1600, 1), 40, shuffle=True), DataLoader(bar(500, 2), 100))
    m = trainer.callback_metrics
    print(f"mean error {m['mae']:.3f} levels")
    print(f"exact level: {m['exact']:.3f}")
