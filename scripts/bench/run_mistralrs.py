"""mistral.rs as an arm of `make bench-engine`; the contract stands in runner.py.

Its Python `Runner` takes text, and is not re-entrant; but a streamed call returns at once, so one thread can hand in a
whole batch and then read all streams. It works on a copy of the checkpoint's folder (weights are links) in which
- `config.json` has `rope_theta` beside transformers 5's `rope_parameters`, without which 0.9.5 does not load it;
- the chat template is the message alone, so that a prompt is just the tokens that were asked for;
- the tokenizer has an entry for every row of the embedding: a stream leaves out tokens without text.
`dtype` is `bfloat16`, `float32` or a quantisation that it makes while loading (`q8_0`).
"""
import importlib.metadata
import json
import tempfile
from pathlib import Path

from runner import SETTLED, now, serve


def copy_for(model, folder):
    """Fills `folder`; the text of each token, by its id."""
    model = Path(model)
    config = json.loads((model / "config.json").read_text())
    config.setdefault("rope_theta", config.get("rope_parameters", {}).get("rope_theta", 10000.0))
    config.setdefault("torch_dtype", config.get("dtype"))
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    vocab = tokenizer["model"]["vocab"]
    texts = {token: text.replace("Ġ", " ") for text, token in vocab.items()}
    taken = set(vocab.values()) | {token["id"] for token in tokenizer["added_tokens"]}
    vocab |= {f"Ġx{token}": token for token in range(config["vocab_size"]) if token not in taken}
    written = {
        "config.json": config,
        "tokenizer.json": tokenizer,
        "tokenizer_config.json": {"chat_template": "{{ messages[0]['content'] }}"},
    }
    for name, content in written.items():
        (folder / name).write_text(json.dumps(content))
    for file in model.iterdir():
        if file.name not in written and file.suffix != ".jinja":
            (folder / file.name).symlink_to(file.resolve())
    return texts


class Mistralrs:
    def __init__(self, job):
        import mistralrs

        self.mistralrs = mistralrs
        self.folder = tempfile.TemporaryDirectory()
        folder = Path(self.folder.name)
        self.texts = copy_for(job["model"], folder)
        types = {"bfloat16": mistralrs.ModelDType.BF16, "float32": mistralrs.ModelDType.F32}
        quantisation = None if job["dtype"] in types else job["dtype"]
        dtype = types.get(job["dtype"], mistralrs.ModelDType.BF16)
        self.model = mistralrs.Runner(
            which=mistralrs.Which.Plain(model_id=str(folder), dtype=dtype), in_situ_quant=quantisation,
            max_seqs=job["max_num_seqs"], prefix_cache_n=0, token_source="none",
        )
        self.versions = f"mistralrs {importlib.metadata.version('mistralrs')}"

    def open(self, prompt, tokens):
        text = "".join(self.texts[token] for token in prompt)
        request = self.mistralrs.ChatCompletionRequest(
            messages=text, model="default", max_tokens=tokens, temperature=0.0, top_k=1, ignore_eos=True, stream=True)
        return self.model.send_chat_completion_request(request)

    def run(self, prompts, steps):
        wanted = SETTLED + steps if steps else 1
        start = now()
        streams = {index: self.open(prompt, wanted) for index, prompt in enumerate(prompts)}
        arrivals = [[] for _ in prompts]
        while streams:
            for index in list(streams):
                chunk = next(streams[index], None)
                if chunk is None:
                    del streams[index]
                    continue
                if chunk.choices and chunk.choices[0].delta.content:
                    arrivals[index].append(now() - start)
                usage = chunk.usage
                if usage and (usage.prompt_tokens, usage.completion_tokens) != (len(prompts[index]), wanted):
                    raise ValueError(f"{usage.prompt_tokens} and {usage.completion_tokens} tokens were counted, "
                                     f"{len(prompts[index])} and {wanted} were asked for")
        if any(len(times) < min(wanted, SETTLED) for times in arrivals):
            raise ValueError(f"{[len(times) for times in arrivals]} tokens were streamed, {wanted} were asked for")
        first = max(times[0] for times in arrivals)
        if steps == 0:
            return first, 0.0, 0
        settled = max(times[SETTLED - 1] for times in arrivals)
        # A token that is half of a character, or a special one, comes with the next: what is left of `wanted` is what counts.
        tokens = sum(wanted - sum(time <= settled for time in times) for times in arrivals)
        return first, max(times[-1] for times in arrivals) - settled, tokens


if __name__ == "__main__":
    serve(Mistralrs)
