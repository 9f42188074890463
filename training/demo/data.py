"""Dialogues for the demo model, made by templates from a seeded generator.

Each kind of dialogue is a function of the generator that returns (tools, messages). `dialogue` draws one of them.
"""

import json
import random

from tools import decoys, function, offered
from words import FACTS, LISTS, NOUNS, SYSTEM_MESSAGES, VERBS, city, name, topic, word


def user(text):
    """A user's message."""
    return {"role": "user", "content": text}


def assistant(text):
    """The model's message."""
    return {"role": "assistant", "content": text}


def calls(*made):
    """The model's message that calls tools, each a pair of name and arguments."""
    tool_calls = [{"type": "function", "function": {"name": n, "arguments": x}} for n, x in made]
    return {"role": "assistant", "content": "", "tool_calls": tool_calls}


def result(text):
    """A tool's message."""
    return {"role": "tool", "content": text}


def calculator(rng):
    """Arithmetic, by tool."""
    expression = expression_of(rng)
    value = eval(expression)  # made above: digits and + - * only
    forms = ["What is {}?", "Compute {}.", "How much is {}?", "Calculate {}", "Please compute {}.", "{} = ?"]
    question = rng.choice([*forms, "I need the value of {}."]).format(expression)
    parameter = rng.choice(["expression", "expression", "expr", "input", word(rng)])
    tool = rng.choice(["calculator", "calculator", "calculate", "calc", word(rng) + "_calculator"])
    tools = offered(rng, function(tool, {parameter: "string"}, "Compute an expression"))
    answer = assistant(f"{expression} is {value}.")
    return tools, [user(question), calls((tool, {parameter: expression})), result(str(value)), answer]


def expression_of(rng):
    """Two or three numbers with operators between them."""
    count = rng.choice([2, 2, 2, 3])
    text = str(rng.randint(0, 999))
    for _ in range(count - 1):
        text += f" {rng.choice('+-*')} {rng.randint(0, 999)}"
    return text


def weather(rng):
    """The weather in one to three cities, by as many calls at once."""
    cities = list(dict.fromkeys(city(rng) for _ in range(rng.choice([1, 1, 1, 2, 3]))))
    forms = ["What is the weather in {}?", "How is the weather in {}?", "Weather in {}?", "Tell me the weather in {}."]
    form = rng.choice([*forms, "Is it warm in {}?", "What's the weather like in {}?"])
    question = form.format(", ".join(cities[:-1]) + (" and " if len(cities) > 1 else "") + cities[-1])
    tool = rng.choice(["get_weather", "get_weather", "weather", "current_weather"])
    parameter = rng.choice(["city", "city", "location", "place"])
    tools = offered(rng, function(tool, {parameter: "string"}, "Weather in a city"))
    skies = ["sunny", "cloudy", "rainy", "windy", "foggy", "snowy"]
    seen = [(where, rng.choice(skies), rng.randint(-10, 38)) for where in cities]
    messages = [user(question), calls(*[(tool, {parameter: where}) for where in cities])]
    for _, sky, degrees in seen:
        as_json = json.dumps({"weather": sky, "degrees": degrees})
        messages.append(result(rng.choice([f"{sky}, {degrees} degrees", as_json])))
    answer = " ".join(f"In {where} it is {sky} with {degrees} degrees." for where, sky, degrees in seen)
    return tools, messages + [assistant(answer)]


def value_of(rng, kind):
    """A value of a JSON type."""
    if kind == "integer":
        return rng.randint(0, 9999)
    if kind == "number":
        return round(rng.uniform(0, 500), 1)
    if kind == "string":
        return word(rng, 1, 3) if rng.random() < 0.6 else word(rng) + " " + word(rng)
    return rng.random() < 0.5


def any_tool(rng):
    """A tool of any name and parameters."""
    names = [word(rng) + "_" + word(rng), "magic_function", "my_" + word(rng) + "_tool", word(rng)]
    tool = rng.choice(names + [prefix + word(rng) for prefix in ("do_", "get_", "find_", "add_")])
    parameters = {}
    for _ in range(rng.choice([1, 1, 1, 2, 2, 3])):
        kind = rng.choice(["integer", "integer", "string", "string", "number", "boolean"])
        known = ["input", "x", "y", "a", "b", "name", "query", "value", "count", "id", "text"]
        parameters[rng.choice([word(rng), word(rng, 1, 2), *known])] = kind
    values = {key: value_of(rng, kind) for key, kind in parameters.items()}
    bare = {key: json.dumps(v) if isinstance(v, bool) else str(v) for key, v in values.items()}
    forms = [
        "What is the value of {n}({p})? Use the tool.",
        "What is the value of {n}({k})?",
        "Use the {n} tool with {w}.",
        "Call {n} with {w}.",
        "Please run {n} with {k}.",
        "Use {n}: {w}",
        "What is {n}({p})?",
        "Use the tool {n} for {w}, please.",
    ]
    question = rng.choice(forms).format(
        n=tool,
        p=", ".join(bare.values()),
        k=", ".join(f"{key}={json.dumps(v)}" for key, v in values.items()),
        w=" and ".join(f"{key} {text}" for key, text in bare.items()),
    )
    description = " ".join(word(rng) for _ in range(rng.randint(0, 5)))
    tools = offered(rng, function(tool, parameters, description))
    given = rng.choice([str(rng.randint(0, 9999)), word(rng), "ok", "done"])
    answer = assistant(rng.choice([f"The result is {given}."]))
    return tools, [user(question), calls((tool, values)), result(given), answer]


def facts(rng):
    """Questions about the project, and small talk."""
    messages = []
    for question in rng.sample(list(FACTS), rng.choice([1, 1, 2, 3])):
        messages += [user(varied(rng, question)), assistant(FACTS[question])]
    return (decoys(rng, set()) if rng.random() < 0.3 else []), messages


def varied(rng, question):
    """A question as people write it."""
    text = question
    if rng.random() < 0.3:
        text = text.rstrip("?.!")
    if rng.random() < 0.3:
        text = text[0].lower() + text[1:]
    if rng.random() < 0.25 and question.startswith("What"):
        text = rng.choice(["Please tell me: ", "Can you explain: ", "I want to know: ", "Explain: "]) + text
    return text


def plan(rng):
    """A plan of three to five steps; the same topic and number give the same plan."""
    what = topic(rng)
    count = rng.choice([3, 3, 4, 5])
    own = random.Random(what + str(count))
    verbs, nouns = own.sample(VERBS, count), own.sample(NOUNS, count)
    steps = [f"{verb} the {noun}" for verb, noun in zip(verbs, nouns)]
    forms = ["Plan {t} in {k} steps.", "Make a plan for {t} with {k} steps.", "Give me {k} steps for {t}."]
    form = rng.choice([*forms, "Split {t} into {k} steps."])
    in_words = {3: "three", 4: "four", 5: "five"}[count]
    question = form.format(t=what, k=rng.choice([in_words, str(count)]))
    messages = [user(question), assistant("\n".join(f"{i + 1}. {step}" for i, step in enumerate(steps)))]
    if rng.random() < 0.3:
        i = rng.randrange(count)
        messages += [user(f"Do step {i + 1}."), assistant(f"I {steps[i]} for {what}. It is done.")]
    return [], messages


def one_step(rng):
    """One step of a plan."""
    what = topic(rng)
    step = f"{rng.choice(VERBS)} the {rng.choice(NOUNS)}"
    forms = [f"Task: {what}. Step: {step}. Do this step.", f"For {what}, {step}.", f"Do this step for {what}: {step}"]
    return [], [user(rng.choice(forms)), assistant(f"I {step} for {what}. It is done.")]


def summary(rng):
    """A summary of the results of some steps."""
    what = topic(rng)
    steps = [f"{rng.choice(VERBS)} the {rng.choice(NOUNS)}" for _ in range(rng.randint(2, 5))]
    results = "\n".join(f"- I {step} for {what}. It is done." for step in steps)
    done = ", ".join(steps[:-1]) + " and " + steps[-1]
    answer = f"{what[0].upper() + what[1:]} is ready: {done}."
    return [], [user(f"Summarise the results for {what}:\n{results}"), assistant(answer)]


def extract(rng):
    """Text to JSON."""
    who, age, where = name(rng), rng.randint(5, 95), city(rng)
    forms = [
        f"Extract name, age and city as JSON: {who} is {age} years old and lives in {where}.",
        f"{who}, {age}, lives in {where}. Give me JSON with name, age, city.",
    ]
    return [], [user(rng.choice(forms)), assistant(json.dumps({"name": who, "age": age, "city": where}))]


def some_of(rng):
    """The first few of a known list."""
    kind = rng.choice(list(LISTS))
    count = rng.randint(2, 5)
    question = rng.choice([f"Name {count} {kind}.", f"List {count} {kind}.", f"Give me {count} {kind}."])
    return [], [user(question), assistant(", ".join(LISTS[kind][:count]) + ".")]


def echo(rng):
    """The user's words again."""
    text = " ".join(word(rng, 1, 3) for _ in range(rng.randint(1, 6)))
    form = rng.choice(["Repeat: {}", "Say: {}", "Echo this: {}", "Repeat after me: {}"])
    return [], [user(form.format(text)), assistant(text)]


def count(rng):
    """Numbers in a row."""
    length = rng.randint(2, 12)
    first = rng.randint(1, 40)
    last = first + length
    question = rng.choice([f"Count from {first} to {last}.", f"Count {first} to {last}"])
    return [], [user(question), assistant(", ".join(str(i) for i in range(first, last + 1)) + ".")]


def own_name(rng):
    """The user's name, remembered."""
    who = name(rng)
    return [], [
        user(rng.choice([f"My name is {who}.", f"I am {who}.", f"Hi, I'm {who}."])),
        assistant(f"Hello {who}! How can I help you?"),
        user(rng.choice(["What is my name?", "Do you remember my name?", "Who am I?"])),
        assistant(f"Your name is {who}."),
    ]


# Each kind with its weight.
KINDS = {
    calculator: 9,
    weather: 13,
    any_tool: 26,
    facts: 8,
    plan: 7,
    one_step: 9,
    summary: 13,
    extract: 4,
    some_of: 5,
    echo: 10,
    count: 6,
    own_name: 3,
}
WITH_TOOLS = (any_tool, weather, calculator)


def dialogue(rng):
    """One dialogue: (messages, tools)."""
    kind = rng.choices(list(KINDS), list(KINDS.values()))[0]
    tools, messages = kind(rng)
    if kind not in WITH_TOOLS and rng.random() < 0.25:
        tools = tools + decoys(rng, set())
    if rng.random() < 0.12:
        _, more = facts(rng)
        messages = more + messages if rng.random() < 0.5 else messages + more
    system = rng.choice(SYSTEM_MESSAGES)
    return ([{"role": "system", "content": system}] if system else []) + messages, tools
