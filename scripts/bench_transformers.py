"""Speed of Hugging Face transformers' eager CPU path: the same checkpoint and work as engine/examples/bench_model.rs.

Alone: prints one line of JSON. With --engine PROGRAM: runs both in turn and prints a table of medians.

    lps model make --size qwen3-0.6b DIR
    cargo build --release -p lps-engine --example bench_model
    VENV/bin/python scripts/bench_transformers.py DIR --engine target/release/examples/bench_model

VENV as in tests/goldens/make_goldens.py.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

PROMPT, PREFILL, STEPS, BATCHES = 128, 512, 48, [1, 8]


def measure(folder: str, dtype: str, threads: int) -> dict:
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    start = time.perf_counter()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    result = {"load_s": round(time.perf_counter() - start, 1)}

    def prompts(count: int, length: int):
        return torch.tensor([[(p * 37 + i * 101) % 1500 + 3 for p in range(length)] for i in range(count)])

    def run(ids, cache=None):
        out = model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return out.logits[:, -1].argmax(-1, keepdim=True), out.past_key_values

    with torch.inference_mode():
        for _ in range(2):
            ids = prompts(1, PREFILL)
            start = time.perf_counter()
            run(ids)
            result["prefill_tok_s"] = round(PREFILL / (time.perf_counter() - start), 1)
        for batch in BATCHES:
            ids, cache = run(prompts(batch, PROMPT))
            ids, cache = run(ids, cache)
            start = time.perf_counter()
            for _ in range(STEPS):
                ids, cache = run(ids, cache)
            result[f"decode_{batch}_tok_s"] = round(batch * STEPS / (time.perf_counter() - start), 1)
    return result


def compare(arguments) -> None:
    own = [sys.executable, __file__, arguments.folder, "--dtype", arguments.dtype, "--threads", str(arguments.threads)]
    programs = {"transformers": own, "lps-engine": [arguments.engine, arguments.folder, arguments.dtype]}
    runs = {name: [] for name in programs}
    for _ in range(arguments.runs):
        for name, command in programs.items():
            out = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            runs[name].append(json.loads(out.stdout.splitlines()[-1]))
            print(name, runs[name][-1], file=sys.stderr)
    keys = list(runs["transformers"][0])
    median = {name: {key: statistics.median(run[key] for run in all) for key in keys} for name, all in runs.items()}
    print(f"| {arguments.dtype}, median of {arguments.runs} | transformers eager | lps-engine | ratio |\n|---|---|---|---|")
    for key in keys:
        theirs, ours = median["transformers"][key], median["lps-engine"][key]
        print(f"| {key} | {theirs:.1f} | {ours:.1f} | {ours / theirs if theirs else float('nan'):.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--engine", help="the built example bench_model")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.engine:
        compare(arguments)
    else:
        print(json.dumps(measure(arguments.folder, arguments.dtype, arguments.threads)))


if __name__ == "__main__":
    main()
