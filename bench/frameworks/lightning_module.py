"""Lightning: a module and a Trainer, with automatic or manual optimisation, mixed precision or compilation."""

from __future__ import annotations

import warnings

import lightning as L
import torch
from common import asked, digits, network, rate, tell
from torch.nn import functional
from torch.utils.data import DataLoader

warnings.filterwarnings("ignore")


class Digits(L.LightningModule):
    """A classifier; the validation of Lightning's own sanity check is not counted."""

    def __init__(self, fault: str, *, manual: bool) -> None:
        super().__init__()
        self.fault, self.automatic_optimization = fault, not manual
        self.net = network(fault)
        self.seen: list[float] = []
        self.evaluations: list[tuple[int, int]] = []
        self.count = [0, 0]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.net(images)

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], number: int) -> torch.Tensor:
        images, labels = batch
        loss = functional.cross_entropy(self(images), labels)
        self.seen.append(float(loss))
        self.log("train_loss", loss)
        if not self.automatic_optimization:
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
        return loss

    def on_train_epoch_start(self) -> None:
        if self.fault == "mode":
            self.net.eval()

    def on_validation_epoch_start(self) -> None:
        self.count = [0, 0]

    def validation_step(self, batch: tuple[torch.Tensor, torch.Tensor], number: int) -> None:
        images, labels = batch
        scores = self(images)
        self.log("val_loss", functional.cross_entropy(scores, labels))
        self.count[0] += len(labels)
        self.count[1] += int((scores.argmax(1) == labels).sum())

    def on_validation_epoch_end(self) -> None:
        if not self.trainer.sanity_checking:
            self.evaluations.append((self.count[0], self.count[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=rate(0.05, self.fault), momentum=0.9)


given = asked(manual="", precision="32-true", compile="", accumulate="1")
L.seed_everything(0, verbose=False)
train, held = digits(given.fault)
model = Digits(given.fault, manual=bool(given.manual))
trainer = L.Trainer(
    max_epochs=given.epochs,
    accelerator="cpu",
    precision=given.precision,
    accumulate_grad_batches=int(given.accumulate),
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=True,
)
fitted = torch.compile(model, backend=given.compile) if given.compile else model
trainer.fit(fitted, DataLoader(train, batch_size=32, shuffle=True), DataLoader(held, batch_size=100))
tell(model, model.seen, model.evaluations)
