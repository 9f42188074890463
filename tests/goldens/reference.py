"""Hugging Face transformers as the reference: greedy tokens and log-probabilities in 32 bits, by its plain path."""

import copy

import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from weights import numbers

TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
LENGTHS = [1, 2, 3, 5, 8, 13, 15, 16, 17, 21, 31, 32, 33, 34, 40, 47, 48, 49, 60, 64]
TOKENS = 64
# Steps whose log-probabilities are kept, and of how many tokens.
STEPS = [0, 31, 63]
SAMPLES = 8


def from_case(case: dict):
    """A model whose weights are those of `lps model make`, without reading a file that it wrote."""
    d = case["dimensions"]
    config_of, model_of = {
        "llama": (LlamaConfig, LlamaForCausalLM),
        "qwen3": (Qwen3Config, Qwen3ForCausalLM),
    }[case["family"]]
    config = config_of(
        vocab_size=d["vocab"], hidden_size=d["hidden"], intermediate_size=d["intermediate"],
        num_hidden_layers=d["layers"], num_attention_heads=d["heads"], num_key_value_heads=d["kv_heads"],
        head_dim=d["head_dim"], max_position_embeddings=d["context"], rms_norm_eps=1e-5,
        rope_parameters={**d["rope"], "rope_theta": d["rope_theta"]}, attention_bias=d["attention_bias"],
        tie_word_embeddings=case["tied"], attn_implementation="eager",
    )
    model = model_of(config).eval()
    stored = TYPES[case["dtype"]]
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            values = torch.from_numpy(numbers(case["seed"], name, tuple(parameter.shape)))
            parameter.copy_(values.to(stored).float())
    return model.float()


@torch.no_grad()
def greedy(model, prompt: list[int], count: int = TOKENS):
    """Tokens, the log-probabilities of every step, and the smallest distance between the best two."""
    ids, cache, tokens, rows, gap = torch.tensor([prompt]), None, [], [], float("inf")
    for _ in range(count):
        out = model(input_ids=ids, past_key_values=cache, use_cache=True)
        cache, row = out.past_key_values, out.logits[0, -1].float()
        best = row.topk(2)
        gap = min(gap, (best.values[0] - best.values[1]).item())
        tokens.append(best.indices[0].item())
        rows.append(row.double().log_softmax(-1))
        ids = torch.tensor([[tokens[-1]]])
    return tokens, rows, gap


@torch.no_grad()
def error_of_bfloat16(model, entries: list[dict]) -> float:
    """How far the first step's log-probabilities move when transformers itself computes in bfloat16."""
    half, widest = copy.deepcopy(model).to(torch.bfloat16), 0.0
    for entry in entries:
        row = half(input_ids=torch.tensor([entry["prompt"]])).logits[0, -1].double().log_softmax(-1)
        moved = [abs(row[token].item() - full) for token, full in zip(entry["sampled"], entry["logprobs"][0])]
        widest = max(widest, *moved)
    return widest


def golden(model, prompts: list[list[int]], vocab: int) -> dict:
    entries, smallest, distinct = [], float("inf"), 0
    for index, prompt in enumerate(prompts):
        tokens, rows, gap = greedy(model, prompt)
        smallest, distinct = min(smallest, gap), distinct + len(set(tokens))
        sampled = [(index * 131 + place * 197) % vocab for place in range(SAMPLES)]
        logprobs = [[round(rows[step][token].item(), 5) for token in sampled] for step in STEPS]
        entries.append({"prompt": prompt, "tokens": tokens, "sampled": sampled, "logprobs": logprobs})
    print(f"  smallest gap {smallest:.2e}, {distinct / len(prompts):.1f} distinct tokens of {TOKENS} a text")
    error = error_of_bfloat16(model, entries)
    return {"steps": STEPS, "smallest_gap": float(f"{smallest:.2e}"), "bfloat16_error": round(error, 5), "entries": entries}
