"""What the arms of `make bench-engine` are asked for, and what it costs at the least. Knows no arm.

Prompts are token ids, the same for all. They are taken from the tokens that are a blank and letters, which a tokenizer
gives back when it reads their text: mistral.rs' Python side takes text only.
"""
import dataclasses
import json
import math
import re
from pathlib import Path

KV_SLACK_TOKENS = 128


@dataclasses.dataclass(frozen=True)
class Workload:
    name: str
    batch: int
    prompt: int
    # Tokens that each sequence draws while it is timed; 0: the prompt is what is timed.
    steps: int
    title: str


WORKLOADS = [
    Workload("prefill_512", 1, 512, 0, "prefill, 512 tokens"),
    Workload("prefill_2048", 1, 2048, 0, "prefill, 2,048 tokens"),
    Workload("decode_1", 1, 128, 64, "decode, batch 1"),
    Workload("decode_8", 8, 128, 64, "decode, batch 8"),
    Workload("decode_32", 32, 128, 64, "decode, batch 32"),
    Workload("decode_8_4k", 8, 4096, 64, "decode, batch 8, context 4,096"),
]
START = "start"
# Bytes of a stored weight.
WEIGHT_BYTES = {"float32": 4.0, "bfloat16": 2.0, "int8": 1.0, "q8_0": 34 / 32}


class Model:
    """A checkpoint's figures, from its files."""

    def __init__(self, folder):
        self.folder = Path(folder)
        config = json.loads((self.folder / "config.json").read_text())
        self.layers, self.hidden = config["num_hidden_layers"], config["hidden_size"]
        self.heads, self.kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
        self.head_dim = config.get("head_dim") or self.hidden // self.heads
        self.output_weights = config["vocab_size"] * self.hidden
        with open(self.folder / "model.safetensors", "rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        weights = sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
        # The rows of the embedding that are looked up are few; as the output layer all of it is read.
        tied = config.get("tie_word_embeddings", False)
        self.step_weights = weights if tied else weights - self.output_weights

    def kv_token_bytes(self, dtype):
        # Keys and values stay in 16 bits where weights are quantised.
        return 2 * self.layers * self.kv_heads * self.head_dim * (4 if dtype == "float32" else 2)

    def step_bytes(self, work, dtype):
        """What a decode step must read: all weights once, and all keys and values, halfway through the steps."""
        context = work.prompt + work.steps / 2
        return self.step_weights * WEIGHT_BYTES[dtype] + work.batch * context * self.kv_token_bytes(dtype)

    def flop(self, work):
        """Multiplications and additions of a prompt, or of one decode step of the batch."""
        layers = 2 * (self.step_weights - self.output_weights)
        attention = 4 * self.layers * self.heads * self.head_dim
        if work.steps == 0:
            return work.batch * (work.prompt * layers + attention * work.prompt**2 / 2 + 2 * self.output_weights)
        return work.batch * (layers + attention * (work.prompt + work.steps / 2) + 2 * self.output_weights)

    def prompts(self, batch, length):
        vocab = json.loads((self.folder / "tokenizer.json").read_text())["model"]["vocab"]
        words = sorted(token for text, token in vocab.items() if re.fullmatch("Ġ[a-z]+", text))
        return [[words[(place * 37 + index * 101) % len(words)] for place in range(length)] for index in range(batch)]

    def job(self, arm_dtype, threads, workloads):
        """The job of an arm, as runner.py says."""
        longest = max(work.prompt + work.steps for work in workloads)
        # While the last prompts of a batch are computed the first go on decoding.
        kv_tokens = max(work.batch * (work.prompt + work.steps + KV_SLACK_TOKENS) for work in workloads)
        lines = [{"name": work.name, "prompts": self.prompts(work.batch, work.prompt), "steps": work.steps}
                 # A prompt's first run in a process pays for what happens once: the second counts.
                 for work in workloads for _ in range(2 if work.steps == 0 else 1)]
        return {
            "model": str(self.folder), "dtype": arm_dtype, "threads": threads, "max_model_len": longest + 2 * KV_SLACK_TOKENS,
            "max_num_seqs": max(work.batch for work in workloads),
            "kv_bytes": max(kv_tokens * self.kv_token_bytes(arm_dtype), 2**28),
            "warm_up": self.prompts(1, 16)[0], "workloads": lines,
        }
