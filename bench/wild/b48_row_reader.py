"""A GRU reads digits row by row; the loader gives the whole training set as one batch.

style: sequence tutorial, full-batch loader, gradient clipping
fault: none
broken: n/a
mended: 0.96
"""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class RowGRU(nn.Module):
    def __init__(self, hidden=48):
        super().__init__()
        self.gru = nn.GRU(input_size=8, hidden_size=hidden, num_layers=1, batch_first=True, bidirectional=True)
        self.out = nn.Linear(2 * hidden, 10)

    def forward(self, rows):
        _, h = self.gru(rows)
        return self.out(torch.cat([h[0], h[1]], dim=1))


def main():
    torch.manual_seed(15)
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32) / 16
    y = torch.tensor(digits.target)
    order = torch.randperm(len(x))
    train = TensorDataset(x[order[:1350]], y[order[:1350]])
    test = TensorDataset(x[order[1350:]], y[order[1350:]])
    train_loader = DataLoader(train, batch_size=len(train))
    test_loader = DataLoader(test, batch_size=len(test))
    model = RowGRU()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=4e-3)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(90):
        model.train()
        for rows, labels in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(rows), labels)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        if epoch % 15 == 14:
            model.eval()
            with torch.no_grad():
                rows, labels = next(iter(test_loader))
                acc = (model(rows).argmax(1) == labels).float().mean().item()
            print(f"epoch {epoch + 1} loss {loss.item():.4f} test accuracy {acc:.4f}")


if __name__ == "__main__":
    main()
