"""Hugging Face's Trainer: a small ResNet made from a config, evaluated after each epoch."""

from __future__ import annotations

import tempfile

import numpy as np
import torch
from common import CLASSES, asked, digits, rate, tell
from torch.nn import functional
from torch.utils.data import Dataset, TensorDataset
from transformers import (
    EvalPrediction,
    PreTrainedModel,
    ResNetConfig,
    ResNetForImageClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    ViTConfig,
    ViTForImageClassification,
    set_seed,
)
from transformers.modeling_outputs import ImageClassifierOutput


class Named(Dataset[dict[str, torch.Tensor]]):
    """Images and labels under the names that the model has for them."""

    def __init__(self, pairs: TensorDataset) -> None:
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, place: int) -> dict[str, torch.Tensor]:
        image, label = self.pairs[place]
        return {"pixel_values": image, "labels": label}


class Squashed(ResNetForImageClassification):
    """Probabilities where the loss expects scores."""

    def forward(self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None) -> ImageClassifierOutput:
        scores = super().forward(pixel_values=pixel_values).logits.softmax(dim=-1)
        loss = None if labels is None else functional.cross_entropy(scores, labels)
        return ImageClassifierOutput(loss=loss, logits=scores)


class Listing(TrainerCallback):
    """Keeps what the Trainer logs of each step."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_log(self, *args: object, logs: dict[str, float], **rest: object) -> None:
        if "loss" in logs:
            self.losses.append(logs["loss"])


def build(kind: str, fault: str) -> PreTrainedModel:
    """Return a model from a config, with random weights."""
    if kind == "vit":
        config = ViTConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128,
                           image_size=16, patch_size=4, num_channels=1, num_labels=CLASSES)  # fmt: skip
        return ViTForImageClassification(config)
    config = ResNetConfig(num_channels=1, embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1], layer_type="basic",
                          num_labels=CLASSES)  # fmt: skip
    return (Squashed if fault == "softmax" else ResNetForImageClassification)(config)


def metrics(told: EvalPrediction) -> dict[str, float]:
    """Return the number of right answers."""
    evaluations.append((len(told.label_ids), int((np.argmax(told.predictions, axis=1) == told.label_ids).sum())))
    return {"accuracy": evaluations[-1][1] / evaluations[-1][0]}


given = asked(bf16="", accumulate="1", kind="resnet", compile="", workers="0")
set_seed(0)
train, held = digits(given.fault, side=16)
model = build(given.kind, given.fault)
evaluations: list[tuple[int, int]] = []
listing = Listing()
with tempfile.TemporaryDirectory() as folder:
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=folder,
            num_train_epochs=given.epochs,
            per_device_train_batch_size=32,
            per_device_eval_batch_size=100,
            gradient_accumulation_steps=int(given.accumulate),
            learning_rate=rate(3e-3, given.fault),
            eval_strategy="epoch",
            save_strategy="no",
            logging_steps=1,
            use_cpu=True,
            bf16=bool(given.bf16),
            torch_compile=bool(given.compile),
            torch_compile_backend=given.compile or None,
            dataloader_num_workers=int(given.workers),
            report_to=[],
            disable_tqdm=True,
            seed=0,
        ),
        train_dataset=Named(train),
        eval_dataset=Named(held),
        compute_metrics=metrics,
        callbacks=[listing],
    )
    trainer.train()
tell(model, listing.losses, evaluations)
