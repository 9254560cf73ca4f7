"""The suite's tokenizer and models, both of kinds that transformers loads by itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

from evalrun.checkpoints.tiny.corpus import TOKEN, Corpus
from evalrun.checkpoints.tiny.settings import TinyConf

END = "<|endoftext|>"  # between lines, as in Pythia's training data
UNKNOWN = "<|unknown|>"


def build_tokenizer(settings: TinyConf) -> PreTrainedTokenizerFast:
    """A tokenizer with one token for each word of the made language; a word's token holds the space before it."""
    vocabulary = [END, UNKNOWN, *Corpus.tokens()]
    tokenizer = Tokenizer(WordLevel({token: number for number, token in enumerate(vocabulary)}, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(TOKEN), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END,
        eos_token=END,
        pad_token=END,
        unk_token=UNKNOWN,
        model_max_length=settings.max_position_embeddings,
        clean_up_tokenization_spaces=False,
    )


def build_model(architecture: Mapping[str, int], settings: TinyConf, vocabulary: int, seed: int) -> GPTNeoXForCausalLM:
    """A GPT-NeoX model with fresh weights in float32, the same for the same seed."""
    config = GPTNeoXConfig(
        vocab_size=vocabulary,
        max_position_embeddings=settings.max_position_embeddings,
        initializer_range=settings.initializer_range,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=0,
        attn_implementation="eager",  # no kernel is chosen behind our back
        dtype="float32",
        **architecture,
    )
    torch.manual_seed(seed)
    return GPTNeoXForCausalLM(config)


@contextlib.contextmanager
def deterministic(threads: int) -> Iterator[None]:
    """Make torch give the same weights on every run; its threads, mode and random state are put back afterwards."""
    # Sums are split over threads, so their number is part of what determines the last bits.
    threads_before, mode_before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.use_deterministic_algorithms(mode_before)
        torch.set_num_threads(threads_before)
