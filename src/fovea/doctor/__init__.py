"""The doctor: what is wrong with a PyTorch training, anybody's, by name.

    with fovea.doctor.watch(model, optimizer, loader=train_loader, val_loader=val_loader) as doctor:
        train()                         # any loop
    print(doctor.text())

Before a training: `print(fovea.doctor.checkup(model, loss_fn, loader).text())`.
What layers make of an image: `fovea.doctor.see(model, image).write_html("image.html")`.
From a shell, an unchanged script: `python -m fovea.doctor script.py ARGS`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fovea.doctor.checking import checkup as checkup
    from fovea.doctor.sight import see as see
    from fovea.doctor.watching import Doctor as Doctor
    from fovea.doctor.watching import watch as watch

__all__ = ["Doctor", "checkup", "see", "watch"]
_MODULES = {"checkup": "checking", "see": "sight"}  # where a name is, if not in `watching`


def __getattr__(name: str) -> Any:
    """Load a name when it is first used: importing the doctor alone does not import torch."""
    if name not in __all__:
        raise AttributeError(f"module 'fovea.doctor' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"fovea.doctor.{_MODULES.get(name, 'watching')}"), name)
