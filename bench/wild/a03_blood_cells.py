"""Tells red cells, white cells and platelets apart on crops of blood smears.

style: tutorial, train_one_epoch and evaluate
fault: train-eval-transform
accept: not-normalised
"""

import os
import xml.etree.ElementTree as ET
from pathlib import Path

import torch
from PIL import Image
from torch import nn, optim
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as T

ROOT = Path(os.environ.get("FOVEA_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "data" / "bccd"
CLASSES = ("RBC", "WBC", "Platelets")


class CellCrops(Dataset):
    def __init__(self, split, transform, max_per_image=2):
        self.transform = transform
        self.items = []
        for stem in (ROOT / "ImageSets" / "Main" / f"{split}.txt").read_text().split():
            boxes = {c: [] for c in CLASSES}
            for obj in ET.parse(ROOT / "Annotations" / f"{stem}.xml").iter("object"):
                b = [int(obj.find("bndbox").find(k).text) for k in ("xmin", "ymin", "xmax", "ymax")]
                if min(b[2] - b[0], b[3] - b[1]) > 12:
                    boxes[obj.find("name").text].append(b)
            image = Image.open(ROOT / "JPEGImages" / f"{stem}.jpg").convert("RGB")
            for label, name in enumerate(CLASSES):
                for b in boxes[name][:max_per_image]:
                    self.items.append((image.crop(b).resize((40, 40)), label))

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        image, label = self.items[i]
        return self.transform(image), label


def build_model():
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 5 * 5, 64),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(64, len(CLASSES)),
    )


def train_one_epoch(model, loader, loss_fn, optimizer):
    model.train()
    total_loss = 0.0
    for inputs, targets in loader:
        optimizer.zero_grad()
        loss = loss_fn(model(inputs), targets)
        loss.backward()
        optimizer.step()
        total_loss += loss.item() * inputs.size(0)
    return total_loss / len(loader.dataset)


def evaluate(model, loader, loss_fn):
    model.eval()
    total_loss, correct = 0.0, 0
    with torch.no_grad():
        for inputs, targets in loader:
            outputs = model(inputs)
            total_loss += loss_fn(outputs, targets).item() * inputs.size(0)
            correct += (outputs.argmax(dim=1) == targets).sum().item()
    return total_loss / len(loader.dataset), correct / len(loader.dataset)


def main():
    torch.manual_seed(42)
    train_transform = T.Compose(
        [
            T.RandomHorizontalFlip(),
            T.RandomVerticalFlip(),
            T.ToTensor(),
            T.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
        ]
    )
    test_transform = T.Compose([T.ToTensor()])
    train_loader = DataLoader(CellCrops("trainval", train_transform), batch_size=32, shuffle=True)
    test_loader = DataLoader(CellCrops("test", test_transform), batch_size=64)

    model = build_model()
    loss_fn = nn.CrossEntropyLoss()
    optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    for epoch in range(8):
        train_loss = train_one_epoch(model, train_loader, loss_fn, optimizer)
        test_loss, accuracy = evaluate(model, test_loader, loss_fn)
        print(f"[{epoch + 1}] train {train_loss:.4f}  test {test_loss:.4f}  accuracy {accuracy:.2%}")


if __name__ == "__main__":
    main()
