"""What the weights of a checkpoint's files are: tensors that hold something that is no number."""

from __future__ import annotations

from pathlib import Path


def not_finite(folder: Path, names: list[str]) -> list[str]:
    """The tensors of safetensors files that hold NaN or infinity, each read by itself.

    Args:
        folder: Of the files.
        names: Those that loading would read; what is no safetensors file is passed over, because reading a pickle can
            run code.
    """
    from safetensors import SafetensorError, safe_open

    found = []
    for name in names:
        if not name.endswith(".safetensors"):
            continue
        try:
            with safe_open(folder / name, framework="pt") as file:
                for key in file.keys():  # noqa: SIM118  (the file itself is no iterable)
                    tensor = file.get_tensor(key)
                    if tensor.is_floating_point() and not tensor.float().isfinite().all():
                        found.append(key)
        except (OSError, SafetensorError):  # a damaged file is a fault of its own, which loading names
            continue
    return found
