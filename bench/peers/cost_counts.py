"""What the peers count: fvcore, torchinfo, thop, ptflops, calflops and torch's FlopCounterMode on the given networks.

    python cost_counts.py --out FILE NAME...

Each answer is MACs as the tool means them: what it calls FLOPs is halved where its own manual says that a MAC is two.
Runs in the peers' own environment and imports nothing of fovea. A tool that is not installed, or fails, says why.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from cost_cases import build, side_px


def by_fvcore(model: nn.Module, images: Tensor) -> float:
    """It says FLOPs and counts a MAC as one."""
    from fvcore.nn import FlopCountAnalysis

    return FlopCountAnalysis(model, images).unsupported_ops_warnings(False).uncalled_modules_warnings(False).total()


def by_torchinfo(model: nn.Module, images: Tensor) -> float:
    """It says mult-adds."""
    from torchinfo import summary

    return summary(model, input_data=images, verbose=0).total_mult_adds


def by_thop(model: nn.Module, images: Tensor) -> float:
    """It says MACs."""
    from thop import profile

    return profile(model, inputs=(images,), verbose=False)[0]


def by_ptflops(model: nn.Module, images: Tensor) -> float:
    """It says MACs."""
    from ptflops import get_model_complexity_info

    macs, _ = get_model_complexity_info(
        model, tuple(images.shape[1:]), as_strings=False, print_per_layer_stat=False, verbose=False
    )
    return macs


def by_calflops(model: nn.Module, images: Tensor) -> float:
    """It gives MACs beside FLOPs."""
    from calflops import calculate_flops

    _, macs, _ = calculate_flops(
        model, input_shape=tuple(images.shape), print_results=False, print_detailed=False, output_as_string=False
    )
    return macs


def by_flop_counter_mode(model: nn.Module, images: Tensor) -> float:
    """It says FLOPs and counts a MAC as two."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(images)
    return counter.get_total_flops() / 2


TOOLS: dict[str, Callable[[nn.Module, Tensor], float]] = {
    "fvcore": by_fvcore,
    "torchinfo": by_torchinfo,
    "thop": by_thop,
    "ptflops": by_ptflops,
    "calflops": by_calflops,
    "FlopCounterMode": by_flop_counter_mode,
}


def main() -> None:
    """Count every network with every tool, each on a fresh copy, and write the answers as they come."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("names", nargs="+")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    answers: dict[str, dict[str, float | str]] = {}
    for name in options.names:
        answers[name] = {}
        for tool, count in TOOLS.items():
            torch.manual_seed(0)
            side = side_px(name)
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    counted = count(build(name), torch.randn(1, 3, side, side))
                answers[name][tool] = float(counted)
            except Exception as error:  # whatever a tool fails with is its answer
                answers[name][tool] = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:120]}"
        options.out.write_text(json.dumps(answers, indent=2), encoding="utf-8")
        print(name, flush=True)


if __name__ == "__main__":
    main()
