"""Ten-digit part numbers engraved on gears: one small convolutional reader for the whole line, trained with the Trainer because our team uses it for text.

style: Hugging Face Trainer around a custom nn.Module, own dataset of text lines
fault: metric-wrong
broken: 0.165
mended: 0.889
"""

import os
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from transformers import EvalPrediction, Trainer, TrainingArguments, set_seed

LENGTH, DIGITS = 10, 10


class Engravings(torch.utils.data.Dataset):
    def __init__(self, glyphs, labels, n, seed):
        rng = np.random.default_rng(seed)
        self.lines = np.zeros((n, 12, 8 * LENGTH + 8), np.float32)
        self.codes = np.zeros((n, LENGTH), np.int64)
        for i in range(n):
            pick = rng.integers(0, len(labels), LENGTH)
            top, left = rng.integers(0, 5), rng.integers(2, 7)
            self.lines[i, top : top + 8, left : left + 80] = np.concatenate(list(glyphs[pick] / 16.0), axis=1)
            self.codes[i] = labels[pick]
        shade = np.linspace(0, 1, self.lines.shape[2]) * rng.uniform(-0.5, 0.5, (n, 1, 1))
        self.lines += shade + rng.normal(0, 0.15, self.lines.shape)
        self.lines = (self.lines - 0.3) / 0.38

    def __len__(self):
        return len(self.codes)

    def __getitem__(self, i):
        return {
            "pixel_values": torch.tensor(self.lines[i], dtype=torch.float32)[None],
            "labels": torch.tensor(self.codes[i]),
        }


class LineReader(nn.Module):
    def __init__(self, ch=32):
        super().__init__()

        def block(i, o, k=3, stride=1):
            return nn.Sequential(nn.Conv2d(i, o, k, stride, k // 2, bias=False), nn.BatchNorm2d(o), nn.GELU())

        self.encoder = nn.Sequential(
            block(1, ch), block(ch, ch, 3, 2), block(ch, 2 * ch), block(2 * ch, 2 * ch, 3, 2), block(2 * ch, 2 * ch)
        )
        self.pool = nn.AdaptiveAvgPool2d((3, 2 * LENGTH))
        self.head = nn.Conv1d(6 * ch * 2, DIGITS, 1)
        self.loss_fct = nn.CrossEntropyLoss()

    def forward(self, pixel_values, labels=None):
        f = self.pool(self.encoder(pixel_values))
        b, c, h, w = f.shape
        f = f.reshape(b, c, h, LENGTH, 2).permute(0, 1, 2, 4, 3).reshape(b, c * h * 2, LENGTH)
        logits = self.head(f)
        out = {"logits": logits}
        if labels is not None:
            out = {"loss": self.loss_fct(logits, labels), **out}
        return out


def compute_metrics(p: EvalPrediction):
    preds = p.predictions[0] if isinstance(p.predictions, tuple) else p.predictions
    preds = np.argmax(preds, axis=-1)
    keep = p.label_ids != -100
    return {"digit_accuracy": float((preds[keep] == p.label_ids[keep]).mean())}


def main():
    set_seed(12)
    d = load_digits()
    order = np.random.default_rng(0).permutation(len(d.target))
    old, new = order[:1300], order[1300:]
    train = Engravings(d.images[old], d.target[old], 900, 1)
    test = Engravings(d.images[new], d.target[new], 200, 2)
    with tempfile.TemporaryDirectory() as out:
        args = TrainingArguments(
            output_dir=out,
            num_train_epochs=12,
            per_device_train_batch_size=30,
            per_device_eval_batch_size=50,
            learning_rate=3e-3,
            weight_decay=0.01,
            lr_scheduler_type="cosine",
            warmup_steps=30,
            logging_steps=60,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            dataloader_pin_memory=False,
            seed=12,
        )
        trainer = Trainer(
            model=LineReader(), args=args, train_dataset=train, eval_dataset=test, compute_metrics=compute_metrics
        )
        trainer.train()
        result = trainer.evaluate()
    print(f"eval loss {result['eval_loss']:.3f}")
    print(f"digits read correctly: {result['eval_digit_accuracy']:.3f}")


if __name__ == "__main__":
    main()
