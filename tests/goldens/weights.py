"""The numbers of `lps model make`, computed with numpy: cli/src/model/generator.rs is the other half."""

import numpy as np

U64 = np.uint64


def hash_name(name: str) -> int:
    """FNV-1a, 64 bits."""
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value


def mix(value):
    """The finaliser of splitmix64, on numpy's wrapping 64-bit integers."""
    z = value + U64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> U64(30))) * U64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> U64(27))) * U64(0x94D049BB133111EB)
    return z ^ (z >> U64(31))


def role(family: str, name: str) -> str:
    if name.endswith(".bias"):
        return "bias"
    if "norm" in name.lower() or ".ln_" in name:
        return "norm less one" if family.startswith("gemma") else "norm"
    if any(word in name for word in ("embed_tokens", "lm_head", ".wte.", ".wpe.", "_embeddings.")):
        return "scaled vocabulary" if family.startswith("gemma") else "vocabulary"
    return "transposed product" if family == "gpt2" else "product"


def numbers(seed: int, name: str, shape, kind: str) -> np.ndarray:
    """One weight in 32 bits."""
    inputs = np.float64(shape[0] if kind == "transposed product" else shape[-1])
    mean, deviation = {
        "vocabulary": (0.0, 1.0 / np.sqrt(inputs)),
        "scaled vocabulary": (0.0, 0.25 / np.sqrt(inputs)),
        "product": (0.0, 1.5 / np.sqrt(inputs)),
        "transposed product": (0.0, 1.5 / np.sqrt(inputs)),
        "norm": (1.0, np.float64(0.1)),
        "norm less one": (0.0, np.float64(0.1)),
        "bias": (0.0, np.float64(0.1)),
    }[kind]
    factor = deviation * np.sqrt(np.float64(3.0)) / np.float64(65536.0)
    with np.errstate(over="ignore"):
        key = mix(np.array([seed ^ hash_name(name)], dtype=U64))
        bits = mix(key + np.arange(int(np.prod(shape)), dtype=U64))
    total = sum(((bits >> U64(16 * part)) & U64(0xFFFF)).astype(np.int64) for part in range(4))
    return (np.float64(mean) + (total - 131070).astype(np.float64) * factor).astype(np.float32).reshape(shape)
