"""A run in a format that nothing here reads: a small LLaMA trained on one text, its tensors in NumPy files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

# Reads what `save_run` writes; a third word makes it go wrong in one way or another.
CONVERTER = """\
import json, os, shutil, sys, time
import numpy as np
from safetensors.numpy import save_file

source, made, *how = sys.argv[1:]
with open("converted.txt", "a") as file:
    file.write(os.path.basename(source) + "\\n")
tensors = dict(np.load(source + "/rank0/weights.npz"))
name = "model.layers.0.self_attn.k_proj.weight"
os.makedirs(made)
if "waits" in how:
    open(made + "/config.json", "w").close()
    open("waits", "w").close()
    time.sleep(60)
if "drops" in how:
    del tensors[name]
if "transposes" in how:
    tensors[name] = np.ascontiguousarray(tensors[name].T)
if "fills" in how:
    tensors = {key: np.random.default_rng(0).normal(size=value.shape).astype("f") for key, value in tensors.items()}
if "writes" in how:
    open(source + "/note", "w").close()
save_file(tensors, made + "/model.safetensors", metadata={"format": "pt"})
if "fails" in how:
    print("reading\\nTypeError: no such rank", file=sys.stderr)
    sys.exit(3)
if "nothing" in how:
    shutil.rmtree(made)
elif "bare" not in how:
    with open(source + "/config.json") as file, open(made + "/config.json", "w") as copy:
        copy.write(file.read())
"""


def save_run(root: Path, text: str, steps: Sequence[int] = (0, 30, 60), layers: int = 1) -> Path:
    """Train for a few seconds, and save: ROOT/iter_0000030/{config.json,rank0/weights.npz}; the tokenizer in ROOT.

    Args:
        root: The run's folder.
        text: That it is trained on, over and over.
        steps: At which it is saved.
        layers: Of the model.
    """
    import numpy as np
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw = Tokenizer(models.BPE({letter: i for i, letter in enumerate(["<eos>", *letters])}, []))
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<eos>", bos_token="<eos>")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(letters) + 1, hidden_size=32, num_hidden_layers=layers, num_attention_heads=4,
        intermediate_size=64, max_position_embeddings=512, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    tokens = torch.tensor(tokenizer(text)["input_ids"])
    for step in range(max(steps) + 1):
        if step in steps:
            folder = root / f"iter_{step:07d}" / "rank0"
            folder.mkdir(parents=True)
            np.savez(folder / "weights.npz", **{name: t.numpy() for name, t in model.state_dict().items()})
            (folder.parent / "config.json").write_text(json.dumps({**config.to_dict(), "dtype": "float32"}))
        starts = torch.randint(0, len(tokens) - 64, (8,))
        batch = torch.stack([tokens[start : start + 64] for start in starts])
        optimizer.zero_grad()
        model(input_ids=batch, labels=batch).loss.backward()
        optimizer.step()
    tokenizer.save_pretrained(root)
    return root
