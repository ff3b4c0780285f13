"""A very small vision transformer on digits: warm-up from zero, strong decoupled weight decay, clipping.

style: nanoGPT-like training script, get_lr function, decay and no-decay groups
fault: none
broken: n/a
mended: 0.96
"""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits

max_lr, min_lr = 3e-3, 3e-5
warmup_steps, max_steps = 40, 350
batch_size = 64
weight_decay = 0.3
grad_clip = 1.0
torch.manual_seed(1337)

data = load_digits()
images = torch.tensor(data.images, dtype=torch.float32)[:, None] / 8 - 1
labels = torch.tensor(data.target)
shuffled = torch.randperm(len(images))
train_ids, test_ids = shuffled[:1437], shuffled[1437:]


class Block(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x):
        h = self.ln1(x)
        x = x + self.attn(h, h, h, need_weights=False)[0]
        return x + self.mlp(self.ln2(x))


class ViT(nn.Module):
    def __init__(self, dim=48, depth=3, heads=4, patch=2):
        super().__init__()
        self.patchify = nn.Conv2d(1, dim, patch, patch)
        self.cls = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos = nn.Parameter(torch.randn(1, 17, dim) * 0.02)
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(depth))
        self.ln = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, 10)

    def forward(self, x, targets=None):
        tokens = self.patchify(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls.expand(len(x), -1, -1), tokens], 1) + self.pos
        for block in self.blocks:
            tokens = block(tokens)
        logits = self.head(self.ln(tokens[:, 0]))
        loss = None if targets is None else F.cross_entropy(logits, targets)
        return logits, loss


def get_lr(step):
    if step < warmup_steps:
        return max_lr * step / warmup_steps
    ratio = (step - warmup_steps) / (max_steps - warmup_steps)
    return min_lr + 0.5 * (max_lr - min_lr) * (1 + math.cos(math.pi * ratio))


model = ViT()
decay = [p for p in model.parameters() if p.dim() >= 2]
no_decay = [p for p in model.parameters() if p.dim() < 2]
optimizer = torch.optim.AdamW(
    [{"params": decay, "weight_decay": weight_decay}, {"params": no_decay, "weight_decay": 0.0}],
    lr=max_lr,
    betas=(0.9, 0.95),
)

for step in range(max_steps):
    for group in optimizer.param_groups:
        group["lr"] = get_lr(step)
    pick = train_ids[torch.randint(len(train_ids), (batch_size,))]
    logits, loss = model(images[pick] + 0.3 * torch.randn(batch_size, 1, 8, 8), labels[pick])
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), grad_clip)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    if step % 50 == 0 or step == max_steps - 1:
        model.eval()
        with torch.no_grad():
            logits, val_loss = model(images[test_ids], labels[test_ids])
        model.train()
        acc = (logits.argmax(1) == labels[test_ids]).float().mean()
        print(f"step {step}: loss {loss:.4f} norm {norm:.2f} val loss {val_loss:.4f} val acc {acc:.4f}")
