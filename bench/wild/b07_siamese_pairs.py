"""Siamese network on pairs of digits, Euclidean distance and contrastive loss.

style: siamese tutorial, pair dataset, own distance and loss
source: https://github.com/adambielski/siamese-triplet/issues/18
fault: nan
broken: 0.50
mended: 0.94
"""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset


class PairDataset(Dataset):
    """Pairs drawn at random: half of them from the same class."""

    def __init__(self, images, labels, n_pairs, seed):
        rng = np.random.default_rng(seed)
        self.images = images
        by_class = [np.flatnonzero(labels == c) for c in range(10)]
        self.pairs = []
        for k in range(n_pairs):
            a = int(rng.integers(len(images)))
            if k % 2 == 0:
                b = int(rng.choice(by_class[labels[a]]))
            else:
                other = (labels[a] + rng.integers(1, 10)) % 10
                b = int(rng.choice(by_class[other]))
            self.pairs.append((a, b, float(labels[a] == labels[b])))

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, i):
        a, b, same = self.pairs[i]
        return self.images[a], self.images[b], torch.tensor(same)


class EmbeddingNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.convnet = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.PReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.PReLU()
        )
        self.fc = nn.Sequential(nn.Linear(32 * 16, 64), nn.PReLU(), nn.Linear(64, 16))

    def forward(self, x):
        return self.fc(self.convnet(x).flatten(1))


class SiameseNet(nn.Module):
    def __init__(self, embedding_net):
        super().__init__()
        self.embedding_net = embedding_net

    def forward(self, x1, x2):
        return self.embedding_net(x1), self.embedding_net(x2)


class ContrastiveLoss(nn.Module):
    def __init__(self, margin=1.0):
        super().__init__()
        self.margin = margin

    def forward(self, e1, e2, same):
        distance = (e1 - e2).pow(2).sum(1).sqrt()
        losses = same * distance.pow(2) + (1 - same) * torch.relu(self.margin - distance).pow(2)
        return losses.mean() / 2


def pair_accuracy(model, loader, threshold=0.5):
    model.eval()
    hits = n = 0
    with torch.no_grad():
        for x1, x2, same in loader:
            e1, e2 = model(x1, x2)
            close = (e1 - e2).norm(dim=1) < threshold
            hits += (close == same.bool()).sum().item()
            n += len(same)
    return hits / n


def main():
    torch.manual_seed(5)
    digits = load_digits()
    images = torch.tensor(digits.images / 8 - 1, dtype=torch.float32).unsqueeze(1)
    labels = digits.target
    train_pairs = PairDataset(images[:1300], labels[:1300], 4000, seed=0)
    test_pairs = PairDataset(images[1300:], labels[1300:], 1000, seed=1)
    train_loader = DataLoader(train_pairs, batch_size=64, shuffle=True)
    test_loader = DataLoader(test_pairs, batch_size=256)
    model = SiameseNet(EmbeddingNet())
    loss_fn = ContrastiveLoss(margin=1.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for epoch in range(5):
        model.train()
        history = []
        for x1, x2, same in train_loader:
            optimizer.zero_grad()
            loss = loss_fn(*model(x1, x2), same)
            loss.backward()
            optimizer.step()
            history.append(loss.item())
        print(f"epoch {epoch}: loss {np.mean(history):.4f} pair accuracy {pair_accuracy(model, test_loader):.3f}")


if __name__ == "__main__":
    main()
