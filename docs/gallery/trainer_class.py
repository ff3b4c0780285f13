"""Fine-tuning with a Trainer: I swapped the classifier for my ten classes, and it learns far worse than expected."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader


class ImageClassifier(nn.Module):
    def __init__(self, num_labels):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
        self.classifier = nn.Linear(256, num_labels)

    def forward(self, pixel_values, labels=None):
        logits = self.classifier(self.encoder(pixel_values))
        return {"logits": logits, "loss": None if labels is None else cross_entropy(logits, labels)}


class Trainer:
    def __init__(self, model, train_dataset, epochs=4, lr=2e-3):
        self.model, self.epochs = model, epochs
        self.loader = DataLoader(train_dataset, batch_size=32, shuffle=True, collate_fn=self.collate)
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=lr)

    @staticmethod
    def collate(rows):
        return {
            "pixel_values": torch.stack([row["image"] for row in rows]),
            "labels": torch.tensor([row["label"] for row in rows]),
        }

    def train(self):
        for epoch in range(self.epochs):
            for inputs in self.loader:
                outputs = self.model(**inputs)
                outputs["loss"].backward()
                self.optimizer.step()
                self.optimizer.zero_grad()
            print({"epoch": epoch + 1, "loss": round(outputs["loss"].item(), 4)})


torch.manual_seed(0)
digits = load_digits()
pixels = torch.tensor(digits.images).float()[:, None] / 8 - 1
dataset = [{"image": image, "label": int(label)} for image, label in zip(pixels, digits.target, strict=True)]
model = ImageClassifier(num_labels=2)
trainer = Trainer(model, dataset[:1500])
model.classifier = nn.Linear(256, 10)
trainer.train()
