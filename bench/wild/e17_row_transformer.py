"""Digits read row by row by a small Transformer.

style: pre-norm Transformer encoder over image rows, mixup + label smoothing, warm-up then cosine per step, AdamW
fault: none
broken: n/a
mended: 0.983
"""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

torch.manual_seed(17)
EPOCHS, BATCH, WARM = 40, 48, 100

X, y = load_digits(return_X_y=True)
Xa, Xb, ya, yb = train_test_split(X, y, test_size=0.3, random_state=17, stratify=y)
mu, sd = Xa.mean(), Xa.std()
Xa, Xb = [torch.tensor((v - mu) / sd, dtype=torch.float32).view(-1, 8, 8) for v in (Xa, Xb)]
ya, yb = torch.tensor(ya), torch.tensor(yb)


class RowTransformer(nn.Module):
    def __init__(self, d=48, heads=4, layers=3):
        super().__init__()
        self.embed = nn.Linear(8, d)
        self.cls = nn.Parameter(torch.randn(1, 1, d) * 0.02)
        self.pos = nn.Parameter(torch.randn(1, 9, d) * 0.02)
        layer = nn.TransformerEncoderLayer(
            d, heads, 2 * d, dropout=0.1, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, layers, norm=nn.LayerNorm(d), enable_nested_tensor=False)
        self.head = nn.Linear(d, 10)

    def forward(self, x):
        z = torch.cat([self.cls.expand(len(x), -1, -1), self.embed(x)], 1) + self.pos
        return self.head(self.encoder(z)[:, 0])


model = RowTransformer()
decay = [p for n, p in model.named_parameters() if p.ndim > 1 and n not in ("cls", "pos")]
plain = [p for n, p in model.named_parameters() if p.ndim <= 1 or n in ("cls", "pos")]
opt = torch.optim.AdamW(
    [{"params": decay, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}], lr=2e-3, betas=(0.9, 0.98)
)
steps = EPOCHS * math.ceil(len(Xa) / BATCH)
sched = torch.optim.lr_scheduler.LambdaLR(
    opt, lambda s: min((s + 1) / WARM, 0.5 * (1 + math.cos(math.pi * min(1, s / steps))))
)
beta = torch.distributions.Beta(0.4, 0.4)

for epoch in range(EPOCHS):
    model.train()
    total, hits = 0.0, 0
    for idx in torch.randperm(len(Xa)).split(BATCH):
        lam = beta.sample().item()
        other = idx[torch.randperm(len(idx))]
        out = model(lam * Xa[idx] + (1 - lam) * Xa[other])
        loss = lam * F.cross_entropy(out, ya[idx], label_smoothing=0.1) + (1 - lam) * F.cross_entropy(
            out, ya[other], label_smoothing=0.1
        )
        opt.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        sched.step()
        total += loss.item() * len(idx)
        hits += (out.argmax(1) == ya[idx]).sum().item()
    if epoch % 4 == 3:
        model.eval()
        with torch.no_grad():
            acc = (model(Xb).argmax(1) == yb).float().mean().item()
        print(
            f"epoch {epoch + 1:2d}  mixed loss {total / len(Xa):.3f}  mixed acc {hits / len(Xa):.3f}  test acc {acc:.4f}"
        )
print(f"final test accuracy {acc:.4f}")
