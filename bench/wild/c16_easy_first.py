"""Curriculum: clean digits first, in a fixed order from easy to hard, noisier ones later, with a cyclical rate.

style: research code, pacing function, loaders rebuilt for each stage
fault: none
broken: n/a
mended: 0.93
"""

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset

torch.set_num_threads(1)


def pad_digits():
    images, labels = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(labels))
    images, labels = images[order], labels[order]
    canvas = np.zeros((len(images), 1, 11, 11), dtype=np.float32)
    for canvas_i, image in zip(canvas, images.reshape(-1, 8, 8)):
        r, c = rng.integers(0, 4, 2)
        canvas_i[0, r : r + 8, c : c + 8] = image / 16
    canvas += rng.normal(0, 0.1, canvas.shape)
    return images, torch.tensor((canvas - 0.1) / 0.25, dtype=torch.float32), torch.tensor(labels)


def difficulty(flat, labels):
    """How unsure a linear model is about each sample."""
    scorer = LogisticRegression(max_iter=60, C=0.01).fit(flat / 16, labels)
    return 1 - scorer.predict_proba(flat / 16)[np.arange(len(labels)), labels]


def pacing(stage, n_stages, n):
    return int(n * min(1.0, 0.3 + 0.7 * stage / (n_stages - 2)))


def network():
    return nn.Sequential(
        nn.Conv2d(1, 24, 3, padding=1, bias=False),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(24, 48, 3, padding=1, bias=False),
        nn.BatchNorm2d(48),
        nn.ReLU(),
        nn.Conv2d(48, 48, 3, padding=1, bias=False),
        nn.BatchNorm2d(48),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(48 * 25, 10),
    )


def main():
    torch.manual_seed(4)
    flat, x, y = pad_digits()
    n_train = 1350
    ranking = np.argsort(difficulty(flat[:n_train], y[:n_train].numpy()), kind="stable")
    train_set, val = TensorDataset(x[:n_train], y[:n_train]), (x[n_train:], y[n_train:])
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    scheduler = torch.optim.lr_scheduler.CyclicLR(
        optimizer, base_lr=0.002, max_lr=0.1, step_size_up=25, mode="exp_range", gamma=0.997, cycle_momentum=False
    )
    loss_fn = nn.CrossEntropyLoss()
    n_stages = 14
    for stage in range(n_stages):
        part = ranking[: pacing(stage, n_stages, n_train)]
        # the first two stages keep the order of the ranking
        loader = DataLoader(Subset(train_set, part.tolist()), batch_size=32, shuffle=stage >= 2)
        model.train()
        losses = []
        for xb, yb in loader:
            loss = loss_fn(model(xb), yb)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            losses.append(loss.item())
        model.eval()
        with torch.no_grad():
            acc = (model(val[0]).argmax(1) == val[1]).float().mean().item()
        lr = scheduler.get_last_lr()[0]
        print(f"stage {stage}: {len(part)} samples, loss {np.mean(losses):.3f}, lr {lr:.4f}, val acc {acc:.3f}")


if __name__ == "__main__":
    main()
