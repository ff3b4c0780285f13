"""Surface inspection: finds the scratched plates among the good ones of a production line.

style: Lightning-like module with training_step and validation_epoch_end, own small fit function
fault: imbalance
broken: 0.72
mended: 0.81
"""

import numpy as np
import torch
from PIL import Image, ImageDraw
from sklearn.metrics import balanced_accuracy_score
from torch import nn
from torch.utils.data import DataLoader, Dataset

torch.set_num_threads(1)


def plate(scratched, rng, size=28):
    img = Image.new("L", (size, size), int(rng.integers(120, 150)))
    pen = ImageDraw.Draw(img)
    for _ in range(6):
        y = int(rng.integers(0, size))
        pen.line((0, y, size, y), fill=int(rng.integers(110, 160)))
    if scratched:
        x, y = (int(v) for v in rng.integers(4, size - 12, 2))
        dx, dy = (int(v) for v in rng.integers(4, 9, 2))
        pen.line((x, y, x + dx, y + dy), fill=int(rng.integers(150, 176)))
    return np.asarray(img, dtype=np.float32) + rng.normal(0, 9, (size, size)).astype(np.float32)


class Plates(Dataset):
    def __init__(self, n_good, n_bad, seed):
        rng = np.random.default_rng(seed)
        self.targets = [0] * n_good + [1] * n_bad
        self.images = [plate(t, rng) for t in self.targets]

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, i):
        return torch.from_numpy((self.images[i] - 135) / 18)[None], self.targets[i]


class InspectionModule(nn.Module):
    def __init__(self, class_weight=None):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 24, 3, padding=1, bias=False),
            nn.BatchNorm2d(24),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(24, 32, 3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
            nn.Linear(32, 2),
        )
        self.criterion = nn.CrossEntropyLoss(weight=class_weight)
        self.outputs = []

    def training_step(self, batch):
        x, y = batch
        for dim in (2, 3):
            if torch.rand(()) < 0.5:
                x = x.flip(dim)
        return self.criterion(self.net(x), y)

    def validation_step(self, batch):
        x, y = batch
        self.outputs.append((self.net(x).argmax(1), y))

    def validation_epoch_end(self):
        pred, true = (torch.cat(t).numpy() for t in zip(*self.outputs))
        self.outputs.clear()
        print(
            f"   val accuracy {(pred == true).mean():.3f} balanced {balanced_accuracy_score(true, pred):.3f} "
            f"scratches found {pred[true == 1].sum()} of {(true == 1).sum()}"
        )

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def fit(module, train_loader, val_loader, max_epochs):
    optimizer = module.configure_optimizers()
    for epoch in range(max_epochs):
        module.train()
        losses = []
        for batch in train_loader:
            loss = module.training_step(batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        print(f"epoch {epoch} loss {np.mean(losses):.4f}")
        module.eval()
        with torch.no_grad():
            for batch in val_loader:
                module.validation_step(batch)
        module.validation_epoch_end()


if __name__ == "__main__":
    torch.manual_seed(0)
    train_set, val_set = Plates(1350, 45, 1), Plates(300, 100, 2)
    train_loader = DataLoader(train_set, batch_size=32, shuffle=True)
    val_loader = DataLoader(val_set, batch_size=100)
    fit(InspectionModule(), train_loader, val_loader, max_epochs=8)
