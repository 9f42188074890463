"""The chat format as Python, for training: the pieces of a dialogue's text, each with whether it is learned.

`template.jinja` is the same format for everyone else; `train.py` compares the two before it trains.
"""

import json


def render(messages, tools):
    """The pieces of a dialogue: pairs of text and whether the model learns to write it."""
    system = messages[0]["content"] if messages[0]["role"] == "system" else None
    body = messages[1:] if system is not None else messages
    pieces = []
    if system is not None or tools:
        text = "<|im_start|>system" + ("" if system is None else "\n" + system)
        if tools:
            lines = "".join("\n" + json.dumps(tool["function"], ensure_ascii=False) for tool in tools)
            text += "\n# Tools\n<tools>" + lines + "\n</tools>"
        pieces.append((text + "<|im_end|>\n", False))
    for index, message in enumerate(body):
        role = message["role"]
        if role in ("user", "system"):
            pieces.append((f"<|im_start|>{role}\n{message['content']}<|im_end|>\n", False))
        elif role == "assistant":
            pieces += [("<|im_start|>assistant\n", False), (_answer(message) + "<|im_end|>", True), ("\n", False)]
        else:
            is_first = index == 0 or body[index - 1]["role"] != "tool"
            is_last = index + 1 == len(body) or body[index + 1]["role"] != "tool"
            text = "<|im_start|>user\n" if is_first else ""
            text += f"<tool_response>\n{message['content']}\n</tool_response>"
            pieces.append((text + ("<|im_end|>\n" if is_last else "\n"), False))
    return pieces


def _answer(message):
    text = message["content"]
    for call in message.get("tool_calls", []):
        function = call["function"]
        arguments = json.dumps(function["arguments"], ensure_ascii=False)
        text += "\n" if text else ""
        text += f'<tool_call>\n{{"name": "{function["name"]}", "arguments": {arguments}}}\n</tool_call>'
    return text
