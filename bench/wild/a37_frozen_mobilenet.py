"""Five groups of groceries with a frozen MobileNetV2; only the new classifier is trained.

style: timm fine-tuning, argparse
fault: none
"""

import argparse
import os
from pathlib import Path

import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config
from torch import nn
from torch.utils.data import DataLoader, Dataset

SHARED = Path(os.environ.get("FOVEA_SHARED", Path(__file__).resolve().parents[3] / "shared"))
GROUPS = {"Apple": 0, "Melon": 7, "Juice": 19, "Milk": 20, "Pepper": 38}


class GroceryGroups(Dataset):
    def __init__(self, split, skip, stop, transform):
        root = SHARED / "data" / "grocery"
        ids, count = list(GROUPS.values()), dict.fromkeys(GROUPS.values(), 0)
        self.items = []
        for line in (root / f"{split}.txt").read_text().splitlines():
            path, _, coarse = line.split(", ")
            coarse = int(coarse)
            if coarse not in count:
                continue
            count[coarse] += 1
            if skip < count[coarse] <= stop:
                image = Image.open(root / path)
                image.draft("RGB", (192, 192))
                self.items.append((transform(image.convert("RGB")), ids.index(coarse)))

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--batch-size", type=int, default=24)
    parser.add_argument("--img-size", type=int, default=96)
    args = parser.parse_args()

    torch.manual_seed(0)
    model = timm.create_model(
        f"local-dir:{SHARED / 'weights' / 'mobilenetv2_100.tf_in1k'}", pretrained=True, num_classes=len(GROUPS)
    )
    for name, parameter in model.named_parameters():
        if not name.startswith("classifier"):
            parameter.requires_grad = False
    config = resolve_data_config({"input_size": (3, args.img_size, args.img_size)}, model=model)
    transform = create_transform(**config, is_training=False)
    train = DataLoader(GroceryGroups("train", 0, 70, transform), args.batch_size, shuffle=True)
    val_set = GroceryGroups("val", 0, 40, transform) + GroceryGroups("train", 70, 95, transform)
    val = DataLoader(val_set, 64)

    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trainable, lr=args.lr, momentum=0.9, weight_decay=1e-4)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(args.epochs):
        model.eval()  # the statistics of the frozen part stay as they are
        model.classifier.train()
        for x, y in train:
            loss = criterion(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            hits = sum((model(x).argmax(1) == y).sum().item() for x, y in val)
        print(f"epoch {epoch} loss {loss.item():.3f} accuracy {hits / len(val.dataset):.3f}")


if __name__ == "__main__":
    main()
