"""Embeds digits with a triplet loss and a batch-hard miner, judged by nearest neighbours.

style: metric learning code, PK sampler, miner as a class
fault: none
broken: n/a
mended: 0.99
"""

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler

torch.set_num_threads(1)


class DigitSet(Dataset):
    def __init__(self, images, labels):
        self.images = torch.tensor(images, dtype=torch.float32).unsqueeze(1) / 8 - 1
        self.labels = torch.tensor(labels)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        return self.images[i], self.labels[i]


class PKSampler(Sampler):
    """P classes with K samples of each in a batch."""

    def __init__(self, labels, p, k, n_batches, seed=0):
        self.by_class = [np.flatnonzero(labels == c) for c in np.unique(labels)]
        self.p, self.k, self.n_batches = p, k, n_batches
        self.rng = np.random.default_rng(seed)

    def __len__(self):
        return self.n_batches

    def __iter__(self):
        for _ in range(self.n_batches):
            classes = self.rng.choice(len(self.by_class), self.p, replace=False)
            batch = [self.rng.choice(self.by_class[c], self.k, replace=False) for c in classes]
            yield np.concatenate(batch).tolist()


class BatchHardMiner:
    def __call__(self, dist, labels):
        same = labels[:, None] == labels[None, :]
        hardest_positive = (dist * same).max(1).values
        hardest_negative = (dist + 1e6 * same).min(1).values
        return hardest_positive, hardest_negative


class TripletLoss(nn.Module):
    def __init__(self, margin):
        super().__init__()
        self.margin = margin
        self.miner = BatchHardMiner()

    def forward(self, z, labels):
        dist = (z[:, None] - z[None]).pow(2).sum(-1).clamp_min(1e-9).sqrt()
        pos, neg = self.miner(dist, labels)
        return torch.relu(pos - neg + self.margin).mean(), (neg > pos).float().mean()


class Embedder(nn.Module):
    def __init__(self, dim=16):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(),
        )
        self.proj = nn.Linear(32 * 16, dim)

    def forward(self, x):
        return nn.functional.normalize(self.proj(self.conv(x).flatten(1)), dim=1)


def embed(model, dataset):
    model.eval()
    with torch.no_grad():
        z = torch.cat([model(x) for x, _ in DataLoader(dataset, batch_size=256)])
    return z.numpy(), dataset.labels.numpy()


def main():
    torch.manual_seed(0)
    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8)
    order = np.random.default_rng(1).permutation(len(labels))
    tr, va = order[:1300], order[1300:]
    train_set, val_set = DigitSet(images[tr], labels[tr]), DigitSet(images[va], labels[va])
    loader = DataLoader(train_set, batch_sampler=PKSampler(labels[tr], p=8, k=6, n_batches=40))
    model, criterion = Embedder(), TripletLoss(margin=0.3)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for epoch in range(7):
        model.train()
        total = active = 0.0
        for x, y in loader:
            loss, correct = criterion(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
            active += correct.item()
        gallery, gallery_y = embed(model, train_set)
        query, query_y = embed(model, val_set)
        recall = KNeighborsClassifier(5).fit(gallery, gallery_y).score(query, query_y)
        print(f"epoch {epoch}: triplet {total / len(loader):.3f} right {active / len(loader):.2f} knn {recall:.3f}")


if __name__ == "__main__":
    main()
