"""Hugging Face transformers as the reference: greedy tokens and log-probabilities in 32 bits, by its plain path."""

import copy

import torch
import transformers

from weights import numbers, role

TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
LENGTHS = [1, 2, 3, 5, 8, 13, 15, 16, 17, 21, 31, 32, 33, 34, 40, 47, 48, 49, 60, 64]
TOKENS = 64
# Steps whose log-probabilities are kept, and of how many tokens.
STEPS = [0, 31, 63]
SAMPLES = 8


FAMILIES = {
    "llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3", "phi3": "Phi3", "gemma2": "Gemma2",
    "gemma3": "Gemma3", "gpt2": "GPT2", "bert": "Bert", "qwen3-embedding": "Qwen3",
}


def fields_of_gpt2(d: dict) -> dict:
    return {"n_embd": d["hidden"], "n_inner": d["intermediate"], "n_layer": d["layers"], "n_head": d["heads"],
            "n_positions": d["context"], "layer_norm_epsilon": 1e-5, "activation_function": "gelu_new"}


def fields_of_bert(d: dict) -> dict:
    return {"hidden_size": d["hidden"], "intermediate_size": d["intermediate"], "num_hidden_layers": d["layers"],
            "num_attention_heads": d["heads"], "max_position_embeddings": d["context"], "layer_norm_eps": 1e-5,
            "hidden_act": "gelu"}


def fields_of(family: str, d: dict) -> dict:
    """What `lps model make` writes, in the words of transformers 5."""
    rope, layers, window = {**d["rope"], "rope_theta": d["rope_theta"]}, range(d["layers"]), d.get("window")
    fields = {
        "hidden_size": d["hidden"], "intermediate_size": d["intermediate"], "num_hidden_layers": d["layers"],
        "num_attention_heads": d["heads"], "num_key_value_heads": d["kv_heads"], "head_dim": d["head_dim"],
        "max_position_embeddings": d["context"], "rms_norm_eps": 1e-5, "rope_parameters": rope,
    }
    windowed = lambda has: ["sliding_attention" if has(layer) else "full_attention" for layer in layers]  # noqa: E731
    if family in ("llama", "qwen3", "gemma2", "gemma3"):
        fields["attention_bias"] = d["attention_bias"]
    if family in ("mistral", "phi3"):
        fields["sliding_window"] = window
    if family in ("qwen2", "qwen3") and window:
        fields |= {"use_sliding_window": True, "sliding_window": window,
                   "layer_types": windowed(lambda layer: layer >= d["layers"] // 2)}
    if family == "phi3":
        rope["partial_rotary_factor"] = d.get("partial_rotary", 1.0)
        if "original_max_position_embeddings" in rope:
            fields["original_max_position_embeddings"] = rope["original_max_position_embeddings"]
    if family in ("gemma2", "gemma3"):
        fields |= {"query_pre_attn_scalar": max(1, d["head_dim"] // 8), "sliding_window": window or d["context"]}
    if family == "gemma2":
        fields |= {"attn_logit_softcapping": 10.0, "final_logit_softcapping": 1.0,
                   "layer_types": windowed(lambda layer: layer % 2 == 0)}
    if family == "gemma3":
        local = {"rope_type": "default", "rope_theta": 1000.0}
        fields |= {"rope_parameters": {"full_attention": rope, "sliding_attention": local},
                   "layer_types": windowed(lambda layer: (layer + 1) % 3 != 0)}
    return fields


def from_case(case: dict):
    """A model whose weights are those of `lps model make`, without reading a file that it wrote."""
    family, d = case["family"], case["dimensions"]
    name = FAMILIES[family]
    config_of = getattr(transformers, "Gemma3TextConfig" if family == "gemma3" else f"{name}Config")
    model_of = getattr(transformers, "GPT2LMHeadModel" if family == "gpt2" else f"{name}ForCausalLM")
    fields = fields_of_gpt2(d) if family == "gpt2" else fields_of(family, d)
    config = config_of(vocab_size=d["vocab"], tie_word_embeddings=case["tied"], pad_token_id=None, bos_token_id=None,
                       eos_token_id=2, attn_implementation="eager", **fields)
    return filled(model_of(config).eval(), case, "")


def filled(model, case: dict, prefix: str):
    """The model with the numbers that are stored under its names, behind a prefix."""
    stored = TYPES[case["dtype"]]
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            values = numbers(case["seed"], prefix + name, tuple(parameter.shape), role(case["family"], name))
            values = torch.from_numpy(values)
            parameter.copy_(values.to(stored).float())
    return model.float()


def embedder_from_case(case: dict):
    """The same for a model that makes vectors, without output layer and pooler."""
    family, d, older = case["family"], case["dimensions"], case["config_generation"] == 4
    common = {"vocab_size": d["vocab"], "pad_token_id": None, "attn_implementation": "eager"}
    if family == "bert":
        config = transformers.BertConfig(**common, **fields_of_bert(d))
        return filled(transformers.BertModel(config, add_pooling_layer=False).eval(), case, "bert." if older else "")
    fields = {**fields_of("qwen3", d), "attention_bias": d["attention_bias"]}
    config = transformers.Qwen3Config(**common, tie_word_embeddings=True, **fields)
    return filled(transformers.Qwen3Model(config).eval(), case, "model." if older else "")


@torch.no_grad()
def vector(model, tokens: list[int], pooling: str):
    """As sentence-transformers pools and normalises."""
    rows = model(input_ids=torch.tensor([tokens])).last_hidden_state[0].double()
    pooled = {"cls": lambda: rows[0], "mean": lambda: rows.mean(0), "max": lambda: rows.amax(0), "last": lambda: rows[-1]}
    return torch.nn.functional.normalize(pooled[pooling](), dim=0)


def embedding_golden(model, texts: list[list[int]], pooling: str) -> dict:
    half, widest, entries = copy.deepcopy(model).to(torch.bfloat16), 0.0, []
    for text in texts:
        full = vector(model, text, pooling)
        widest = max(widest, (vector(half, text, pooling) - full).abs().max().item())
        entries.append({"tokens": text, "vector": [round(number, 6) for number in full.tolist()]})
    print(f"  widest error of bfloat16 {widest:.4f}")
    return {"bfloat16_error": round(widest, 5), "entries": entries}


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
