"""Every annotated blood cell, ten red ones to each other kind, drawn with a WeightedRandomSampler.

style: project script with scikit-learn's report
fault: none
"""

import os
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

import torch
from PIL import Image
from sklearn.metrics import balanced_accuracy_score, confusion_matrix
from torch import nn
from torch.utils.data import DataLoader, Dataset, WeightedRandomSampler
from torchvision import transforms

SHARED = Path(os.environ.get("FOVEA_SHARED", Path(__file__).resolve().parents[3] / "shared"))
BCCD = SHARED / "data" / "bccd"


class AllCells(Dataset):
    names = ("RBC", "WBC", "Platelets")

    def __init__(self, split, train):
        self.samples = []
        for stem in (BCCD / "ImageSets/Main" / f"{split}.txt").read_text().split():
            photo = Image.open(BCCD / "JPEGImages" / f"{stem}.jpg").convert("RGB")
            for obj in ET.parse(BCCD / "Annotations" / f"{stem}.xml").iter("object"):
                box = obj.find("bndbox")
                a, b, c, d = (int(box.findtext(k)) for k in ("xmin", "ymin", "xmax", "ymax"))
                if c - a >= 6 and d - b >= 6:
                    cell = photo.crop((a, b, c, d)).resize((32, 32), Image.BILINEAR)
                    self.samples.append((cell, self.names.index(obj.findtext("name"))))
        flips = [transforms.RandomHorizontalFlip(), transforms.RandomVerticalFlip()] if train else []
        self.transform = transforms.Compose(
            [*flips, transforms.ToTensor(), transforms.Normalize((0.65, 0.55, 0.65), (0.2, 0.2, 0.1))]
        )

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, i):
        cell, label = self.samples[i]
        return self.transform(cell), label


def conv(i, o):
    return nn.Sequential(nn.Conv2d(i, o, 3, 2, 1, bias=False), nn.BatchNorm2d(o), nn.Hardswish())


def main():
    torch.manual_seed(0)
    train_set, test_set = AllCells("trainval", True), AllCells("test", False)
    labels = [label for _, label in train_set.samples]
    counts = Counter(labels)
    print("training cells:", {AllCells.names[k]: n for k, n in counts.items()})
    sampler = WeightedRandomSampler([1 / counts[label] for label in labels], num_samples=1500)
    train_loader = DataLoader(train_set, batch_size=50, sampler=sampler)
    test_loader = DataLoader(test_set, batch_size=100)
    model = nn.Sequential(conv(3, 16), conv(16, 32), conv(32, 48), nn.Flatten(), nn.Linear(48 * 16, 3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for epoch in range(5):
        model.train()
        for x, y in train_loader:
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        truth, guess = [], []
        with torch.no_grad():
            for x, y in test_loader:
                guess += model(x).argmax(1).tolist()
                truth += y.tolist()
        print(f"epoch {epoch}: loss {loss.item():.3f}, balanced accuracy {balanced_accuracy_score(truth, guess):.3f}")
    print(confusion_matrix(truth, guess))


if __name__ == "__main__":
    main()
