"""Domain adaptation by gradient reversal: labelled digits of one scanner, unlabelled ones of a fainter scanner.

style: DANN reimplementation, autograd.Function, several heads
fault: none
broken: n/a
mended: 0.95
"""

import math

import numpy as np
import torch
import torch.nn as nn
from sklearn.datasets import load_digits


class ReverseGrad(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, strength):
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad):
        return -ctx.strength * grad, None


class DANN(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 24, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(24, 32, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * 16, 64),
            nn.ReLU(),
        )
        self.label_head = nn.Linear(64, 10)
        self.domain_head = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, x, strength=0.0):
        z = self.features(x)
        return self.label_head(z), self.domain_head(ReverseGrad.apply(z, strength)).squeeze(1)


def domains():
    images, labels = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(labels))
    x, y = (images[order] / 16).reshape(-1, 1, 8, 8).astype(np.float32), labels[order]
    source = x[:800] + rng.normal(0, 0.05, x[:800].shape)
    target = 0.12 + 0.8 * x[800:] + rng.normal(0, 0.12, x[800:].shape)
    to = lambda a: torch.tensor((a - 0.3) / 0.35, dtype=torch.float32)
    return to(source), torch.tensor(y[:800]), to(target), torch.tensor(y[800:])


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    xs, ys, xt, yt = domains()
    model = DANN()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    ce, bce = nn.CrossEntropyLoss(), nn.BCEWithLogitsLoss()
    epochs, batch = 14, 40
    steps = len(xs) // batch
    for epoch in range(epochs):
        model.train()
        si, ti = torch.randperm(len(xs)), torch.randperm(len(xt))[: len(xs)]
        label_losses, domain_losses = [], []
        for k in range(steps):
            p = (epoch * steps + k) / (epochs * steps)
            strength = 0.1 * (2 / (1 + math.exp(-10 * p)) - 1)
            s, t = si[k * batch : (k + 1) * batch], ti[k * batch : (k + 1) * batch]
            scores, d_source = model(xs[s], strength)
            _, d_target = model(xt[t], strength)
            label_loss = ce(scores, ys[s])
            domain_loss = bce(d_source, torch.ones(batch)) + bce(d_target, torch.zeros(batch))
            optimizer.zero_grad()
            (label_loss + domain_loss).backward()
            optimizer.step()
            label_losses.append(label_loss.item())
            domain_losses.append(domain_loss.item())
        model.eval()
        with torch.no_grad():
            acc = (model(xt)[0].argmax(1) == yt).float().mean().item()
        print(f"{epoch}: label {np.mean(label_losses):.3f} domain {np.mean(domain_losses):.3f} target acc {acc:.3f}")


if __name__ == "__main__":
    main()
