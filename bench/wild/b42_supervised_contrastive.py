"""Embeddings of digits learnt with a supervised contrastive loss, judged by their nearest neighbours.

style: metric learning, two augmented views, normalised projections, temperature
fault: none
broken: n/a
mended: 0.97
"""

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier
from torch import nn
from torch.utils.data import DataLoader, Dataset


class TwoViews(Dataset):
    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x)

    @staticmethod
    def view(img):
        dy, dx = torch.randint(-1, 2, (2,)).tolist()
        img = torch.roll(img, (dy, dx), (1, 2))
        return img + 0.2 * torch.randn_like(img)

    def __getitem__(self, i):
        return torch.stack([self.view(self.x[i]), self.view(self.x[i])]), self.y[i]


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.base = nn.Sequential(
            nn.Conv2d(1, 24, 3, padding=1),
            nn.BatchNorm2d(24),
            nn.ReLU(),
            nn.Conv2d(24, 48, 3, stride=2, padding=1),
            nn.BatchNorm2d(48),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(48 * 16, 64),
        )
        self.projector = nn.Sequential(nn.ReLU(), nn.Linear(64, 32))

    def forward(self, x):
        h = self.base(x)
        return h, F.normalize(self.projector(h), dim=1)


class SupConLoss(nn.Module):
    def __init__(self, temperature=0.2):
        super().__init__()
        self.t = temperature

    def forward(self, z, labels):
        sim = z @ z.T / self.t
        self_mask = torch.eye(len(z), dtype=torch.bool)
        sim = sim.masked_fill(self_mask, -1e9)
        log_prob = sim - sim.logsumexp(1, keepdim=True)
        positive = (labels[:, None] == labels[None]) & ~self_mask
        return -(log_prob * positive).sum(1).div(positive.sum(1)).mean()


def embed(model, x):
    model.eval()
    with torch.no_grad():
        return F.normalize(model(x)[0], dim=1).numpy()


def main():
    torch.manual_seed(20)
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 8 - 1
    y = torch.tensor(digits.target)
    order = torch.randperm(len(x))
    tr, te = order[:1300], order[1300:]
    loader = DataLoader(TwoViews(x[tr], y[tr]), batch_size=64, shuffle=True, drop_last=True)
    model, criterion = Encoder(), SupConLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 6)
    for epoch in range(6):
        model.train()
        losses = []
        for views, labels in loader:
            _, z = model(views.flatten(0, 1))
            loss = criterion(z, labels.repeat_interleave(2))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        scheduler.step()
        knn = KNeighborsClassifier(5).fit(embed(model, x[tr]), y[tr].numpy())
        print(f"epoch {epoch} loss {np.mean(losses):.3f} kNN accuracy {knn.score(embed(model, x[te]), y[te]):.4f}")


if __name__ == "__main__":
    main()
