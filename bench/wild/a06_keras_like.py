"""A hand-made Sequential class with compile() and fit(), on twenty kinds of groceries.

style: model.fit-like Keras-style class
fault: softmax-before-loss
"""

import os
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
from PIL import Image

SHARED = Path(os.environ.get("FOVEA_SHARED", Path(__file__).resolve().parents[3] / "shared"))
KINDS = [0, 1, 2, 3, 4, 6, 7, 8, 13, 16, 20, 21, 27, 42, 55, 62, 67, 68, 78, 79]


class Model:
    """Enough of Keras to feel at home."""

    def __init__(self, layers):
        self.net = nn.Sequential(*layers)

    def compile(self, optimizer="adam", loss="sparse_categorical_crossentropy", learning_rate=1e-3):
        kinds = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}
        losses = {"sparse_categorical_crossentropy": nn.CrossEntropyLoss(), "mse": nn.MSELoss()}
        self.optimizer = kinds[optimizer](self.net.parameters(), lr=learning_rate)
        self.loss = losses[loss]

    def fit(self, x, y, epochs=1, batch_size=32, validation_data=None):
        history = {"loss": [], "val_accuracy": []}
        for epoch in range(epochs):
            self.net.train()
            order = np.random.permutation(len(x))
            total = 0.0
            for start in range(0, len(x), batch_size):
                idx = order[start : start + batch_size]
                self.optimizer.zero_grad()
                loss = self.loss(self.net(x[idx]), y[idx])
                loss.backward()
                self.optimizer.step()
                total += loss.item() * len(idx)
            history["loss"].append(total / len(x))
            message = f"Epoch {epoch + 1}/{epochs} - loss: {history['loss'][-1]:.4f}"
            if validation_data is not None:
                history["val_accuracy"].append(self.evaluate(*validation_data))
                message += f" - val_accuracy: {history['val_accuracy'][-1]:.4f}"
            print(message)
        return history

    def predict(self, x):
        self.net.eval()
        with torch.no_grad():
            return torch.cat([self.net(part) for part in x.split(256)])

    def evaluate(self, x, y):
        return (self.predict(x).argmax(1) == y).float().mean().item()


def load(split, start, stop, size=32):
    root = SHARED / "data" / "grocery"
    counts = dict.fromkeys(KINDS, 0)
    xs, ys = [], []
    for line in (root / f"{split}.txt").open():
        path, label, _ = line.strip().split(", ")
        label = int(label)
        if label not in counts:
            continue
        counts[label] += 1
        if not start < counts[label] <= stop:
            continue
        image = Image.open(root / path)
        image.draft("RGB", (64, 64))
        xs.append(np.asarray(image.convert("RGB").resize((size, size))))
        ys.append(KINDS.index(label))
    x = torch.tensor(np.stack(xs)).permute(0, 3, 1, 2).float() / 255
    return (x - 0.45) / 0.25, torch.tensor(ys)


def main():
    np.random.seed(1)
    torch.manual_seed(1)
    x, y = load("train", 0, 24)
    x = torch.cat([x, x.flip(-1)])
    y = torch.cat([y, y])
    x_val, y_val = (torch.cat(parts) for parts in zip(load("val", 0, 30), load("train", 24, 50)))
    model = Model(
        [
            nn.Conv2d(3, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 48, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(48, 64, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(64 * 16, 128),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Linear(128, len(KINDS)),
            nn.Softmax(dim=1),
        ]
    )
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", learning_rate=1e-3)
    model.fit(x, y, epochs=12, batch_size=64, validation_data=(x_val, y_val))


if __name__ == "__main__":
    main()
