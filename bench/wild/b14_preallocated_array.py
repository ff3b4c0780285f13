"""All photos read into one NumPy array first, then trained on from memory.

style: keras-like habits in PyTorch: load_data, fit, predict
fault: input-ignored
accept: normalised-twice
broken: 0.26
mended: 0.70
"""

import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

BASE = Path(os.environ.get("FOVEA_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "data" / "grocery"
LABELS = ["Apple", "Juice", "Melon", "Milk", "Pepper"]
H = W = 36


def load_data(list_name):
    rows = [line.split(", ")[0] for line in (BASE / list_name).read_text().splitlines()]
    rows = [r for r in rows if r.split("/")[2] in LABELS]
    X = np.zeros((len(rows), H, W, 3), dtype=np.uint8)
    y = np.zeros(len(rows), dtype=np.int64)
    for i, r in enumerate(rows):
        img = Image.open(BASE / r)
        img.draft("RGB", (2 * W, 2 * H))
        img = img.convert("RGB").resize((W, H), Image.BILINEAR)
        X[i] = np.asarray(img) / 255.0
        y[i] = LABELS.index(r.split("/")[2])
    return X.astype(np.float32).transpose(0, 3, 1, 2), y


class Classifier:
    """fit, predict and score, as the other libraries have them."""

    def __init__(self, epochs=12, batch_size=32, lr=1e-3):
        self.epochs, self.batch_size = epochs, batch_size
        self.net = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(3),
            nn.Flatten(),
            nn.Linear(32 * 36, 64),
            nn.ReLU(),
            nn.Linear(64, len(LABELS)),
            nn.LogSoftmax(dim=1),
        )
        self.loss = nn.NLLLoss()
        self.opt = torch.optim.RMSprop(self.net.parameters(), lr=lr)

    def fit(self, X, y, validation_data):
        X, y = torch.from_numpy(X), torch.from_numpy(y)
        for epoch in range(self.epochs):
            self.net.train()
            history = []
            for idx in torch.randperm(len(X)).split(self.batch_size):
                self.opt.zero_grad()
                loss = self.loss(self.net(X[idx]), y[idx])
                loss.backward()
                self.opt.step()
                history.append(loss.item())
            score = self.score(*validation_data)
            print(f"Epoch {epoch + 1}/{self.epochs} - loss: {np.mean(history):.4f} - val_accuracy: {score:.4f}")
        return self

    def predict(self, X):
        self.net.eval()
        with torch.no_grad():
            return self.net(torch.from_numpy(X)).argmax(1).numpy()

    def score(self, X, y):
        return float((self.predict(X) == y).mean())


if __name__ == "__main__":
    torch.manual_seed(123)
    X_train, y_train = load_data("train.txt")
    X_val, y_val = load_data("val.txt")
    Classifier().fit(X_train, y_train, validation_data=(X_val, y_val))
