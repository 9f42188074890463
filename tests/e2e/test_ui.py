"""The administrators' page in a real browser: what it shows of programs, calls and engines, and that names are only text."""

import concurrent.futures
import contextlib
import json
import re
import signal

import pytest
from browser import Browser
from keyfile import Keys
from stack import ROOT, Stack, manifest, wait_for

# One slot, 200 tokens a second: what is asked for does not end before it is cancelled.
RESOURCE = manifest(builtin="sim", slots=1, extraArgs=["--sim-step-us", "5000"])
# Calls that end: (name, thread, parents). `join` goes on with both threads; `think` says nothing, so it follows on its thread.
ENDED = [("plan", "main", ""), ("look", "look", "plan"), ("read", "read", "plan"), ("join", "main", "look,read"), ("think", "main", None)]
EDGES = 1 + 1 + 2 + 1
OPEN = 3
PROGRAM = "agents/trip-7"


def ask(stack, program, call, thread, parents, tokens):
    headers = {"x-program-id": program, "x-call-id": call, "x-thread-id": thread}
    if parents is not None:
        headers["x-parent-call-ids"] = parents
    body = {"model": "demo", "prompt": "x", "max_tokens": tokens, "ignore_eos": True}
    return stack.post("/v1/completions", body, headers)[0]


@contextlib.contextmanager
def load(stack):
    """A program whose calls join, of which some wait, for as long as it is needed."""
    for name, thread, parents in ENDED:
        assert ask(stack, PROGRAM, name, thread, parents, 1) == 200
    with concurrent.futures.ThreadPoolExecutor(OPEN) as pool:
        running = [pool.submit(ask, stack, PROGRAM, f"step-{n}", f"step-{n}", "think", 30_000) for n in range(OPEN)]
        try:
            wait_for("the calls", lambda: stack.get("/v1/models")["data"][0]["calls"]["waiting"] == OPEN - 1)
            yield
        finally:
            stack.post(f"/v1/programs/{PROGRAM.replace('/', '%2F')}/cancel", {})
        assert {call.result(60) for call in running} == {409}


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with Stack(tmp_path_factory.mktemp("ui"), RESOURCE) as stack:
        yield stack


def page(stack):
    return f"http://127.0.0.1:{stack.admin_port}/ui"


@pytest.fixture()
def browser(stack):
    """A browser that is on the page; nothing may have gone wrong there in the end, and nobody else have been asked."""
    with Browser() as browser:
        browser.open(page(stack))
        wait_live(browser)
        yield browser
        assert browser.problems == []
        assert {url.split("/ui")[0] for url in browser.requests} == {page(stack).removesuffix("/ui")}


def wait_live(browser):
    browser.wait_for("the page to be live", "document.querySelector('#link').innerText === 'live'")


def choose(browser, program=PROGRAM):
    browser.wait_for("the program", f"document.querySelector('#programs button[title=\"{program}\"]') !== null")
    browser.click(f'#programs button[title="{program}"]')
    browser.wait_for("its calls", "document.querySelectorAll('.node').length > 0")


def test_a_program_its_graph_and_why_its_calls_wait(stack, browser):
    with load(stack):
        choose(browser)
        browser.wait_for("the waiting calls", f"document.querySelectorAll('.node.pending').length === {OPEN - 1}")
        [row] = [row.split("\t") for row in browser.texts("#programs tbody tr")]
        assert row[:3] == [PROGRAM, "anonymous", "live"] and row[4:7] == [str(OPEN - 1), "1", str(len(ENDED))], row

        assert len(browser.texts(".node")) == len(ENDED) + OPEN
        assert len(browser.texts(".edge")) == EDGES + OPEN
        assert len(browser.texts(".node.completed")) == len(ENDED) and len(browser.texts(".node.running")) == 1
        lanes = browser.run("[...document.querySelectorAll('.lane')].map((one) => one.lastChild.data)")
        assert lanes[:3] == ["main", "look", "read"] and sorted(lanes[3:]) == [f"step-{n}" for n in range(OPEN)]

        reasons = {call["id"]: call["explain"]["reason"] for call in stack.program("agents%2Ftrip-7")["calls"] if call["explain"]}
        assert len(reasons) == OPEN - 1
        for place in ["#waiting li", "#models li"]:
            told = browser.texts(place)
            for call, reason in reasons.items():
                assert any(text.startswith(f"{call} of {PROGRAM} {reason} · ") for text in told), (place, call, reason, told)
        assert "it is in an engine, and waits for a slot there" in browser.text("#models") or "calls before it: " in browser.text("#models")
        [engine] = [row.split("\t") for row in browser.texts("#engines tbody tr")]
        assert (engine[0], engine[1].strip()) == ("demo-0", "1/1"), engine
        assert "1 programs" in browser.text("#figures")
        browser.click("#close")
        browser.wait_for("the program to be left", "document.querySelector('#chosen').hidden")


def test_names_are_text(stack, browser):
    """No id that the router takes has a bracket in it; the page does not rely on that."""
    with load(stack):
        choose(browser)
        browser.run("""(() => {
            const evil = (value) => typeof value === "string" ? `${value}<img src=x onerror="hit=1"><script>hit=1</script>`
                : Array.isArray(value) ? value.map(evil)
                : value && typeof value === "object" ? Object.fromEntries(Object.entries(value).map(([name, of]) => [name, evil(of)])) : value;
            const honest = window.fetch;
            window.fetch = async (...of) => {
                const answer = await honest(...of);
                const said = evil(await answer.json());
                return { ok: answer.ok, status: answer.status, json: async () => said };
            };
        })()""")
        for place in ["#programs tbody", "#chosen-told", "#waiting", "#models", "#engines tbody", "#version"]:
            browser.wait_for(f"markup as text in {place}", f"document.querySelector('{place}').innerText.includes('<img src=x')")
        assert browser.run("[document.images.length, document.scripts.length, typeof hit]") == [0, 1, "undefined"]


def test_what_a_key_opens_a_keyboard_opens(stack, browser):
    with load(stack):
        browser.wait_for("the program", "document.querySelector('#programs td button') !== null")
        focus = "document.activeElement.title"
        for _ in range(20):
            if browser.run(focus) == PROGRAM:
                break
            browser.press("Tab", 9)
        browser.press("Enter", 13)
        browser.wait_for("its calls", "document.querySelectorAll('.node').length > 0")
        before = len(browser.requests)
        wait_for("other answers", lambda: browser.run("1") and len(browser.requests) > before + 2)
        assert browser.run(focus) == PROGRAM, "the focus is lost when the page is drawn anew"
        assert browser.run("document.activeElement.getAttribute('aria-pressed')") == "true"


def test_the_first_of_many_programs_and_how_many_there_are(stack, browser):
    many = [f"many-{n}" for n in range(130)]
    for program in many:
        assert stack.post("/v1/programs", {"id": program})[0] == 201
    browser.wait_for("the list", "document.querySelector('#programs-told').innerText === 'the first 100, and 30 more'")
    assert len(browser.texts("#programs tbody tr")) == 100
    browser.click("th[data-sort=arrival] button")
    browser.wait_for("another order", "document.querySelector('th[data-sort=arrival]').ariaSort === 'descending'")
    assert browser.text("#programs tbody tr td") == many[0]
    for program in many:
        stack.post(f"/v1/programs/{program}/end", {})
    browser.wait_for("their ends", "document.querySelector('#programs tbody').innerText === 'no programs'")
    browser.click("#ended")
    browser.wait_for("ended programs", "document.querySelector('#programs tbody .ended') !== null")


@pytest.mark.parametrize("width", [400, 800, 1600])
def test_the_page_fits(stack, browser, width):
    with load(stack):
        choose(browser)
        browser.resize((width, 800))
        assert browser.run("document.documentElement.scrollWidth") == width


def test_a_router_that_was_killed_is_seen_again(tmp_path):
    with Stack(tmp_path, RESOURCE) as stack, Browser() as browser:
        assert ask(stack, "before", "b1", "main", None, 1) == 200
        browser.open(page(stack))
        choose(browser, "before")
        stack.end(signal.SIGKILL)
        browser.wait_for("the page to say so", "document.querySelector('#link').innerText.startsWith('the router does not answer; this is what it said last')")
        assert "before" in browser.text("#programs")
        stack.launch()
        wait_live(browser)
        browser.wait_for("the new router's programs", "document.querySelector('#programs tbody').innerText === 'no programs'")
        assert "nothing is known of it" in browser.text("#chosen-told")
        assert ask(stack, "after", "a1", "main", None, 1) == 200
        browser.wait_for("the next program", "document.querySelector('#programs tbody').innerText.startsWith('after')")
        assert browser.problems == []


def test_a_key_is_asked_for_and_kept_in_the_tab_only(tmp_path):
    keys = Keys(tmp_path / "keys.yaml")
    keys.make("ops", "ops", "admin")
    keys.make("scraper", "ops", "metrics")
    keys.write("ops", "scraper")
    shown = "!document.querySelector('#main').hidden"
    with (Stack(tmp_path, RESOURCE, arguments=["--keys", keys.path], key=keys.secret["ops"]) as stack, Browser() as browser):
        assert ask(stack, "secret", "s1", "main", None, 1) == 200
        browser.open(page(stack))
        for key, told in [(None, "an API key is needed"), ("wrong", "not known here"), (keys.secret["scraper"], "the role admin")]:
            if key:
                browser.click("#key-text")
                browser.write(key)
                browser.press("Enter", 13)
            browser.wait_for(f"{told!r}", f"document.querySelector('#link').innerText.includes('{told}')")
            assert not browser.run(shown) and "secret" not in browser.text("body")
        browser.click("#key-text")
        browser.write(keys.secret["ops"])
        browser.press("Enter", 13)
        browser.wait_for("the programs", shown)
        assert "secret" in browser.text("#programs")
        assert browser.run("[localStorage.length, document.cookie]") == [0, ""]
        assert not any(key in url for url in browser.requests for key in keys.secret.values())
        assert browser.problems == []


def luminance(colour):
    channels = [int(digit * (2 if len(colour) == 3 else 1), 16) / 255 for digit in re.findall("." if len(colour) == 3 else "..", colour)]
    red, green, blue = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_on_its_ground(scheme):
    """The contrast that WCAG 2 asks for in its level AA."""
    style = (ROOT / "router/src/http/ui/ui.css").read_text()
    colours = dict(re.findall(r"--([\w-]+): #(\w+);", style.split(":root {")[1 if scheme == "light" else 2].split("}")[0]))
    states = ["pending", "running", "completed", "failed"]
    pairs = [(text, ground) for text in ["text", "quiet", "strong", *states] for ground in ["panel", "shade", "ground"]]
    pairs += [(text, f"{state}-ground") for state in states for text in ["text", state]]
    for text, ground in pairs:
        low, high = sorted(luminance(colours[name]) for name in [text, ground])
        assert (high + 0.05) / (low + 0.05) >= 4.5, json.dumps([scheme, text, ground])
