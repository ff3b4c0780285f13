"""I want a small ViT that tells maritime signal flags apart; the training settings come from the table in the ViT paper, scaled to my laptop.

style: Hugging Face Trainer, ViT from a config, drawn flags
fault: learning-rate-low
accept: schedule-unit
broken: 0.795
mended: 0.990
"""

import os
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import numpy as np
import torch
from PIL import Image, ImageDraw
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments, ViTConfig, ViTForImageClassification, set_seed

RED, BLUE, YELLOW, WHITE, BLACK = (200, 30, 40), (25, 50, 150), (240, 205, 40), (240, 240, 240), (25, 25, 25)
NAMES = ["charlie", "delta", "echo", "golf", "juliett", "kilo", "lima", "mike", "papa", "victor"]


def flag(name):
    s = 48
    im = Image.new("RGB", (s, s), WHITE)
    d = ImageDraw.Draw(im)

    def bands(cols, vertical=False):
        for i, c in enumerate(cols):
            a, b = round(i * s / len(cols)), round((i + 1) * s / len(cols)) - 1
            d.rectangle([a, 0, b, s] if vertical else [0, a, s, b], fill=c)

    if name == "charlie":
        bands([BLUE, WHITE, RED, WHITE, BLUE])
    elif name == "delta":
        bands([YELLOW, BLUE, BLUE, YELLOW])
    elif name == "echo":
        bands([BLUE, RED])
    elif name == "golf":
        bands([YELLOW, BLUE] * 3, True)
    elif name == "juliett":
        bands([BLUE, WHITE, BLUE])
    elif name == "kilo":
        bands([YELLOW, BLUE], True)
    elif name == "lima":
        bands([YELLOW, BLACK], True)
        d.rectangle([0, s // 2, s // 2, s], fill=BLACK)
        d.rectangle([s // 2, s // 2, s, s], fill=YELLOW)
    elif name == "mike":
        bands([BLUE])
        d.line([0, 0, s, s], fill=WHITE, width=8)
        d.line([0, s, s, 0], fill=WHITE, width=8)
    elif name == "papa":
        bands([BLUE])
        d.rectangle([16, 16, 31, 31], fill=WHITE)
    else:
        d.line([0, 0, s, s], fill=RED, width=8)
        d.line([0, s, s, 0], fill=RED, width=8)
    return im


def shot(name, rng):
    sky = tuple(int(v) for v in rng.integers(60, 220, 3))
    im = Image.new("RGB", (64, 64), sky)
    size = int(rng.integers(26, 50))
    f = flag(name).resize((size, int(size * rng.uniform(0.75, 1))), Image.BILINEAR).convert("RGBA")
    f = f.rotate(float(rng.uniform(-14, 14)), expand=True, resample=Image.BILINEAR)
    im.paste(f, (int(rng.integers(0, 64 - f.width + 8)) - 4, int(rng.integers(0, 64 - f.height + 8)) - 4), f)
    a = np.asarray(im.resize((40, 40), Image.BILINEAR), np.float32) * rng.uniform(0.55, 1.1)
    a = a + rng.normal(0, 14, a.shape)
    return a.clip(0, 255).astype(np.uint8)


class Flags(Dataset):
    def __init__(self, n, seed):
        rng = np.random.default_rng(seed)
        self.y = rng.integers(0, len(NAMES), n)
        self.x = [shot(NAMES[k], rng) for k in self.y]

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        x = torch.from_numpy(self.x[i]).permute(2, 0, 1).float() / 127.5 - 1
        return {"pixel_values": x, "labels": int(self.y[i])}


def accuracy(p):
    return {"accuracy": float((p.predictions.argmax(-1) == p.label_ids).mean())}


if __name__ == "__main__":
    set_seed(42)
    config = ViTConfig(
        image_size=40,
        patch_size=8,
        hidden_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=192,
        num_labels=len(NAMES),
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        id2label=dict(enumerate(NAMES)),
        label2id={n: i for i, n in enumerate(NAMES)},
    )
    model = ViTForImageClassification(config)
    with tempfile.TemporaryDirectory() as out:
        args = TrainingArguments(
            output_dir=out,
            num_train_epochs=14,
            per_device_train_batch_size=32,
            per_device_eval_batch_size=100,
            learning_rate=1e-3,
            warmup_steps=10_000,
            lr_scheduler_type="cosine",
            weight_decay=0.03,
            max_grad_norm=1.0,
            logging_steps=100,
            save_strategy="no",
            eval_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            dataloader_pin_memory=False,
            seed=42,
        )
        trainer = Trainer(
            model=model, args=args, train_dataset=Flags(1400, 1), eval_dataset=Flags(400, 2), compute_metrics=accuracy
        )
        trainer.train()
        print("eval accuracy: %.3f" % trainer.evaluate()["eval_accuracy"])
