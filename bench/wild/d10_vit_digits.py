"""A Vision Transformer from scratch for 8x8 handwritten digits.

style: GitHub repository, compact ViT, everything in one file
fault: learning-rate-high
broken: 0.552
mended: 0.917
"""

import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader, TensorDataset


class PatchEmbed(nn.Module):
    def __init__(self, patch=2, dim=64):
        super().__init__()
        self.proj = nn.Conv2d(1, dim, patch, patch)

    def forward(self, x):
        return self.proj(x).flatten(2).transpose(1, 2)


class Attention(nn.Module):
    def __init__(self, dim, heads=4):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, dim * 3)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        b, n, d = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        a = (q @ k.transpose(-2, -1) * (d // self.heads) ** -0.5).softmax(-1)
        return self.proj((a @ v).transpose(1, 2).reshape(b, n, d))


class Block(nn.Module):
    def __init__(self, dim, mlp=2):
        super().__init__()
        self.n1, self.n2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn = Attention(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, dim * mlp), nn.GELU(), nn.Linear(dim * mlp, dim))

    def forward(self, x):
        x = x + self.attn(self.n1(x))
        return x + self.mlp(self.n2(x))


class ViT(nn.Module):
    def __init__(self, dim=64, depth=5, classes=10):
        super().__init__()
        self.embed = PatchEmbed(2, dim)
        self.cls = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos = nn.Parameter(torch.randn(1, 17, dim) * 0.02)
        self.blocks = nn.Sequential(*[Block(dim) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, classes)

    def forward(self, x):
        x = self.embed(x)
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], 1) + self.pos
        return self.head(self.norm(self.blocks(x))[:, 0])


def loaders(bs=32):
    d = load_digits()
    x = torch.tensor(d.images, dtype=torch.float32)[:, None]
    x = (x / 16 - 0.305) / 0.376
    y = torch.tensor(d.target)
    tr, te = train_test_split(range(len(y)), test_size=0.3, stratify=y, random_state=0)
    return (DataLoader(TensorDataset(x[tr], y[tr]), bs, shuffle=True), DataLoader(TensorDataset(x[te], y[te]), 128))


def train(epochs=14):
    torch.manual_seed(0)
    train_loader, test_loader = loaders()
    model = ViT()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.05)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(epochs):
        model.train()
        loss_avg = acc_avg = 0
        for x, y in train_loader:
            logits = model(x)
            loss = criterion(logits, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss_avg += loss.item() / len(train_loader)
            acc_avg += (logits.argmax(1) == y).float().mean().item() / len(train_loader)
        model.eval()
        loss_t = hits = n = 0
        with torch.no_grad():
            for x, y in test_loader:
                logits = model(x)
                loss_t += criterion(logits, y).item() * len(y)
                hits += (logits.argmax(1) == y).sum().item()
                n += len(y)
        print(
            f"Epoch: {epoch + 1} | loss: {loss_avg:.4f} | acc: {acc_avg:.4f} | val_loss: {loss_t / n:.4f} | val_acc: {hits / n:.4f}",
            flush=True,
        )


if __name__ == "__main__":
    torch.set_num_threads(1)
    train()
