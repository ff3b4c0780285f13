"""A small student learns from a teacher's softened outputs (KL divergence) and a little from the labels.

style: two training functions in one file, teacher trained first
fault: none
broken: n/a
mended: 0.95
"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset


class Teacher(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.5),
            nn.Linear(64 * 16, 10),
        )

    def forward(self, x):
        return self.net(x)


class Student(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, stride=2, padding=1)
        self.fc = nn.Linear(8 * 16, 10)

    def forward(self, x):
        return self.fc(F.relu(self.conv(x)).flatten(1))


def accuracy(model, loader):
    model.eval()
    with torch.no_grad():
        return sum((model(x).argmax(1) == y).sum().item() for x, y in loader) / len(loader.dataset)


def train_teacher(model, loader, epochs):
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(epochs):
        model.train()
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()


def distil(student, teacher, loader, test, epochs, T=4.0, alpha=0.8):
    teacher.eval()
    for p in teacher.parameters():
        p.requires_grad = False
    optimizer = torch.optim.Adam(student.parameters(), lr=5e-3)
    kl = nn.KLDivLoss(reduction="batchmean")
    for epoch in range(epochs):
        student.train()
        total = 0.0
        for x, y in loader:
            with torch.no_grad():
                soft = F.softmax(teacher(x) / T, dim=1)
            out = student(x)
            loss = alpha * T * T * kl(F.log_softmax(out / T, dim=1), soft) + (1 - alpha) * F.cross_entropy(out, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        print(f"epoch {epoch} distillation loss {total / len(loader):.4f} student {accuracy(student, test):.4f}")


def main():
    torch.manual_seed(14)
    data = load_digits()
    x = torch.tensor(data.images, dtype=torch.float32)[:, None] / 8 - 1
    y = torch.tensor(data.target)
    order = torch.randperm(len(x))
    train = DataLoader(TensorDataset(x[order[:1400]], y[order[:1400]]), batch_size=64, shuffle=True)
    test = DataLoader(TensorDataset(x[order[1400:]], y[order[1400:]]), batch_size=200)
    teacher, student = Teacher(), Student()
    train_teacher(teacher, train, 4)
    print(f"teacher {accuracy(teacher, test):.4f}")
    distil(student, teacher, train, test, 10)


if __name__ == "__main__":
    main()
