"""Trying the "super-convergence" recipe from a fast.ai lesson in plain PyTorch on the sklearn digits, fourteen
short epochs. It should be quick, but it crawls.

style: online-course learner, plain PyTorch port of a notebook
fault: schedule-unit
broken: 0.901
mended: 0.976
"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(9)

bs, n_epochs, lr_max = 32, 14, 0.05

# ---- data
d = load_digits()
x = torch.tensor(d.images, dtype=torch.float32)[:, None] / 16
y = torch.tensor(d.target)
order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
x, y = x[order], y[order]
m, s = x[:1300].mean(), x[:1300].std()
x = (x - m) / s
# pad and enlarge to 16x16, strokes become a bit smoother
x = F.interpolate(x, size=16, mode="bilinear", align_corners=False)
train_dl = DataLoader(TensorDataset(x[:1300], y[:1300]), batch_size=bs, shuffle=True)
valid_dl = DataLoader(TensorDataset(x[1300:], y[1300:]), batch_size=2 * bs)


# ---- model
class Lambda(nn.Module):
    def __init__(self, func):
        super().__init__()
        self.func = func

    def forward(self, x):
        return self.func(x)


model = nn.Sequential(
    nn.Conv2d(1, 16, kernel_size=3, padding=1),
    nn.ReLU(),
    nn.Conv2d(16, 16, kernel_size=3, stride=2, padding=1),
    nn.ReLU(),
    nn.Conv2d(16, 32, kernel_size=3, stride=2, padding=1),
    nn.ReLU(),
    nn.Conv2d(32, 32, kernel_size=3, stride=2, padding=1),
    nn.ReLU(),
    nn.Conv2d(32, 10, kernel_size=3, stride=1, padding=1),
    nn.AdaptiveAvgPool2d(1),
    Lambda(lambda t: t.view(t.size(0), -1)),
)


# ---- training
def loss_batch(model, xb, yb, opt=None):
    pred = model(xb)
    loss = F.cross_entropy(pred, yb)
    if opt is not None:
        loss.backward()
        opt.step()
        opt.zero_grad()
    return loss.item(), (pred.argmax(1) == yb).sum().item(), len(xb)


def fit(epochs, model, opt, sched, train_dl, valid_dl):
    for epoch in range(epochs):
        model.train()
        tr = [loss_batch(model, xb, yb, opt) for xb, yb in train_dl]
        sched.step()
        model.eval()
        with torch.no_grad():
            va = [loss_batch(model, xb, yb) for xb, yb in valid_dl]
        n = sum(v[2] for v in va)
        val_loss = sum(v[0] * v[2] for v in va) / n
        acc = sum(v[1] for v in va) / n
        print(f"{epoch}  train {sum(t[0] for t in tr) / len(tr):.4f}  valid {val_loss:.4f}  accuracy {acc:.4f}")
    return acc


opt = torch.optim.SGD(model.parameters(), lr=lr_max, momentum=0.9)
sched = torch.optim.lr_scheduler.OneCycleLR(opt, max_lr=lr_max, steps_per_epoch=len(train_dl), epochs=n_epochs)
acc = fit(n_epochs, model, opt, sched, train_dl, valid_dl)
print(f"accuracy {acc:.4f}")
