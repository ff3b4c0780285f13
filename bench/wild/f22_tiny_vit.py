"""A vision transformer small enough for my laptop, on the 8x8 digits.  I follow nanoGPT for the optimiser
(decay on matrices, none on biases and norms).

style: transformer tinkerer, nanoGPT-like code, configure_optimizers
fault: optimizer-misses-parameters
broken: 0.829
mended: 0.955
"""

import math
from dataclasses import dataclass

import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from torch.nn import functional as F


@dataclass
class ViTConfig:
    image: int = 8
    patch: int = 2
    n_layer: int = 3
    n_head: int = 4
    n_embd: int = 48
    n_class: int = 10
    dropout: float = 0.0


class SelfAttention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c_attn = nn.Linear(c.n_embd, 3 * c.n_embd)
        self.c_proj = nn.Linear(c.n_embd, c.n_embd)
        self.n_head = c.n_head

    def forward(self, x):
        B, T, C = x.shape
        q, k, v = (t.view(B, T, self.n_head, C // self.n_head).transpose(1, 2) for t in self.c_attn(x).split(C, dim=2))
        y = F.scaled_dot_product_attention(q, k, v)
        return self.c_proj(y.transpose(1, 2).reshape(B, T, C))


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.ln_1 = nn.LayerNorm(c.n_embd)
        self.attn = SelfAttention(c)
        self.ln_2 = nn.LayerNorm(c.n_embd)
        self.mlp = nn.Sequential(nn.Linear(c.n_embd, 3 * c.n_embd), nn.GELU(), nn.Linear(3 * c.n_embd, c.n_embd))

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class ViT(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        tokens = (c.image // c.patch) ** 2
        self.wte = nn.Linear(c.patch * c.patch, c.n_embd)
        self.cls = nn.Parameter(torch.zeros(1, 1, c.n_embd))
        self.wpe = nn.Parameter(torch.randn(1, tokens + 1, c.n_embd) * 0.02)
        self.h = nn.Sequential(*[Block(c) for _ in range(c.n_layer)])
        self.ln_f = nn.LayerNorm(c.n_embd)
        self.head = nn.Linear(c.n_embd, c.n_class, bias=False)
        self.apply(self._init)
        for n, p in self.named_parameters():
            if n.endswith("c_proj.weight"):
                nn.init.normal_(p, std=0.02 / math.sqrt(2 * c.n_layer))

    def _init(self, m):
        if isinstance(m, nn.Linear):
            nn.init.normal_(m.weight, std=0.06)
            if m.bias is not None:
                nn.init.zeros_(m.bias)

    def forward(self, img, target=None):
        p = F.unfold(img, self.c.patch, stride=self.c.patch).transpose(1, 2)
        x = self.wte(p)
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], 1) + self.wpe
        logits = self.head(self.ln_f(self.h(x))[:, 0])
        return logits, None if target is None else F.cross_entropy(logits, target)

    def configure_optimizers(self, lr, weight_decay, betas):
        params = {n: p for n, p in self.named_parameters() if p.requires_grad}
        decay = [p for p in params.values() if p.dim() > 2]
        nodecay = [p for p in params.values() if p.dim() < 2]
        print(f"decayed tensors: {len(decay)}, non-decayed tensors: {len(nodecay)}")
        return torch.optim.AdamW(
            [{"params": decay, "weight_decay": weight_decay}, {"params": nodecay, "weight_decay": 0.0}],
            lr=lr,
            betas=betas,
        )


torch.manual_seed(1337)
data = load_digits()
X = (torch.tensor(data.images, dtype=torch.float32)[:, None] - 4.9) / 6.0
Y = torch.tensor(data.target)
perm = torch.randperm(len(X))
tr, te = perm[:1400], perm[1400:]

model = ViT(ViTConfig())
optimizer = model.configure_optimizers(lr=2e-3, weight_decay=0.05, betas=(0.9, 0.98))
max_iters, warmup, batch = 700, 50, 48


def get_lr(it, top=2e-3, low=1e-4):
    if it < warmup:
        return top * (it + 1) / warmup
    return low + 0.5 * (1 + math.cos(math.pi * (it - warmup) / (max_iters - warmup))) * (top - low)


@torch.no_grad()
def estimate():
    model.eval()
    acc = (model(X[te])[0].argmax(1) == Y[te]).float().mean().item()
    model.train()
    return acc


for it in range(max_iters):
    for g in optimizer.param_groups:
        g["lr"] = get_lr(it)
    ix = tr[torch.randint(len(tr), (batch,))]
    _, loss = model(X[ix], Y[ix])
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    if it % 100 == 99:
        print(f"iter {it + 1}: loss {loss.item():.4f}, test acc {estimate():.4f}")

print("final test acc", estimate())
