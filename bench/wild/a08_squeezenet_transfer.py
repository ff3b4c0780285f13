"""Transfer learning: torchvision's SqueezeNet with a new head for five packaged drinks and fruits.

style: PyTorch transfer learning tutorial
fault: optimizer-misses-parameters
"""

import os
import time
from pathlib import Path

import torch
import torch.nn as nn
import torch.optim as optim
from PIL import Image
from safetensors.torch import load_file
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, Dataset
from torchvision import models, transforms

SHARED = Path(os.environ.get("FOVEA_SHARED", Path(__file__).resolve().parents[3] / "shared"))
CLASSES = {"Juice": 19, "Milk": 20, "Apple": 0, "Pepper": 38, "Melon": 7}
RANGES = {"train": [("train", 0, 50)], "val": [("val", 0, 100), ("train", 50, 85)]}

data_transforms = {
    "train": transforms.Compose(
        [
            transforms.RandomCrop(72),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    ),
    "val": transforms.Compose(
        [
            transforms.CenterCrop(72),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    ),
}


class Groceries(Dataset):
    def __init__(self, phase):
        root = SHARED / "data" / "grocery"
        self.transform = data_transforms[phase]
        self.samples = []
        coarse = list(CLASSES.values())
        for split, start, stop in RANGES[phase]:
            count = [0] * len(coarse)
            for line in (root / f"{split}.txt").read_text().splitlines():
                path, _, label = line.split(", ")
                if int(label) not in coarse:
                    continue
                k = coarse.index(int(label))
                count[k] += 1
                if start < count[k] <= stop:
                    image = Image.open(root / path)
                    image.draft("RGB", (160, 160))
                    self.samples.append((image.convert("RGB").resize((80, 80)), k))

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, idx):
        image, label = self.samples[idx]
        return self.transform(image), label


def train_model(model, criterion, optimizer, scheduler, num_epochs):
    since = time.time()
    for epoch in range(num_epochs):
        for phase in ["train", "val"]:
            if phase == "train":
                model.train()
            else:
                model.eval()
            running_loss = 0.0
            running_corrects = 0
            for inputs, labels in dataloaders[phase]:
                optimizer.zero_grad()
                with torch.set_grad_enabled(phase == "train"):
                    outputs = model(inputs)
                    _, preds = torch.max(outputs, 1)
                    loss = criterion(outputs, labels)
                    if phase == "train":
                        loss.backward()
                        optimizer.step()
                running_loss += loss.item() * inputs.size(0)
                running_corrects += torch.sum(preds == labels.data)
            if phase == "train":
                scheduler.step()
            epoch_loss = running_loss / len(image_datasets[phase])
            epoch_acc = running_corrects.double() / len(image_datasets[phase])
            print(f"{epoch}/{num_epochs - 1} {phase} Loss: {epoch_loss:.4f} Acc: {epoch_acc:.4f}")
    print(f"Training complete in {time.time() - since:.0f}s")
    return model


torch.manual_seed(0)
image_datasets = {"train": Groceries("train"), "val": Groceries("val")}
dataloaders = {
    "train": DataLoader(image_datasets["train"], batch_size=16, shuffle=True),
    "val": DataLoader(image_datasets["val"], batch_size=32),
}

model_ft = models.squeezenet1_0(weights=None)
model_ft.load_state_dict(load_file(SHARED / "weights/squeezenet1_0.deepcompression_in1k/model.safetensors"))
for param in model_ft.features.parameters():
    param.requires_grad = False

criterion = nn.CrossEntropyLoss()
optimizer_ft = optim.Adam(model_ft.classifier.parameters(), lr=0.001)
exp_lr_scheduler = lr_scheduler.StepLR(optimizer_ft, step_size=4, gamma=0.1)

model_ft.classifier[1] = nn.Conv2d(512, len(CLASSES), kernel_size=1)
model_ft.num_classes = len(CLASSES)

train_model(model_ft, criterion, optimizer_ft, exp_lr_scheduler, num_epochs=5)
