"""Makes tests/goldens/*.golden.json with a pinned transformers. Run by hand, not by the test command:

    python3 -m venv VENV && VENV/bin/pip install -r tests/goldens/requirements.txt
    VENV/bin/python tests/goldens/make_goldens.py [NAME ...]

With names, those of cases.json and embedding_cases.json alone (and `demo`).
"""

import json
import sys
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

from reference import LENGTHS, embedder_from_case, embedding_golden, from_case, golden
from weights import numbers

HERE = Path(__file__).resolve().parent
DEMO = HERE.parent.parent / "engine" / "models" / "demo"
QUESTIONS = [
    "What is a program?", "What is a call?", "Hello", "Who are you?", "What is 12 times 9?",
    "Count from 3 to 9.", "Plan a trip in three steps.", "Repeat: the cat sat on the mat.", "My name is Ada.",
    "What is the critical path?", "What does the router do?", "Summarise: engines run models, routers schedule calls.",
    "Extract name and age: Tom is 31.", "Good morning!", "What is preemption?", "List three colours.",
    "What is the weather in Oslo?", "Thanks", "Explain the prefix cache.", "Goodbye",
]


def write(name: str, content: dict) -> None:
    made_with = {"transformers": transformers.__version__, "torch": torch.__version__.split("+")[0]}
    entries = content.pop("entries")
    lines = ",\n".join("    " + json.dumps(entry, separators=(",", ":")) for entry in entries)
    head = json.dumps({"made_with": made_with, **content})[1:-1]
    text = "{" + head + ',\n  "entries": [\n' + lines + "\n  ]\n}\n"
    json.loads(text)
    (HERE / f"{name}.golden.json").write_text(text)


def prompts_of(case: dict) -> list[list[int]]:
    """Random tokens; lengths around the ends of pages, and no less than `shortest_prompt`."""
    vocab, shortest = case["dimensions"]["vocab"], case.get("shortest_prompt", 1)
    lengths = [max(length, shortest) for length in LENGTHS]
    random = [numbers(case["seed"], f"prompt {index}", (length,), "norm") for index, length in enumerate(lengths)]
    return [[int(abs(value) * 1e6) % vocab for value in values] for values in random]


def main() -> None:
    torch.set_num_threads(2)
    wanted = sys.argv[1:]
    for name, case in json.loads((HERE / "cases.json").read_text()).items():
        if not wanted or name in wanted:
            print(name)
            write(name, golden(from_case(case), prompts_of(case), case["dimensions"]["vocab"]))
    for name, case in json.loads((HERE / "embedding_cases.json").read_text()).items():
        if not wanted or name in wanted:
            print(name)
            write(name, embedding_golden(embedder_from_case(case), prompts_of(case), case["pooling"]))
    if wanted and "demo" not in wanted:
        return
    print("demo")
    tokenizer = AutoTokenizer.from_pretrained(DEMO)
    model = AutoModelForCausalLM.from_pretrained(DEMO, dtype=torch.float32, attn_implementation="eager").eval()
    chats = [[{"role": "user", "content": question}] for question in QUESTIONS]
    prompts = [tokenizer.apply_chat_template(chat, add_generation_prompt=True)["input_ids"] for chat in chats]
    write("demo", golden(model, prompts, model.config.vocab_size))


if __name__ == "__main__":
    main()
