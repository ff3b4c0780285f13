"""Knowledge distillation: a wide teacher first, then a small student at temperature 4 with T squared in the loss.

style: model compression homework, two optimisers one after the other, dict of metrics
fault: none
broken: n/a
mended: 0.99
"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

torch.manual_seed(8)
torch.set_num_threads(1)

TEMPERATURE = 4.0
ALPHA = 0.9


def get_data():
    x, y = load_digits(return_X_y=True)
    x = torch.tensor((x - 4.88) / 6.02, dtype=torch.float32).view(-1, 1, 8, 8)
    return train_test_split(x, torch.tensor(y), test_size=0.25, random_state=8, stratify=y)


def convnet(width):
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, padding=1),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(2 * width * 16, 10),
    )


def iterate(x, y, batch_size=32):
    for idx in torch.randperm(len(x)).split(batch_size):
        yield x[idx], y[idx]


def distillation_loss(student_logits, teacher_logits, labels):
    soft = F.kl_div(
        F.log_softmax(student_logits / TEMPERATURE, dim=1),
        F.softmax(teacher_logits / TEMPERATURE, dim=1),
        reduction="batchmean",
    )
    return ALPHA * TEMPERATURE**2 * soft + (1 - ALPHA) * F.cross_entropy(student_logits, labels)


def test(model, x, y):
    model.eval()
    with torch.no_grad():
        logits = model(x)
    return {"loss": F.cross_entropy(logits, y).item(), "acc": (logits.argmax(1) == y).float().mean().item()}


x_train, x_test, y_train, y_test = get_data()

teacher = convnet(32)
optimizer = torch.optim.Adam(teacher.parameters(), lr=1e-3)
for epoch in range(7):
    teacher.train()
    for x, y in iterate(x_train, y_train):
        optimizer.zero_grad()
        F.cross_entropy(teacher(x), y).backward()
        optimizer.step()
print("teacher", test(teacher, x_test, y_test))

teacher.eval()
for p in teacher.parameters():
    p.requires_grad_(False)

student = convnet(6)
optimizer = torch.optim.SGD(student.parameters(), lr=0.02, momentum=0.9, nesterov=True)
for epoch in range(10):
    student.train()
    losses = []
    for x, y in iterate(x_train, y_train):
        with torch.no_grad():
            target = teacher(x)
        loss = distillation_loss(student(x), target, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    result = test(student, x_test, y_test)
    print(f"student epoch {epoch}: kd loss {sum(losses) / len(losses):.3f} test {result['acc']:.3f}")
