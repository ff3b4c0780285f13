"""Recognising single letters from scanned typewriter pages, then reading them one by one the way my app will.

style: Lightning for the training, hand-written prediction loop afterwards
fault: eval-in-train-mode
broken: 0.756
mended: 0.958
"""

import string

import lightning as L
import numpy as np
import torch
import torch.nn as nn
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from torch.utils.data import DataLoader, Dataset

L.seed_everything(1959, verbose=False)
ALPHABET = string.ascii_uppercase


class Typed(Dataset):
    def __init__(self, n, seed):
        rng = np.random.default_rng(seed)
        fonts = [ImageFont.load_default(size) for size in (18, 20, 22)]
        self.labels = np.resize(np.arange(26), n)
        self.images = []
        for k in self.labels:
            im = Image.new("L", (28, 28), int(rng.integers(200, 245)))
            d = ImageDraw.Draw(im)
            d.text(
                (7 + int(rng.integers(-3, 4)), 2 + int(rng.integers(-3, 4))),
                ALPHABET[k],
                fill=int(rng.integers(10, 110)),
                font=fonts[rng.integers(3)],
            )
            im = im.rotate(float(rng.normal(0, 7)), fillcolor=230).filter(
                ImageFilter.GaussianBlur(float(rng.uniform(0, 0.9)))
            )
            a = np.asarray(im, np.float32)
            a[rng.random(a.shape) < 0.05] = 235
            self.images.append(a + rng.normal(0, 18, a.shape))

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        x = torch.tensor(self.images[i], dtype=torch.float32)[None]
        return (x - 210.0) / 55.0, int(self.labels[i])


class LetterNet(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 20, 3, padding=1, bias=False),
            nn.BatchNorm2d(20),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(20, 40, 3, padding=1, bias=False),
            nn.BatchNorm2d(40),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(40, 64, 3, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(nn.Flatten(), nn.Dropout(0.4), nn.Linear(576, 26))
        self.loss = nn.CrossEntropyLoss()

    def forward(self, x):
        return self.classifier(self.features(x))

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = self.loss(self(x), y)
        self.log("loss", loss, on_epoch=True, on_step=False)
        return loss

    def configure_optimizers(self):
        opt = torch.optim.Adam(self.parameters(), lr=2e-3)
        return {"optimizer": opt, "lr_scheduler": torch.optim.lr_scheduler.ExponentialLR(opt, 0.8)}


def read_page(net, page):
    """Letters arrive one at a time from the segmentation."""
    text, truth = [], []
    with torch.no_grad():
        for letter, label in page:
            logits = net(letter.unsqueeze(0))
            text.append(ALPHABET[logits.argmax().item()])
            truth.append(ALPHABET[label])
    return "".join(text), "".join(truth)


def main():
    net = LetterNet()
    trainer = L.Trainer(
        max_epochs=9,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(net, DataLoader(Typed(2080, 1), batch_size=52, shuffle=True))
    print(f"final training loss {trainer.callback_metrics['loss']:.3f}")
    text, truth = read_page(net, Typed(520, 2))
    print("reads ", text[:52])
    print("should", truth[:52])
    print(f"letters right: {np.mean([a == b for a, b in zip(text, truth)]):.3f}")


if __name__ == "__main__":
    main()
