"""Digits read four pixels at a time by a recurrent net of rectifiers with identity recurrence (IRNN).

style: paper reimplementation, module-level hyper-parameters, plain loop
fault: exploding-gradient
accept: learning-rate-high
broken: 0.03
mended: 0.81
"""

import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
torch.set_num_threads(1)

HIDDEN = 64
LR = 0.05
MOMENTUM = 0.9
EPOCHS = 14
CLIP = None

data = load_digits()
x = torch.tensor(data.data, dtype=torch.float32).div(16).view(-1, 16, 4)
y = torch.tensor(data.target)
perm = torch.randperm(len(x))
x, y = x[perm], y[perm]
train_loader = DataLoader(TensorDataset(x[:1400], y[:1400]), batch_size=32, shuffle=True)
val_loader = DataLoader(TensorDataset(x[1400:], y[1400:]), batch_size=397)


class IRNN(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.rnn = nn.RNN(4, hidden, nonlinearity="relu", batch_first=True)
        self.out = nn.Linear(hidden, 10)
        nn.init.eye_(self.rnn.weight_hh_l0)
        nn.init.normal_(self.rnn.weight_ih_l0, std=0.1)
        nn.init.zeros_(self.rnn.bias_hh_l0)
        nn.init.zeros_(self.rnn.bias_ih_l0)

    def forward(self, x):
        states, _ = self.rnn(x)
        return self.out(states[:, -1])


net = IRNN(HIDDEN)
optimizer = torch.optim.SGD(net.parameters(), lr=LR, momentum=MOMENTUM)
criterion = nn.CrossEntropyLoss()

for epoch in range(EPOCHS):
    net.train()
    sum_loss = 0.0
    for xb, yb in train_loader:
        optimizer.zero_grad()
        loss = criterion(net(xb), yb)
        loss.backward()
        if CLIP is not None:
            nn.utils.clip_grad_norm_(net.parameters(), CLIP)
        optimizer.step()
        sum_loss += loss.item()
    net.eval()
    with torch.no_grad():
        xb, yb = next(iter(val_loader))
        acc = (net(xb).argmax(1) == yb).float().mean().item()
    print(f"epoch {epoch + 1:2d}  loss {sum_loss / len(train_loader):.4f}  val acc {acc:.4f}")
