"""What to compute on, in which precision, with how many processes: chosen, and said in one line."""

import os
from datetime import timedelta
from typing import TYPE_CHECKING

from ptk.errors import RecipeError

if TYPE_CHECKING:
    from accelerate import Accelerator


LATER = 60.0  # seconds that torch waits longer than ptk


def cpu_has_bf16() -> bool:
    """Does this processor multiply bf16 in hardware? Elsewhere bf16 is slower than fp32."""
    import torch

    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, probe, lambda: False)() for probe in probes)


def kind() -> str:
    """``cuda``, ``mps`` or ``cpu``."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def precision(wanted: str, device: str) -> str:
    """``auto`` to bf16 where the hardware has it, else fp32. Raises RecipeError for what cannot be."""
    import torch

    if wanted == "fp16" and device != "cuda":
        raise RecipeError(f"train.precision: fp16 needs a CUDA device, this is {device}; use auto, bf16 or fp32")
    if wanted != "auto":
        return wanted
    has = {"cuda": lambda: torch.cuda.is_bf16_supported(including_emulation=False), "cpu": cpu_has_bf16}
    return "bf16" if has.get(device, lambda: False)() else "fp32"


def visible() -> int:
    """Accelerators that a run takes when nobody says otherwise; at least one process."""
    import torch

    return max(1, torch.cuda.device_count())


def accelerator(wanted: str, timeout: float = 600.0) -> "Accelerator":
    """Accelerate on the chosen device and precision; joins a process group that a launcher prepared.

    ``timeout``: seconds after which a process that does not answer is given up, by ptk; torch would say less (R16).
    """
    from accelerate import Accelerator, InitProcessGroupKwargs
    from accelerate.state import AcceleratorState

    patience = InitProcessGroupKwargs(timeout=timedelta(seconds=timeout + LATER))
    mixed = {"fp32": "no"}.get(chosen := precision(wanted, kind()), chosen)
    shared = AcceleratorState._shared_state
    if shared.get("_mixed_precision", mixed) != mixed:  # one run after another in this process, as of ptk eval --glue
        AcceleratorState._reset_state()
    return Accelerator(
        mixed_precision=mixed, cpu=kind() == "cpu", step_scheduler_with_optimizer=False, kwargs_handlers=[patience]
    )


def is_main() -> bool:
    """Is this the process that talks and writes? Known before any process group is."""
    return int(os.environ.get("RANK", "0")) == 0


def describe(used: str) -> str:
    """What is computed on, in precision ``used``, in how many processes."""
    import torch

    from ptk.processes import launch

    where = kind()
    name = torch.cuda.get_device_name() if where == "cuda" else where
    threads = f", {torch.get_num_threads()} threads" if where == "cpu" else ""
    number = launch.processes()
    return f"{name}{threads}, {used}, {number} process{'' if number == 1 else 'es'}"
