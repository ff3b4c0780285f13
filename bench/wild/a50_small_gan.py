"""A conditional GAN that draws 8 x 8 digits: two networks, two optimisers; a classifier reads what it draws.

style: DCGAN tutorial with netD and netG
fault: none
"""

import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from sklearn.svm import SVC
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(999)
nz, ngf, ndf = 16, 128, 128
digits = load_digits()
images = torch.tensor(digits.data, dtype=torch.float32) / 8 - 1
labels = torch.tensor(digits.target)
dataloader = DataLoader(TensorDataset(images, labels), batch_size=64, shuffle=True, drop_last=True)


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(10, 10)
        self.main = nn.Sequential(
            nn.Linear(nz + 10, ngf),
            nn.BatchNorm1d(ngf),
            nn.ReLU(True),
            nn.Linear(ngf, ngf),
            nn.BatchNorm1d(ngf),
            nn.ReLU(True),
            nn.Linear(ngf, 64),
            nn.Tanh(),
        )

    def forward(self, z, y):
        return self.main(torch.cat([z, self.embed(y)], 1))


class Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(10, 10)
        self.main = nn.Sequential(
            nn.Linear(64 + 10, ndf),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Dropout(0.3),
            nn.Linear(ndf, ndf),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Dropout(0.3),
            nn.Linear(ndf, 1),
        )

    def forward(self, x, y):
        return self.main(torch.cat([x, self.embed(y)], 1)).squeeze(1)


netG, netD = Generator(), Discriminator()
criterion = nn.BCEWithLogitsLoss()
optimizerD = torch.optim.Adam(netD.parameters(), lr=1e-3, betas=(0.5, 0.999))
optimizerG = torch.optim.Adam(netG.parameters(), lr=1e-3, betas=(0.5, 0.999))
reader = SVC().fit(images.numpy(), digits.target)
fixed_noise, fixed_labels = torch.randn(500, nz), torch.arange(10).repeat(50)

for epoch in range(14):
    netG.train()
    for real, y in dataloader:
        netD.zero_grad()
        b = len(real)
        errD_real = criterion(netD(real, y), torch.full((b,), 0.9))
        fake_y = torch.randint(0, 10, (b,))
        fake = netG(torch.randn(b, nz), fake_y)
        errD_fake = criterion(netD(fake.detach(), fake_y), torch.zeros(b))
        errD = errD_real + errD_fake
        errD.backward()
        optimizerD.step()

        netG.zero_grad()
        errG = criterion(netD(fake, fake_y), torch.ones(b))
        errG.backward()
        optimizerG.step()
    netG.eval()
    with torch.no_grad():
        drawn = netG(fixed_noise, fixed_labels)
    read = (torch.tensor(reader.predict(drawn.numpy())) == fixed_labels).float().mean()
    losses = f"Loss_D: {errD.item():.4f} Loss_G: {errG.item():.4f}"
    print(f"[{epoch}] {losses} readable: {read:.3f} spread {drawn.std(0).mean():.3f}")
