"""Hugging Face transformers' eager path as an arm of `make bench-engine`; the contract stands in runner.py."""
import torch
import transformers
from runner import SETTLED, now, serve


class Transformers:
    def __init__(self, job):
        torch.set_num_threads(job["threads"])
        dtype = getattr(torch, job["dtype"])
        self.model = transformers.AutoModelForCausalLM.from_pretrained(job["model"], dtype=dtype).eval()
        self.versions = f"transformers {transformers.__version__}, torch {torch.__version__}"

    def forward(self, ids, cache=None):
        out = self.model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return out.logits[:, -1].argmax(-1, keepdim=True), out.past_key_values

    @torch.inference_mode()
    def run(self, prompts, steps):
        start = now()
        ids, cache = self.forward(torch.tensor(prompts))
        first = now() - start
        if steps == 0:
            return first, 0.0, 0
        for _ in range(SETTLED - 1):
            ids, cache = self.forward(ids, cache)
        start = now()
        for _ in range(steps):
            ids, cache = self.forward(ids, cache)
        return first, now() - start, steps * len(prompts)


if __name__ == "__main__":
    serve(Transformers)
