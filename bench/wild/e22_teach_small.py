"""A tiny digit classifier taught by a larger one.

style: knowledge distillation with temperature, teacher trained first and then fixed, RMSprop student, few hard labels
fault: none
broken: n/a
mended: 0.960
"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader, TensorDataset

T, ALPHA = 4.0, 0.9


def shift(x):
    """Move every picture by up to one pixel."""
    dx, dy = torch.randint(-1, 2, (2,)).tolist()
    pad = F.pad(x, (1, 1, 1, 1), value=float(x.min()))
    return pad[:, :, 1 + dy : 9 + dy, 1 + dx : 9 + dx]


def teacher_net():
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(64, 64, 3, padding=1, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.4),
        nn.Linear(64 * 16, 10),
    )


def student_net():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.ReLU(), nn.Linear(20, 10))


@torch.no_grad()
def accuracy(net, loader):
    net.eval()
    return sum((net(x).argmax(1) == y).sum().item() for x, y in loader) / len(loader.dataset)


def distil_loss(student_logits, teacher_logits, y):
    soft = (
        F.kl_div(F.log_softmax(student_logits / T, 1), F.softmax(teacher_logits / T, 1), reduction="batchmean") * T * T
    )
    return ALPHA * soft + (1 - ALPHA) * F.cross_entropy(student_logits, y)


if __name__ == "__main__":
    torch.manual_seed(22)
    X, y = load_digits(return_X_y=True)
    a, b, ya, yb = train_test_split(X, y, test_size=0.35, random_state=22, stratify=y)
    m, s = a.mean(), a.std()
    a, b = [torch.tensor((v - m) / s, dtype=torch.float32).view(-1, 1, 8, 8) for v in (a, b)]
    train = DataLoader(TensorDataset(a, torch.tensor(ya)), batch_size=32, shuffle=True)
    test = DataLoader(TensorDataset(b, torch.tensor(yb)), batch_size=128)

    teacher = teacher_net()
    opt = torch.optim.SGD(teacher.parameters(), lr=0.03, momentum=0.9, weight_decay=1e-3)
    for epoch in range(10):
        teacher.train()
        total = 0.0
        for x, t in train:
            opt.zero_grad()
            loss = F.cross_entropy(teacher(shift(x)), t)
            loss.backward()
            opt.step()
            total += loss.item() * len(t)
        print(f"teacher {epoch + 1:2d}  loss {total / len(a):.4f}  test {accuracy(teacher, test):.4f}")

    teacher.requires_grad_(False).eval()
    student = student_net()
    opt = torch.optim.RMSprop(student.parameters(), lr=2e-3)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 60)
    for epoch in range(60):
        student.train()
        total = 0.0
        for x, t in train:
            with torch.no_grad():
                guide = teacher(x)
            loss = distil_loss(student(x), guide, t)
            opt.zero_grad()
            loss.backward()
            opt.step()
            total += loss.item() * len(t)
        sched.step()
        if epoch % 5 == 4:
            print(f"student {epoch + 1:2d}  loss {total / len(a):.4f}  test {accuracy(student, test):.4f}")
    print(f"final student accuracy {accuracy(student, test):.4f}")
