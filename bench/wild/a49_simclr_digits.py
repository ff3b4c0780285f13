"""Contrastive learning on unlabelled digits (NT-Xent), judged by a nearest-neighbour classifier.

style: SimCLR re-implementation
fault: none
"""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from scipy.ndimage import zoom
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier
from torchvision.transforms import v2


def load():
    digits = load_digits()
    images = np.stack([zoom(im, 2, order=1) for im in digits.images]) / 16
    order = np.random.default_rng(0).permutation(len(images))
    x = torch.tensor((images[order, None] - 0.3) / 0.35, dtype=torch.float32)
    y = digits.target[order]
    return x[:1200], y[:1200], x[1200:], y[1200:]


augment = v2.Compose([v2.RandomAffine(degrees=15, translate=(0.1, 0.1), scale=(0.85, 1.15), shear=8, fill=-0.86)])


def views(x):
    return torch.stack([augment(image) for image in x]) + 0.1 * torch.randn_like(x)


class SimCLR(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(64 * 16, 96),
        )
        self.projector = nn.Sequential(nn.ReLU(), nn.Linear(96, 48))

    def forward(self, x):
        return F.normalize(self.projector(self.encoder(x)), dim=1)


def nt_xent(a, b, temperature=0.2):
    z = torch.cat([a, b])
    similarity = z @ z.T / temperature
    similarity.fill_diagonal_(float("-inf"))
    n = len(a)
    targets = torch.cat([torch.arange(n, 2 * n), torch.arange(n)])
    return F.cross_entropy(similarity, targets)


@torch.no_grad()
def knn_accuracy(model, x, y, x_test, y_test):
    model.eval()
    return KNeighborsClassifier(5).fit(model.encoder(x), y).score(model.encoder(x_test), y_test)


if __name__ == "__main__":
    torch.manual_seed(0)
    x, y, x_test, y_test = load()
    model = SimCLR()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-6)
    for epoch in range(8):
        model.train()
        for idx in torch.randperm(len(x)).split(120):
            loss = nt_xent(model(views(x[idx])), model(views(x[idx])))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch}: loss {loss.item():.3f}, 5-NN accuracy {knn_accuracy(model, x, y, x_test, y_test):.3f}")
