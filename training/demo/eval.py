"""Counts how many of the model's turns in held-out dialogues it reproduces exactly, by kind of dialogue.

    python eval.py ../../engine/models/demo --dialogues 12

Greedy, on a CPU. Prints the first miss of each kind.
"""

import argparse
import pathlib
import random

import torch
import transformers
from data import KINDS
from render import render

OUTPUT_TOKENS_MAX = 120
PAD_ID, END_ID = 0, 2


def answer(model, tokenizer, messages, tools):
    """What the model writes next."""
    prompt = "".join(text for text, _ in render(messages, tools)) + "<|im_start|>assistant\n"
    ids = tokenizer(prompt, return_tensors="pt", add_special_tokens=False).input_ids
    out = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=OUTPUT_TOKENS_MAX,
        do_sample=False,
        eos_token_id=END_ID,
        pad_token_id=PAD_ID,
    )
    return tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=False)


def wanted(messages, tools):
    """What the last message should be."""
    return next(text for text, is_learned in reversed(render(messages, tools)) if is_learned)


def main():
    """Reads the command line, prints a line for each kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path, help="folder of the checkpoint")
    parser.add_argument("--dialogues", type=int, default=20, help="how many of each kind")
    args = parser.parse_args()

    torch.set_num_threads(1)
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(args.model)
    model = transformers.Qwen3ForCausalLM.from_pretrained(args.model).float().eval()
    for kind in KINDS:
        rng = random.Random(kind.__name__ + " held out")
        turns, exact, miss = 0, 0, ""
        for _ in range(args.dialogues):
            tools, messages = kind(rng)
            for index, message in enumerate(messages):
                if message["role"] != "assistant":
                    continue
                want = wanted(messages[: index + 1], tools)
                got = answer(model, tokenizer, messages[:index], tools)
                turns += 1
                exact += got == want
                if got != want and not miss:
                    miss = f"; wanted {want!r}, got {got!r}"
        print(f"{kind.__name__}: {exact} of {turns}{miss}", flush=True)


if __name__ == "__main__":
    main()
