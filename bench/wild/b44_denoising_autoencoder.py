"""Denoising autoencoder for small photos; no labels anywhere; figure: PSNR in dB.

style: notebook, encoder and decoder classes, PSNR as the metric
fault: none
broken: n/a
mended: 20.85
"""

import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader

GROCERY = Path(os.environ.get("FOVEA_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "data" / "grocery"


def photos(split, every):
    out = []
    for line in (GROCERY / f"{split}.txt").read_text().splitlines()[::every]:
        img = Image.open(GROCERY / line.split(", ")[0])
        img.draft("RGB", (64, 64))
        out.append(np.asarray(img.convert("RGB").resize((32, 32), Image.BILINEAR)))
    return torch.from_numpy(np.stack(out)).permute(0, 3, 1, 2).float() / 255


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 24, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(24, 32, 3, stride=2, padding=1), nn.ReLU()
        )

    def forward(self, x):
        return self.net(x)


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.ConvTranspose2d(32, 24, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(24, 16, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 3, 3, padding=1),
            nn.Sigmoid(),
        )

    def forward(self, z):
        return self.net(z)


def add_noise(x, sigma=0.25, generator=None):
    return x + sigma * torch.randn(x.shape, generator=generator)


def psnr(a, b):
    return (-10 * torch.log10((a - b).pow(2).mean((1, 2, 3)))).mean().item()


torch.manual_seed(50)
train_x, test_x = photos("train", 2), photos("val", 1)
noisy_test = add_noise(test_x, generator=torch.Generator().manual_seed(0))
print(f"PSNR of the noisy pictures {psnr(noisy_test, test_x):.2f} dB")
loader = DataLoader(train_x, batch_size=32, shuffle=True)
encoder, decoder = Encoder(), Decoder()
optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=3e-3)
criterion = nn.MSELoss()

for epoch in range(9):
    encoder.train()
    decoder.train()
    total = 0.0
    for clean in loader:
        optimizer.zero_grad()
        restored = decoder(encoder(add_noise(clean)))
        loss = criterion(restored, clean)
        loss.backward()
        optimizer.step()
        total += loss.item()
    encoder.eval()
    decoder.eval()
    with torch.no_grad():
        print(f"epoch {epoch} mse {total / len(loader):.5f} PSNR {psnr(decoder(encoder(noisy_test)), test_x):.2f} dB")
