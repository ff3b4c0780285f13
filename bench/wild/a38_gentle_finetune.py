"""Fine-tunes all of SqueezeNet very gently: 5e-5 for the body, more for the new head.

style: torchvision fine-tuning with parameter groups
fault: none
"""

import os
import random
from pathlib import Path

import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from torchvision.transforms import v2

SHARED = Path(os.environ.get("FOVEA_SHARED", Path(__file__).resolve().parents[3] / "shared"))
KINDS = ["/Fruit/", "/Packages/"]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def read(split, per_kind):
    root = SHARED / "data" / "grocery"
    lines = (root / f"{split}.txt").read_text().splitlines()
    rng = random.Random(0)
    items = []
    for label, kind in enumerate(KINDS):
        of_kind = [line.split(",")[0] for line in lines if kind in line]
        rng.shuffle(of_kind)
        for path in of_kind[:per_kind]:
            image = Image.open(root / path)
            image.draft("RGB", (160, 160))
            items.append((v2.functional.pil_to_tensor(image.convert("RGB").resize((80, 80))), label))
    return items


def batches(items, size, augment):
    order = torch.randperm(len(items)).tolist() if augment else range(len(items))
    order = list(order)
    for start in range(0, len(order), size):
        part = [items[i] for i in order[start : start + size]]
        x = torch.stack([image for image, _ in part]).float() / 255
        if augment and random.random() < 0.5:
            x = x.flip(-1)
        yield v2.functional.normalize(x, MEAN, STD), torch.tensor([label for _, label in part])


def main():
    random.seed(0)
    torch.manual_seed(0)
    train, val = read("train", 110), read("val", 125)
    model = torchvision.models.squeezenet1_0()
    model.load_state_dict(load_file(SHARED / "weights" / "squeezenet1_0.deepcompression_in1k" / "model.safetensors"))
    model.classifier[1] = nn.Conv2d(512, len(KINDS), 1)
    nn.init.normal_(model.classifier[1].weight, std=0.01)
    nn.init.zeros_(model.classifier[1].bias)
    optimizer = torch.optim.AdamW(
        [
            {"params": model.features.parameters(), "lr": 5e-5},
            {"params": model.classifier.parameters(), "lr": 1e-3},
        ],
        weight_decay=1e-4,
    )
    loss_fn = nn.CrossEntropyLoss()
    for epoch in range(4):
        model.train()
        for x, y in batches(train, 16, augment=True):
            optimizer.zero_grad()
            loss = loss_fn(model(x), y)
            loss.backward()
            optimizer.step()
        model.eval()
        hits = 0
        with torch.no_grad():
            for x, y in batches(val, 32, augment=False):
                hits += (model(x).argmax(1) == y).sum().item()
        print(f"epoch {epoch}: train loss {loss.item():.3f}, val accuracy {hits / len(val):.3f}")


if __name__ == "__main__":
    main()
