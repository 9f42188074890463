"""The words and facts that the demo model's dialogues are made of. Everything is made up or said of this project."""

CONSONANTS, VOWELS = "bcdfghklmnprstvz", "aeiou"

CITIES = (
    "Paris London Berlin Madrid Rome Oslo Vienna Prague Lisbon Dublin Tokyo Seoul Beijing Delhi Cairo Lagos Nairobi "
    "Lima Quito Bogota Toronto Boston Chicago Denver Seattle Austin Miami Sydney Perth Auckland Zurich Geneva Munich "
    "Hamburg Milan Naples Athens Warsaw Krakow Budapest Helsinki Stockholm"
).split()
NAMES = (
    "Ada Alan Grace Edsger Barbara Donald Leslie Tony John Ken Dennis Margaret Katherine Radia Frances Hedy"
).split()
TOPICS = (
    "a garden;a birthday party;a web server;a bread recipe;a chess club;a bicycle repair;a school play;a hiking trip;"
    "a small library;a podcast;a science fair;a book review;a weekly meal plan;a data backup;a home office;a robot arm;"
    "a weather station;a photo album;a language course;a music festival;a bird house;a running schedule;a budget;"
    "a garage sale;a film night;a mobile app;a community kitchen;a solar panel;a news letter;a board game"
).split(";")
VERBS = (
    "choose measure buy draw clean build test paint write check collect order mix invite print plan sort pack review "
    "publish"
).split()
NOUNS = (
    "tools place date list people parts budget design materials space guests text tickets seeds wood steps result time "
    "report notes"
).split()
LISTS = {
    "colours": "red blue green yellow orange purple white black".split(),
    "animals": "cat dog horse bird fish cow sheep fox".split(),
    "fruits": "apple pear plum cherry banana grape lemon peach".split(),
    "cities": CITIES[:8],
    "planets": "Mercury Venus Earth Mars Jupiter Saturn Uranus Neptune".split(),
}
FACTS = {
    "What is LLMProgramServing?": (
        "LLMProgramServing is a Kubernetes resource. You apply it, and an operator starts engines that serve one model "
        "to your programs."
    ),
    "What is a program?": (
        "A program is one run of an agent or workflow. It makes many calls to the model, and some of them depend on "
        "others."
    ),
    "What is a call?": (
        "A call is one request to the model. It belongs to a program and can name the calls that it depends on."
    ),
    "What is a thread?": (
        "A thread is a chain of calls inside a program. Threads of one program can run side by side."
    ),
    "What is ATLAS?": (
        "ATLAS orders calls by the service that their program has attained along its critical path. Programs that have "
        "had little come first."
    ),
    "What is PLAS?": (
        "PLAS orders calls by the total service that their program has attained so far. It fits programs with a single "
        "thread."
    ),
    "What does the router do?": (
        "The router takes calls over HTTP, keeps the process table, picks the next call and the engine for it, and "
        "scales the engines."
    ),
    "What does the engine do?": (
        "The engine batches calls, keeps their keys and values in pages, runs the model and streams the tokens back."
    ),
    "What does the operator do?": (
        "The operator watches the resources and creates, replaces and drains the engine pods."
    ),
    "What is the process table?": (
        "The process table has a row for each running program: its service, its waiting time, its threads, its calls "
        "and its home engine."
    ),
    "What is starvation?": (
        "Starvation is when a call waits too long because others keep going first. The scheduler promotes a call that "
        "has waited too much."
    ),
    "What is a KV cache?": (
        "A KV cache keeps the keys and values of tokens that were already processed, so that the next call need not "
        "compute them again."
    ),
    "What is a prefix cache?": "A prefix cache reuses the pages of a prompt that starts like an earlier one.",
    "What is preemption?": (
        "Preemption stops a running call for a more urgent one and resumes it later with the same text."
    ),
    "What is draining?": "Draining lets an engine finish its calls before it stops, so that no stream is cut.",
    "What is a critical path?": "The critical path is the longest chain of dependent calls in a program.",
    "Who are you?": "I am a tiny demo model. I can chat about this project, plan small tasks and call tools.",
    "What can you do?": (
        "I can answer questions about this project, plan a task in steps, work on a step, summarise, and call the "
        "tools that you give me."
    ),
    "Hello": "Hello! How can I help you?",
    "Hi": "Hello! How can I help you?",
    "Good morning": "Good morning! How can I help you?",
    "Thank you": "You are welcome!",
    "Thanks": "You are welcome!",
    "How are you?": "I am fine, thank you. How can I help you?",
    "Bye": "Goodbye!",
    "Tell me a joke.": "A program waited in the queue so long that it was promoted to manager.",
}
SYSTEM_MESSAGES = [
    *["", "", ""],
    *["You are a helpful assistant."] * 2,
    "Be brief.",
    "You help with tasks.",
    "Answer in one sentence.",
]


def word(rng, least=2, most=3):
    """A made-up word of some syllables."""
    return "".join(
        rng.choice(CONSONANTS) + rng.choice(VOWELS) + (rng.choice("nrsl") if rng.random() < 0.25 else "")
        for _ in range(rng.randint(least, most))
    )


def city(rng):
    """A city, known or made up."""
    return rng.choice(CITIES) if rng.random() < 0.6 else word(rng).capitalize()


def name(rng):
    """A first name, known or made up."""
    return rng.choice(NAMES) if rng.random() < 0.5 else word(rng).capitalize()


def topic(rng):
    """Something to plan."""
    if rng.random() < 0.8:
        return rng.choice(TOPICS)
    return "a " + word(rng) + " " + rng.choice("club trip course page tool box".split())
