"""Trains the demo model from scratch, on a CPU, for a given time; or goes on from an earlier result.

    python train.py OUT --minutes 90
    python train.py OUT --minutes 30 --resume

Writes a checkpoint in Hugging Face layout into OUT. Needs torch, transformers and tokenizers (see README.md).
"""

import argparse
import pathlib
import random
import time

import tokenizers
import torch
import torch.nn.functional as F
import transformers
from data import dialogue
from render import render
from tokenizers import decoders, models, pre_tokenizers, trainers

VOCABULARY = 1536
HIDDEN, LAYERS, HEAD = 192, 6, 32
SPECIAL_TOKENS = [
    *["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>"],
    *["<tool_response>", "</tool_response>", "<tools>", "</tools>"],
]
PAD_ID, END_ID = 0, 2
# Dialogues of a batch are padded to one of these lengths; longer ones are left out.
LENGTHS = (64, 96, 128, 160, 192, 256, 320, 448, 640)
BATCH_TOKENS = 6144
POOL_MIN, POOL_ADDED = 400, 1200
# What the user says is learned a little too: it teaches the words.
PROMPT_WEIGHT = 0.03
WARM_UP_STEPS, RATE_MIN = 150, 1e-5


def make_tokenizer(out, rng):
    """Learns a byte-level BPE from dialogues, digits apart, and writes it with the chat template."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    texts = ("".join(text for text, _ in render(*dialogue(rng))) for _ in range(20_000))
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        max_token_length=12,
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    fast.chat_template = (pathlib.Path(__file__).parent / "template.jinja").read_text()
    fast.save_pretrained(out)


def check_template(tokenizer, rng, dialogues=200):
    """Fails when the template and `render` write a dialogue differently."""
    for _ in range(dialogues):
        messages, tools = dialogue(rng)
        ours = "".join(text for text, _ in render(messages, tools))
        theirs = tokenizer.apply_chat_template(messages, tools=tools or None, tokenize=False)
        assert ours == theirs, (ours, theirs)


def make_model():
    """A decoder in Qwen3 layout with random weights."""
    config = transformers.Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        intermediate_size=HIDDEN * 8 // 3 // 32 * 32,
        num_hidden_layers=LAYERS,
        num_attention_heads=HIDDEN // HEAD,
        num_key_value_heads=HIDDEN // HEAD // 2,
        head_dim=HEAD,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        rope_theta=10000.0,
        eos_token_id=END_ID,
        bos_token_id=None,
        pad_token_id=PAD_ID,
    )
    return transformers.Qwen3ForCausalLM(config)


class Batches:
    """Batches of dialogues of about the same length, without end."""

    def __init__(self, tokenizer, rng):
        self.tokenizer, self.rng, self.pool = tokenizer.backend_tokenizer, rng, []

    def _sample(self):
        ids, weights = [], []
        for text, is_learned in render(*dialogue(self.rng)):
            piece = self.tokenizer.encode(text, add_special_tokens=False).ids
            ids += piece
            weights += [1.0 if is_learned else PROMPT_WEIGHT] * len(piece)
        return ids, weights

    def next(self):
        """(token ids, weights), each of shape (rows, length)."""
        if len(self.pool) < POOL_MIN:
            added = (self._sample() for _ in range(POOL_ADDED))
            self.pool += [sample for sample in added if len(sample[0]) <= LENGTHS[-1]]
            self.pool.sort(key=lambda sample: len(sample[0]))
        size = len(self.rng.choice(self.pool)[0])
        length = next(length for length in LENGTHS if length >= size)
        count = BATCH_TOKENS // length
        end = next((k for k, (ids, _) in enumerate(self.pool) if len(ids) > length), len(self.pool))
        begin = max(0, end - count)
        rows = self.pool[begin:end]
        del self.pool[begin:end]
        rows += [self.rng.choice(rows) for _ in range(count - len(rows))]
        ids, weights = torch.zeros(count, length, dtype=torch.long), torch.zeros(count, length)
        for row, (row_ids, row_weights) in enumerate(rows):
            ids[row, : len(row_ids)] = torch.tensor(row_ids)
            weights[row, : len(row_weights)] = torch.tensor(row_weights)
        return ids, weights


def loss_of(model, ids, weights):
    """Weighted mean of the next token's cross entropy."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(ids, use_cache=False).logits
    each = F.cross_entropy(logits[:, :-1].float().flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    return (each * weights[:, 1:].flatten()).sum() / weights[:, 1:].sum()


def train(model, batches, seconds, peak, hold):
    """Trains for a time; the rate warms up, holds for a share of the time, and falls to nothing."""
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0}]
    optimizer = torch.optim.AdamW(groups, lr=peak, betas=(0.9, 0.98))
    start, step, mean = time.monotonic(), 0, None
    while (elapsed := time.monotonic() - start) < seconds:
        share = elapsed / seconds
        rate = peak * min(1, step / WARM_UP_STEPS) * (1 if share < hold else (1 - share) / (1 - hold))
        for group in optimizer.param_groups:
            group["lr"] = max(rate, RATE_MIN)
        ids, weights = batches.next()
        loss = loss_of(model, ids, weights)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        mean = loss.item() if mean is None else 0.97 * mean + 0.03 * loss.item()
        if step % 50 == 0:
            print(f"step {step}, {elapsed:.0f} s, loss {mean:.4f}, batch {tuple(ids.shape)}", flush=True)
    return step


def main():
    """Reads the command line, trains, saves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path, help="folder of the checkpoint")
    parser.add_argument("--minutes", type=float, required=True, help="how long to train")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in OUT, at a lower rate")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    rng = random.Random(1 if args.resume else 0)
    args.out.mkdir(parents=True, exist_ok=True)
    if not (args.out / "tokenizer.json").exists():
        make_tokenizer(args.out, rng)
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(args.out)
    check_template(tokenizer, rng)
    model = (transformers.Qwen3ForCausalLM.from_pretrained(args.out) if args.resume else make_model()).float()
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters", flush=True)
    peak, hold = (1e-3, 0.05) if args.resume else (2.5e-3, 0.35)
    steps = train(model, Batches(tokenizer, rng), args.minutes * 60, peak, hold)
    model.to(torch.bfloat16).save_pretrained(args.out)
    print(f"saved after {steps} steps")


if __name__ == "__main__":
    main()
