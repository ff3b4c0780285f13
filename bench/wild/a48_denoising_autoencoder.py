"""A denoising autoencoder on grocery photos, sigmoid output and mean squared error; PSNR against the noisy input.

style: autoencoder blog post
fault: none
"""

import math
import os
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

SHARED = Path(os.environ.get("FOVEA_SHARED", Path(__file__).resolve().parents[3] / "shared"))
NOISE = 0.2


def photos(split, limit, step=1):
    root = SHARED / "data" / "grocery"
    images = []
    for line in (root / f"{split}.txt").read_text().splitlines()[::step][:limit]:
        photo = Image.open(root / line.split(",")[0])
        photo.draft("RGB", (80, 80))
        images.append(np.asarray(photo.convert("RGB").resize((32, 32))))
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255


class Autoencoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 48, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(48, 48, 3, padding=1),
            nn.ReLU(),
        )
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(48, 32, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 3, 3, padding=1),
            nn.Sigmoid(),
        )

    def forward(self, x):
        return self.decoder(self.encoder(x))


def psnr(mse):
    return -10 * math.log10(mse)


if __name__ == "__main__":
    torch.manual_seed(0)
    train = DataLoader(TensorDataset(photos("train", 660, 4)), batch_size=22, shuffle=True)
    clean = photos("val", 296)
    noisy = (clean + NOISE * torch.randn_like(clean)).clamp(0, 1)
    model = Autoencoder()
    criterion = nn.MSELoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    print(f"noisy input: {psnr(criterion(noisy, clean).item()):.2f} dB")
    for epoch in range(8):
        model.train()
        for (x,) in train:
            damaged = (x + NOISE * torch.randn_like(x)).clamp(0, 1)
            loss = criterion(model(damaged), x)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            print(
                f"epoch {epoch}: train mse {loss.item():.5f}, val {psnr(criterion(model(noisy), clean).item()):.2f} dB"
            )
