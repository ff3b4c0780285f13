"""My LightningModule gets 99 % in training and 1 % in validation. Overfitting?"""

import lightning as L
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


class LitDigits(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(1024, 10))

    def training_step(self, batch, batch_idx):
        x, y = batch
        return F.cross_entropy(self.net(x), y)

    def validation_step(self, batch, batch_idx):
        x, y = batch
        logits = self.net(x)
        self.log("val_loss", F.cross_entropy(logits, y))
        self.log("val_acc", (logits.argmax(1) == y).float().mean(), prog_bar=True)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=2e-3)


L.seed_everything(0)
digits = load_digits()
x = torch.tensor(digits.images).float()[:, None] / 8 - 1
train_classes = {name: number for number, name in enumerate("0123456789")}
val_classes = {name: number for number, name in enumerate("1234567890")}
y = [str(label) for label in digits.target]
train = TensorDataset(x[:1300], torch.tensor([train_classes[name] for name in y[:1300]]))
val = TensorDataset(x[1300:], torch.tensor([val_classes[name] for name in y[1300:]]))
trainer = L.Trainer(max_epochs=4, accelerator="cpu", logger=False, enable_checkpointing=False)
trainer.fit(LitDigits(), DataLoader(train, batch_size=32, shuffle=True), DataLoader(val, batch_size=100))
