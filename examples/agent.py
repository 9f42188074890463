"""An agent with a tool, on OpenAI's own client: nothing in it knows of lps.

Run it beside `make run`, after pip install openai:
OPENAI_BASE_URL=http://127.0.0.1:8080/v1 OPENAI_API_KEY=none python examples/agent.py
"""

import ast
import json
import operator
from typing import Any

from openai import OpenAI
from openai.types.chat import ChatCompletionToolParam

client = OpenAI()

CALCULATOR: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "calculator",
        "description": "Computes an arithmetic expression",
        "parameters": {"type": "object", "properties": {"expression": {"type": "string"}}, "required": ["expression"]},
    },
}
OPERATIONS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
ROUNDS_MAX = 8


def compute(node: ast.AST) -> float:
    """The value of an expression of numbers and the four operations."""
    match node:
        case ast.Expression(body):
            return compute(body)
        case ast.Constant(int() | float() as number):
            return number
        case ast.BinOp(left, operation, right):
            return float(OPERATIONS[type(operation)](compute(left), compute(right)))
    raise ValueError("the calculator adds, subtracts, multiplies and divides")


def run(question: str) -> str:
    """Asks, does what the model asks for, and asks again until it answers in words."""
    messages: list[Any] = [{"role": "user", "content": question}]
    for _ in range(ROUNDS_MAX):
        answer = client.chat.completions.create(model="demo", messages=messages, tools=[CALCULATOR], temperature=0)
        message = answer.choices[0].message
        if not message.tool_calls:
            return message.content or ""
        messages.append(message)
        for call in message.tool_calls:
            assert call.type == "function"
            result = f"{compute(ast.parse(json.loads(call.function.arguments)['expression'], mode='eval')):g}"
            print(f"  calls {call.function.name} {call.function.arguments}: {result}")
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    raise SystemExit(f"the model still calls tools after {ROUNDS_MAX} rounds")


print(run("What is 317 * 24 + 9?"))
