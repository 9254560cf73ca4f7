"""What the weights of a checkpoint's files are: tensors that hold something that is no number, or nothing but zeros."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Suspect:
    """Names of tensors that a training which went well does not leave."""

    not_finite: tuple[str, ...]  # hold NaN or infinity
    zero: tuple[str, ...]  # matrices of zeros alone


def suspect(folder: Path, names: list[str]) -> Suspect:
    """The tensors of safetensors files that hold NaN, infinity or zeros alone, each read by itself.

    A vector of zeros is how biases begin and is no suspect.

    Args:
        folder: Of the files.
        names: Those that loading would read; what is no safetensors file is passed over, because reading a pickle can
            run code.
    """
    from safetensors import SafetensorError, safe_open

    not_finite: list[str] = []
    zero: list[str] = []
    for name in names:
        if not name.endswith(".safetensors"):
            continue
        try:
            with safe_open(folder / name, framework="pt") as file:
                for key in file.keys():  # noqa: SIM118  (the file itself is no iterable)
                    tensor = file.get_tensor(key)
                    if not tensor.is_floating_point():
                        continue
                    if not tensor.float().isfinite().all():
                        not_finite.append(key)
                    elif tensor.dim() > 1 and not tensor.any():
                        zero.append(key)
        except (OSError, SafetensorError):  # a damaged file is a fault of its own, which loading names
            continue
    return Suspect(tuple(not_finite), tuple(zero))
