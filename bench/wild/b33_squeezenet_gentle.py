"""SqueezeNet fine-tuned as a whole with a very small learning rate, the new head with a larger one.

style: transfer learning script with parameter groups
fault: none
broken: n/a
mended: 0.85
"""

import os
from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as T

SHARED = Path(os.environ.get("FOVEA_SHARED", Path(__file__).resolve().parents[3] / "shared"))
GROCERY = SHARED / "data" / "grocery"
KINDS = ["Banana", "Kiwi", "Lemon", "Mango", "Orange", "Papaya", "Pineapple", "Satsumas"]


class Fruit(Dataset):
    def __init__(self, split, transform):
        lines = (GROCERY / "train.txt").read_text().splitlines() + (GROCERY / "val.txt").read_text().splitlines()
        self.files, self.transform = [], transform
        for label, kind in enumerate(KINDS):
            mine = [GROCERY / path for path in (line.split(", ")[0] for line in lines) if path.split("/")[2] == kind]
            self.files += [(path, label) for i, path in enumerate(mine) if (i % 3 == 0) == (split == "val")]

    def __len__(self):
        return len(self.files)

    def __getitem__(self, i):
        path, label = self.files[i]
        img = Image.open(path)
        img.draft("RGB", (128, 128))
        return self.transform(img.convert("RGB")), label


norm = T.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
train_tf = T.Compose([T.Resize(112), T.RandomCrop(96), T.RandomHorizontalFlip(), T.ToTensor(), norm])
test_tf = T.Compose([T.Resize(104), T.CenterCrop(96), T.ToTensor(), norm])


def build():
    model = torchvision.models.squeezenet1_0()
    model.load_state_dict(load_file(SHARED / "weights" / "squeezenet1_0.deepcompression_in1k" / "model.safetensors"))
    model.classifier[1] = nn.Conv2d(512, len(KINDS), kernel_size=1)
    nn.init.normal_(model.classifier[1].weight, std=0.01)
    nn.init.zeros_(model.classifier[1].bias)
    return model


def main():
    torch.manual_seed(41)
    train = DataLoader(Fruit("train", train_tf), batch_size=16, shuffle=True)
    test = DataLoader(Fruit("val", test_tf), batch_size=32)
    model = build()
    optimizer = torch.optim.AdamW(
        [
            {"params": model.features.parameters(), "lr": 6e-5},
            {"params": model.classifier.parameters(), "lr": 3e-3},
        ],
        weight_decay=0.01,
    )
    criterion = nn.CrossEntropyLoss()
    for epoch in range(4):
        model.train()
        losses = []
        for x, y in train:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        model.eval()
        with torch.no_grad():
            hits = sum((model(x).argmax(1) == y).sum().item() for x, y in test)
        print(f"epoch {epoch}: loss {np.mean(losses):.3f} test accuracy {hits / len(test.dataset):.3f}")


if __name__ == "__main__":
    main()
