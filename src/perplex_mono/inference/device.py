"""Which processor runs the model: CUDA, then Apple's MPS, then the CPU, unless the owner says otherwise.

torch is imported inside the functions on purpose: it takes seconds, and `/health` must not wait for it.
"""

from dataclasses import dataclass
from typing import Literal

from perplex_mono.errors import ConfigurationError
from perplex_mono.telemetry.cgroups import tightest_memory

DeviceChoice = Literal["auto", "cuda", "mps", "cpu"]
DtypeChoice = Literal["auto", "float32", "float16", "bfloat16"]


@dataclass(frozen=True)
class Device:
    """A processor that exists here, with the number format used on it."""

    name: str
    dtype: str

    def free_memory_bytes(self) -> int | None:
        """Return the free memory of the device itself; None where it shares the machine's."""
        if not self.name.startswith("cuda"):
            return None
        import torch

        return int(torch.cuda.mem_get_info(self.name)[0])

    def release_cached_memory(self) -> None:
        """Give blocks that the allocator keeps for later back to the device."""
        import torch

        if self.name.startswith("cuda"):
            torch.cuda.empty_cache()
        elif self.name == "mps":
            torch.mps.empty_cache()


def memory_of(device: str) -> tuple[float, float]:
    """Return the free and the total bytes of a device's memory; of the machine's where it has none of its own."""
    if device.startswith("cuda"):
        import torch

        free, total = torch.cuda.mem_get_info(device)
        return int(free), int(total)
    memory = tightest_memory()
    return memory.free, memory.limit


def choose_device(device: str = "auto", dtype: DtypeChoice = "auto") -> Device:
    """Return the device and number format to use; `ConfigurationError` names what there is when the wish cannot be met.

    `device` is auto, cpu, mps, cuda or one card such as cuda:1. On the CPU the format is float32: half precision
    is slower or less exact there. On a GPU `auto` means bfloat16 where the card has it, else float16.
    """
    present = present_devices()
    chosen = present[0] if device == "auto" else device
    if chosen not in present:
        raise ConfigurationError(f"embedding.device: there is no {device} here; there is {', '.join(present)}.")
    if chosen == "cpu":
        if dtype not in {"auto", "float32"}:
            raise ConfigurationError(f"embedding.dtype: the CPU computes in float32, not {dtype}.")
        return Device("cpu", "float32")
    return Device(chosen, _gpu_dtype(chosen) if dtype == "auto" else dtype)


def present_devices() -> list[str]:
    """Return the devices of this machine, best first; `cpu` is always the last."""
    import torch

    devices: list[str] = []
    if torch.cuda.is_available():
        devices += ["cuda", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return [*devices, "cpu"]


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that a smaller batch might have fitted. torch says so in several ways."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(
        phrase in text for phrase in ("out of memory", "not enough memory", "can't allocate memory")
    )


def _gpu_dtype(device: str) -> str:
    import torch

    bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False) if device.startswith("cuda") else False
    return "bfloat16" if bfloat16 else "float16"
