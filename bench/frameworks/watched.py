"""Run a script under the doctor, as `python -m fovea.doctor` does, and write down what the doctor has recorded.

python watched.py FACTS.json SCRIPT ARGS
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from fovea.doctor import script
from fovea.doctor.record import Record
from fovea.doctor.watching import Doctor


def facts(record: Record) -> dict[str, Any]:
    """Return what is held against the script's own account."""
    return {
        "losses": [each.loss for each in record.steps],
        "images": [each.images for each in record.steps],
        "right": [each.right for each in record.steps],
        "backwards": [each.batches for each in record.steps],
        "in_eval_mode": sum(each.eval_mode for each in record.steps),
        "stale": sum(each.stale_gradients for each in record.steps),
        "skipped": record.skipped_steps,
        "rounds": [
            [each.step, each.images, each.right, each.judged, each.loss, each.training_mode, each.batches]
            for each in record.rounds
        ],
        "loaders": [
            [each.phase, each.rounds, each.batch_size, each.shuffled, each.images, sum(map(len, each.label_batches))]
            for each in record.loaders
        ],
        "functions": [
            [each.name, each.phase, str(each.where), each.calls, each.classes, each.looked_at] for each in record.losses
        ],
        "networks": [
            [
                each.kind,
                each.compiled,
                each.out_dim,
                len(each.parameters),
                sum(one.optimised for one in each.parameters.values()),
                sum(bool(one.steps) for one in each.parameters.values()),
                len(each.layers),
                sum(bool(one.steps) for one in each.layers.values()),
            ]
            for each in record.networks
        ],
        "optimisers": [
            [each.kind, str(each.where), len(each.lr), [each.lr[:1], each.lr[-1:]], len(each.groups)]
            for each in record.optimisers
        ],
        "pictures": {phase: len(gallery.pictures) for phase, gallery in record.galleries.items()},
        "unseen": record.unseen,
        "seconds": record.seconds,
        "overhead_s": record.overhead_s,
    }


def main() -> int:
    """Run it; the exit status is the script's own."""
    path, *rest = sys.argv[1:]
    doctor = Doctor()
    status = script.main(["--json", path, *rest], doctor=doctor)
    answer = {**doctor.as_dict(), **facts(doctor.record)}
    Path(path).write_text(json.dumps(answer, indent=1), encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main())
