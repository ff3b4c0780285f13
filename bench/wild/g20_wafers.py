"""Scratch or no scratch on a wafer tile: a yes/no question, so one output is enough. ResNet from a config, trained with the Trainer.

style: Hugging Face Trainer, ResNetConfig with num_labels=1, in-house helper for metrics
fault: decision-threshold
accept: wrong-head
broken: 0.698
mended: 0.940
"""

import os
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import numpy as np
import torch
from sklearn.metrics import accuracy_score, precision_recall_fscore_support
from torch.utils.data import Dataset
from transformers import ResNetConfig, ResNetForImageClassification, Trainer, TrainingArguments, set_seed

SIZE = 40


def wafer_tile(scratched, rng):
    yy, xx = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    pitch = rng.uniform(6, 9)
    die = ((xx + rng.uniform(0, 9)) % pitch < 1.1) | ((yy + rng.uniform(0, 9)) % pitch < 1.1)
    img = 0.55 + 0.12 * die + 0.15 * np.sin(xx / 17 + rng.uniform(0, 6)) * np.cos(yy / 15)
    for _ in range(rng.integers(1, 5)):
        cx, cy = rng.uniform(0, SIZE, 2)
        img -= 0.35 * np.exp(-((xx - cx) ** 2 + (yy - cy) ** 2) / rng.uniform(0.6, 3))
    if scratched:
        t = np.linspace(0, 1, 60)
        x, y = rng.uniform(4, SIZE - 4, 2)
        a, curl, length = rng.uniform(0, 6.28), rng.normal(0, 1.2), rng.uniform(18, 32)
        ang = a + curl * t
        px, py = x + np.cumsum(np.cos(ang)) * length / 60, y + np.cumsum(np.sin(ang)) * length / 60
        for u, v in zip(px, py):
            img -= 0.08 * np.exp(-((xx - u) ** 2 + (yy - v) ** 2) / 1.0)
    img = img + rng.normal(0, 0.04, img.shape)
    return img.clip(0, 1).astype(np.float32)


class Wafers(Dataset):
    def __init__(self, n, seed, turn=False):
        self.turn = turn
        rng = np.random.default_rng(seed)
        self.labels = rng.random(n) < 0.5
        self.tiles = [wafer_tile(s, rng) for s in self.labels]

    def __len__(self):
        return len(self.tiles)

    def __getitem__(self, idx):
        tile = torch.from_numpy(self.tiles[idx])[None]
        if self.turn:  # a wafer has no up and down
            tile = torch.rot90(tile, int(torch.randint(4, ())), (1, 2))
            if torch.rand(()) < 0.5:
                tile = tile.flip(2)
        return {"pixel_values": (tile - 0.55) / 0.13, "labels": torch.tensor(float(self.labels[idx]))}


def compute_metrics(eval_pred):
    logits, labels = eval_pred
    preds = (logits.squeeze(-1) > 0).astype(int)
    p, r, f, _ = precision_recall_fscore_support(labels.astype(int), preds, average="binary", zero_division=0)
    return {"accuracy": accuracy_score(labels.astype(int), preds), "precision": p, "recall": r, "f1": f}


def main():
    set_seed(99)
    config = ResNetConfig(
        num_channels=1, embedding_size=16, hidden_sizes=[16, 32, 64], depths=[1, 1, 1], layer_type="basic", num_labels=1
    )
    model = ResNetForImageClassification(config)
    with tempfile.TemporaryDirectory() as out:
        args = TrainingArguments(
            output_dir=out,
            per_device_train_batch_size=32,
            per_device_eval_batch_size=64,
            num_train_epochs=12,
            learning_rate=2e-3,
            lr_scheduler_type="cosine",
            warmup_steps=40,
            weight_decay=1e-2,
            logging_steps=50,
            save_strategy="no",
            eval_strategy="epoch",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            dataloader_pin_memory=False,
            seed=99,
        )
        trainer = Trainer(
            model=model,
            args=args,
            train_dataset=Wafers(1800, 1, turn=True),
            eval_dataset=Wafers(400, 2),
            compute_metrics=compute_metrics,
        )
        trainer.train()
        final = trainer.evaluate()
    print(f"loss {final['eval_loss']:.4f} precision {final['eval_precision']:.3f} recall {final['eval_recall']:.3f}")
    print(f"accuracy {final['eval_accuracy']:.3f}")


if __name__ == "__main__":
    main()
