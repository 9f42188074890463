"""Tools in OpenAI's form, as varied as clients write them: order of keys, descriptions, extra fields."""

import random

from words import word


def function(name, parameters, description=""):
    """A tool; `parameters` maps names to JSON types. The same name and parameters always look alike."""
    rng = random.Random(name + str(parameters))
    rich = rng.random() < 0.35
    properties = {key: _property(rng, key, kind, rich) for key, kind in parameters.items()}
    schema = [("type", "object"), ("properties", properties), ("required", list(parameters))]
    if rich and rng.random() < 0.3:
        schema.append(("additionalProperties", False))
    if rng.random() < 0.5:
        rng.shuffle(schema)
    fields = [("name", name), ("description", description), ("parameters", dict(schema))]
    if rich and rng.random() < 0.2:
        fields.append(("strict", True))
    if rng.random() < 0.3:
        rng.shuffle(fields)
    return {"type": "function", "function": dict(fields)}


def _property(rng, key, kind, rich):
    fields = [("type", kind)]
    if rich and rng.random() < 0.6:
        fields.append(("description", rng.choice(["The " + key + ".", key + " to use", "Name of the " + key])))
    if rich and rng.random() < 0.2:
        fields.append(("title", key.capitalize()))
    if rng.random() < 0.3:
        rng.shuffle(fields)
    return dict(fields)


def decoys(rng, taken):
    """None to two tools that the dialogue does not need, with names that are not in `taken`."""
    makers = [
        lambda: function("get_time", {"city": "string"}, "Time in a city"),
        lambda: function("search", {"query": "string"}, "Search the web"),
        lambda: function(
            word(rng) + "_" + word(rng), {word(rng): rng.choice(["string", "integer"])}, word(rng) + " " + word(rng)
        ),
        lambda: function("send_mail", {"to": "string", "text": "string"}, "Send a mail"),
    ]
    made = [rng.choice(makers)() for _ in range(rng.choice([0, 0, 1, 1, 2]))]
    return [tool for tool in made if tool["function"]["name"] not in taken]


def offered(rng, tool):
    """A tool among decoys."""
    tools = [tool] + decoys(rng, {tool["function"]["name"]})
    rng.shuffle(tools)
    return tools
