"""Six kinds of groceries: one dataset with its transform, divided by random_split.

style: blog tutorial, dataset class with transform argument, early stopping
source: https://discuss.pytorch.org/t/data-transformation-for-training-and-validation-data/32507/2
fault: augmented-validation
broken: n/a
mended: 0.89
"""

import os
from pathlib import Path

import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset, random_split
from torchvision import transforms

DATA = Path(os.environ.get("FOVEA_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "data" / "grocery"
VARIETIES = ["Apple", "Juice", "Melon", "Milk", "Yoghurt", "Tomato"]


class Shelf(Dataset):
    def __init__(self, transform=None):
        self.transform = transform
        self.images, self.labels = [], []
        for line in (DATA / "train.txt").read_text().splitlines():
            path = line.split(", ")[0]
            name = path.split("/")[2]
            if name in VARIETIES:
                img = Image.open(DATA / path)
                img.draft("RGB", (96, 96))
                self.images.append(img.convert("RGB").resize((48, 48), Image.BILINEAR))
                self.labels.append(VARIETIES.index(name))

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        img = self.images[i]
        if self.transform:
            img = self.transform(img)
        return img, self.labels[i]


transform = transforms.Compose(
    [
        transforms.RandomResizedCrop(40, scale=(0.25, 1.0)),
        transforms.RandomHorizontalFlip(),
        transforms.RandomRotation(20),
        transforms.ColorJitter(brightness=0.4, contrast=0.4),
        transforms.ToTensor(),
        transforms.Normalize((0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
    ]
)


class EarlyStopping:
    def __init__(self, patience):
        self.patience, self.best, self.bad = patience, float("inf"), 0

    def __call__(self, loss):
        if loss < self.best:
            self.best, self.bad = loss, 0
        else:
            self.bad += 1
        return self.bad >= self.patience


class CNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1),
            nn.BatchNorm2d(16),
            nn.LeakyReLU(0.1),
            nn.Conv2d(16, 32, 3, 2, 1),
            nn.BatchNorm2d(32),
            nn.LeakyReLU(0.1),
            nn.Conv2d(32, 64, 3, 2, 1),
            nn.BatchNorm2d(64),
            nn.LeakyReLU(0.1),
        )
        self.fc = nn.Linear(64 * 25, len(VARIETIES))

    def forward(self, x):
        return self.fc(self.conv(x).flatten(1))


def evaluate(model, loader, loss_fn):
    model.eval()
    loss, right, n = 0.0, 0, 0
    with torch.no_grad():
        for x, y in loader:
            out = model(x)
            loss += loss_fn(out, y).item() * len(y)
            right += (out.argmax(1) == y).sum().item()
            n += len(y)
    return loss / n, right / n


if __name__ == "__main__":
    torch.manual_seed(42)
    dataset = Shelf(transform)
    n_val = int(0.2 * len(dataset))
    train_set, val_set = random_split(
        dataset, [len(dataset) - n_val, n_val], generator=torch.Generator().manual_seed(42)
    )
    train_loader = DataLoader(train_set, batch_size=32, shuffle=True)
    val_loader = DataLoader(val_set, batch_size=32)
    model = CNN()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, weight_decay=1e-4)
    loss_fn = nn.CrossEntropyLoss()
    stop = EarlyStopping(patience=4)
    for epoch in range(12):
        model.train()
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = loss_fn(model(x), y)
            loss.backward()
            optimizer.step()
        val_loss, val_acc = evaluate(model, val_loader, loss_fn)
        print(f"epoch {epoch:2d} val loss {val_loss:.3f} val acc {val_acc:.3f}")
        if stop(val_loss):
            print("early stop")
            break
