"""train.py after timm's: accuracy stops rising in the second epoch, whatever --epochs says."""

import argparse

import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

parser = argparse.ArgumentParser(description="Training")
parser.add_argument("--epochs", type=int, default=12)
parser.add_argument("--lr", type=float, default=0.002)
parser.add_argument("--batch-size", type=int, default=32)
parser.add_argument("--smoothing", type=float, default=0.1)


class AverageMeter:
    def __init__(self):
        self.sum = self.count = 0

    def update(self, value, n):
        self.sum += value * n
        self.count += n


def train_one_epoch(epoch, model, loader, optimizer, loss_fn, scheduler):
    losses = AverageMeter()
    model.train()
    for input, target in loader:
        loss = loss_fn(model(input), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.update(loss.item(), input.size(0))
    print(f"Train: {epoch} Loss: {losses.sum / losses.count:.3f} LR: {optimizer.param_groups[0]['lr']:.2e}")


def main():
    args = parser.parse_args()
    torch.manual_seed(42)
    digits = load_digits()
    x, y = torch.tensor(digits.images).float()[:, None] / 8 - 1, torch.tensor(digits.target)
    loader = DataLoader(TensorDataset(x[:1500], y[:1500]), args.batch_size, shuffle=True, drop_last=True)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(1024, 10)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=0.05)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=args.epochs // 3, gamma=0.5)
    loss_fn = nn.CrossEntropyLoss(label_smoothing=args.smoothing)
    for epoch in range(args.epochs):
        train_one_epoch(epoch, model, loader, optimizer, loss_fn, scheduler)


if __name__ == "__main__":
    main()
