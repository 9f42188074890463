"""Fresh checkpoints against Hugging Face transformers: other numbers at each run, so that nothing is learned by heart.

Makes checkpoints of all families (a new seed; odd numbers of heads; tied or not; windows and angles of every kind; one
file or several; both generations of config.json), serves each with lps-engine in 32 bits, and compares greedy tokens and log-probabilities with
transformers' plain path. Then in bfloat16: log-probabilities as near to those of 32 bits as twice transformers' own distance.
Exits 1 when one differs by more than a tie, or is further away. LPS_KERNELS chooses the kernels.

    VENV/bin/python scripts/parity.py --lps target/debug/lps --engine target/debug/lps-engine [--seed N] [--family F]

VENV as in tests/goldens/make_goldens.py.
"""

import argparse
import copy
import json
import random
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "goldens"))
from reference import greedy  # noqa: E402

PROMPTS, TOKENS, TOLERANCE = 20, 64, 1e-4
# First tokens of each prompt that are looked at in bfloat16.
DRAWS = 8
# Two tokens as near as this are equal in 32 bits: the order of a sum decides which is greater.
TIE = 5e-6


# By family: whether it chooses biases; whether a head is its share of the hidden size; whether layers have windows.
FAMILIES = {
    "llama": (True, False, False), "mistral": (False, False, True), "qwen2": (False, False, True),
    "qwen3": (True, False, True), "phi3": (False, True, True), "gemma2": (True, False, True),
    "gemma3": (True, False, True), "gpt2": (False, True, False),
}
CONTEXT = 512


def rope_of(rng: random.Random, family: str, rotated: int) -> dict:
    if family == "phi3":
        # A text of transformers changes factors where it outgrows this; the engine decides once, by the context it serves.
        factors = {key: [round(rng.uniform(1, 9), 2) for _ in range(rotated // 2)] for key in ("short_factor", "long_factor")}
        return rng.choice([
            {"rope_type": "default"},
            {"rope_type": "longrope", **factors, "original_max_position_embeddings": CONTEXT},
        ])
    return rng.choice([
        {"rope_type": "default"},
        {"rope_type": "linear", "factor": 2.0},
        {"rope_type": "dynamic", "factor": 2.0},
        {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 64},
        {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
         "original_max_position_embeddings": 64},
    ])


def recipe(rng: random.Random, family: str, generation: int) -> list[str]:
    """Options of `lps model make`."""
    biases, share, windows = FAMILIES[family]
    kv_heads = rng.choice([1, 3, 5])
    heads = kv_heads * rng.choice([1, 3])
    hidden = heads * (rng.choice([72, 88, 104]) // heads)
    head_dim = rng.choice([12, 16, 20, 34])
    if share:
        head_dim = 4 * max(1, hidden // heads // 4)
        hidden = heads * head_dim
    if family == "gpt2":
        kv_heads = heads
    rotated = head_dim
    options = {
        "family": family, "seed": rng.randrange(2**40), "config-generation": generation,
        "dtype": rng.choice(["float32", "bfloat16", "float16"]), "shards": rng.choice([1, 2, 5]),
        "hidden": hidden, "intermediate": rng.choice([120, 152, 200]), "layers": rng.choice([2, 3, 4]),
        "heads": heads, "kv-heads": kv_heads, "head-dim": head_dim, "vocab": rng.randrange(1536, 2000),
        "rope-theta": rng.choice([10000.0, 500000.0]), "context-length": CONTEXT,
    }
    if family == "phi3" and rng.random() < 0.5:
        options["partial-rotary"], rotated = 0.5, head_dim // 2
    if family != "gpt2":
        options["rope"] = json.dumps(rope_of(rng, family, rotated))
    if windows and rng.random() < 0.8:
        options["window"] = rng.choice([2, 5, 16, 17, 40])
    flags = [f"--tied={'true' if rng.random() < 0.5 else 'false'}"]
    flags += ["--attention-bias"] * (biases and rng.random() < 0.5)
    return [text for key, value in options.items() for text in (f"--{key}", str(value))] + flags


class Engine:
    """An engine on a free port."""

    def __init__(self, program: str, folder: Path, dtype: str):
        addresses = folder.with_suffix(f".{dtype}")
        self.process = subprocess.Popen(
            [program, "--model", str(folder), "--dtype", dtype, "--port", "0", "--address-file", str(addresses)],
            stderr=subprocess.DEVNULL,
        )
        while not (addresses.exists() and self.healthy(addresses)):
            if self.process.poll() is not None:
                sys.exit(f"parity: lps-engine ended with {self.process.returncode}")
            time.sleep(0.05)

    def healthy(self, addresses: Path) -> bool:
        lines = addresses.read_text().splitlines()
        if not lines:
            return False
        self.url = f"http://{lines[0]}"
        try:
            return urllib.request.urlopen(f"{self.url}/health", timeout=5).status == 200
        except OSError:
            return False

    def complete(self, model: str, prompt: list[int], **more) -> list[tuple[list[int], list[float]]]:
        """Tokens and their log-probabilities, of each choice."""
        body = {"model": model, "prompt": prompt, "ignore_eos": True, "return_token_ids": True, "logprobs": 1, **more}
        request = urllib.request.Request(f"{self.url}/v1/completions", json.dumps(body).encode(),
                                         {"content-type": "application/json"})
        choices = json.load(urllib.request.urlopen(request, timeout=300))["choices"]
        return [(choice["token_ids"], choice["logprobs"]["token_logprobs"]) for choice in choices]

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


def asked(engine: Engine, folder: Path, prompts: list[list[int]], **more) -> list[list[tuple[list[int], list[float]]]]:
    with ThreadPoolExecutor(PROMPTS) as pool:
        return list(pool.map(lambda prompt: engine.complete(folder.name, prompt, **more), prompts))


def compare(model, folder: Path, engine: Engine, prompts: list[list[int]]) -> bool:
    answers = [choices[0] for choices in asked(engine, folder, prompts, max_tokens=TOKENS, temperature=0)]
    equal, ties, widest, smallest = 0, 0, 0.0, float("inf")
    for prompt, (tokens, logprobs) in zip(prompts, answers):
        expected, rows, gap = greedy(model, prompt, TOKENS)
        smallest = min(smallest, gap)
        # Past a token that differs, the two texts have nothing to do with each other.
        same = next((step for step, (a, b) in enumerate(zip(tokens, expected)) if a != b), TOKENS)
        equal += same == TOKENS
        if same < TOKENS:
            gap = (rows[same][expected[same]] - rows[same][tokens[same]]).item()
            ties += gap <= TIE
            print(f"  token {same}: {tokens[same]}, not {expected[same]}, which is better by {gap:.1e}")
        for step in range(same):
            widest = max(widest, abs(logprobs[step] - rows[step][expected[step]].item()))
    print(f"  of {PROMPTS} texts of {TOKENS} tokens {equal} equal, {ties} equal up to a tie; "
          f"log-probabilities within {widest:.1e}; smallest gap {smallest:.1e}")
    return equal + ties == PROMPTS and widest <= TOLERANCE


@torch.no_grad()
def compare_halved(model, folder: Path, engine: Engine, prompts: list[list[int]]) -> bool:
    half, widest, limit = copy.deepcopy(model).to(torch.bfloat16), 0.0, 0.0
    answers = asked(engine, folder, prompts, max_tokens=1, n=DRAWS, temperature=2.0, seed=1)
    for prompt, choices in zip(prompts, answers):
        full, halved = (each(input_ids=torch.tensor([prompt])).logits[0, -1].double().log_softmax(-1) for each in (model, half))
        for [token], [logprob] in choices:
            widest = max(widest, abs(logprob - full[token].item()))
            limit = max(limit, 2 * abs(halved[token] - full[token]).item())
    print(f"  in bfloat16 log-probabilities within {widest:.4f}; twice transformers' own distance is {limit:.4f}")
    return widest <= limit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--lps", required=True)
    parser.add_argument("--engine", required=True)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--family", action="append", choices=FAMILIES, help="not all, but this one")
    arguments = parser.parse_args()
    logging.disable_progress_bar()
    print(f"seed {arguments.seed}")
    rng = random.Random(arguments.seed)
    fine = True
    with tempfile.TemporaryDirectory() as scratch:
        for family in arguments.family or FAMILIES:
            for generation in (4, 5):
                folder = Path(scratch) / f"{family}-{generation}"
                options = recipe(rng, family, generation)
                print(" ".join(options))
                subprocess.run([arguments.lps, "model", "make", *options, str(folder)], check=True,
                               stdout=subprocess.DEVNULL)
                model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
                prompts = [[rng.randrange(3, 1536) for _ in range(rng.choice([1, 7, 15, 16, 17, 33, 70]))] for _ in range(PROMPTS)]
                for dtype, comparison in (("float32", compare), ("bfloat16", compare_halved)):
                    engine = Engine(arguments.engine, folder, dtype)
                    try:
                        fine &= comparison(model, folder, engine, prompts)
                    finally:
                        engine.stop()
    print("equal" if fine else "DIFFERENT")
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
