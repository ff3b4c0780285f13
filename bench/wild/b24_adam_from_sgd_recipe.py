"""Recipe for SGD kept when the optimiser was changed to Adam, digits drawn larger.

style: wide-resnet-like training script, lr from the SGD recipe, cosine
source: https://datascience.stackexchange.com/questions/28481/reason-for-having-both-low-loss-and-same-predicted-class
fault: learning-rate-high
accept: dead-relu, exploding-gradient
broken: 0.09
mended: 0.93
"""

import argparse
import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=5)
parser.add_argument("--batch-size", type=int, default=64)
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--seed", type=int, default=21)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.conv3 = nn.Conv2d(32, 32, 3, padding=1)
        self.fc1 = nn.Linear(32 * 4 * 4, 64)
        self.fc2 = nn.Linear(64, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.relu(self.conv2(x))
        x = F.max_pool2d(F.relu(self.conv3(x)), 2)
        x = F.relu(self.fc1(x.flatten(1)))
        return self.fc2(x)


def adjust_learning_rate(optimizer, base, step, total):
    lr = base * 0.5 * (1 + math.cos(math.pi * step / total))
    for group in optimizer.param_groups:
        group["lr"] = lr


def main(args):
    torch.manual_seed(args.seed)
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    x = F.interpolate(x, size=16, mode="bilinear", align_corners=False)
    x = (x - x.mean()) / x.std()
    y = torch.tensor(digits.target)
    order = torch.randperm(len(x))
    train, test = order[:1400], order[1400:]
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr, weight_decay=5e-4)
    steps = args.epochs * math.ceil(len(train) / args.batch_size)
    step = 0
    for epoch in range(1, args.epochs + 1):
        model.train()
        for idx in train[torch.randperm(len(train))].split(args.batch_size):
            adjust_learning_rate(optimizer, args.lr, step, steps)
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x[idx]), y[idx])
            loss.backward()
            optimizer.step()
            step += 1
        model.eval()
        with torch.no_grad():
            out = model(x[test])
        acc = (out.argmax(1) == y[test]).float().mean().item()
        print(f"| Epoch {epoch} loss {loss.item():.4f} | test loss {F.cross_entropy(out, y[test]):.4f} acc {acc:.4f}")


if __name__ == "__main__":
    main(parser.parse_args())
