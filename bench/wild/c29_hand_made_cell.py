"""Reads the rows of a digit with a recurrent cell of one's own (minimal gated unit).

style: custom nn.Module with nn.Parameter, student project
fault: constant-init
broken: 0.25
mended: 0.97
"""

import torch
from sklearn.datasets import load_digits
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset, random_split

torch.set_num_threads(1)


class MinimalGatedUnit(nn.Module):
    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.hidden_size = hidden_size
        total = input_size + hidden_size
        self.w_f = nn.Parameter(torch.ones(total, hidden_size) / total)
        self.w_h = nn.Parameter(torch.ones(total, hidden_size) / total)
        self.b_f = nn.Parameter(torch.zeros(hidden_size))
        self.b_h = nn.Parameter(torch.zeros(hidden_size))

    def step(self, x, h):
        f = torch.sigmoid(torch.cat([x, h], 1) @ self.w_f + self.b_f)
        candidate = torch.tanh(torch.cat([x, f * h], 1) @ self.w_h + self.b_h)
        return (1 - f) * h + f * candidate

    def forward(self, rows):
        h = rows.new_zeros(rows.size(0), self.hidden_size)
        for t in range(rows.size(1)):
            h = self.step(rows[:, t], h)
        return h


class RowReader(nn.Module):
    def __init__(self, hidden_size=64):
        super().__init__()
        self.cell = MinimalGatedUnit(8, hidden_size)
        self.classifier = nn.Linear(hidden_size, 10)
        nn.init.zeros_(self.classifier.weight)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, x):
        return self.classifier(self.cell(x))


def main():
    torch.manual_seed(21)
    digits = load_digits()
    x = (torch.tensor(digits.images, dtype=torch.float32) - 4.9) / 6.0
    dataset = TensorDataset(x, torch.tensor(digits.target))
    train_set, val_set = random_split(dataset, [1400, 397])
    train_loader = DataLoader(train_set, batch_size=32, shuffle=True)
    val_loader = DataLoader(val_set, batch_size=397)
    model = RowReader()
    loss_fn = nn.CrossEntropyLoss()
    optimizer = optim.Adam(model.parameters(), lr=5e-3)
    for epoch in range(10):
        model.train()
        loss_sum = 0.0
        for images, labels in train_loader:
            optimizer.zero_grad()
            loss = loss_fn(model(images), labels)
            loss.backward()
            optimizer.step()
            loss_sum += loss.item()
        model.eval()
        with torch.no_grad():
            images, labels = next(iter(val_loader))
            acc = (model(images).argmax(1) == labels).float().mean()
        print(f"epoch {epoch + 1:2d} loss {loss_sum / len(train_loader):.3f} val acc {acc:.3f}")


if __name__ == "__main__":
    main()
