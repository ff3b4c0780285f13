"""Can a vision transformer learn the tiny 8x8 sklearn digits without any convolution? Weekend experiment with transformers.

style: Hugging Face Trainer, ViT from a config, very small patches
fault: none
mended: 0.991
"""

import os
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from transformers import Trainer, TrainingArguments, ViTConfig, ViTForImageClassification, set_seed

set_seed(2024)


class Digits(torch.utils.data.Dataset):
    def __init__(self, images, labels, jitter):
        self.images, self.labels, self.jitter = images, labels, jitter

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        img = torch.tensor(self.images[i], dtype=torch.float32)[None] / 8.0 - 1.0
        if self.jitter and np.random.rand() < 0.5:
            dy, dx = np.random.randint(-1, 2, 2)
            img = torch.roll(img, (int(dy), int(dx)), (1, 2))
        return {"pixel_values": img, "labels": int(self.labels[i])}


def compute_metrics(pred):
    guess = pred.predictions.argmax(-1)
    return {"accuracy": float((guess == pred.label_ids).mean())}


def main():
    d = load_digits()
    xtr, xva, ytr, yva = train_test_split(d.images, d.target, test_size=0.25, stratify=d.target, random_state=0)
    cfg = ViTConfig(
        image_size=8,
        patch_size=2,
        num_channels=1,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=160,
        num_labels=10,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.08,
    )
    model = ViTForImageClassification(cfg)
    with tempfile.TemporaryDirectory() as out:
        args = TrainingArguments(
            output_dir=out,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
            num_train_epochs=24,
            per_device_train_batch_size=32,
            per_device_eval_batch_size=256,
            # AdamW decay is multiplied with the rate, so 0.5 is mild over so few steps
            learning_rate=1.5e-3,
            weight_decay=0.5,
            warmup_steps=60,
            lr_scheduler_type="cosine",
            label_smoothing_factor=0.1,
            adam_beta2=0.95,
            max_grad_norm=1.0,
            logging_steps=200,
            dataloader_pin_memory=False,
            seed=2024,
        )
        trainer = Trainer(
            model=model,
            args=args,
            train_dataset=Digits(xtr, ytr, True),
            eval_dataset=Digits(xva, yva, False),
            compute_metrics=compute_metrics,
        )
        trainer.train()
        print(f"accuracy {trainer.evaluate()['eval_accuracy']:.3f}")


if __name__ == "__main__":
    main()
