#!/usr/bin/env python3
"""The picture of docs/operations.md: `lps top` before two engines under load, drawn from what is on its terminal.

    LPS_TEST_BIN=FOLDER "$(scripts/venv.sh venv-tests tests/e2e/requirements.txt)"/bin/python scripts/top_picture.py OUT.svg
"""
import concurrent.futures
import html
import itertools
import pathlib
import re
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests/e2e"))

from stack import BIN, Stack, manifest, wait_for  # noqa: E402
from terminal import Terminal  # noqa: E402

# Of each its tenant and its calls.
PROGRAMS = {"report-7": ("docs", 5), "review-12": ("code", 4), "agents/search-3": ("code", 6), "chat-41": ("docs", 1),
            "best-of-8": ("docs", 8)}
TEXT, GROUND = "#d8dee9", "#1e222a"
WIDTH, HEIGHT = 8.4, 18


def style(cell):
    """Colours of a cell: (text, ground, weight)."""
    text = TEXT if cell.fg == "default" else {"brown": "#cdcd00"}.get(cell.fg, cell.fg if cell.fg.isalpha() else f"#{cell.fg}")
    return (GROUND, text, "normal") if cell.reverse else (text, GROUND, "bold" if cell.bold else "normal")


def line(cells, row):
    """One line of the screen: a text for each run of cells of one style, on its ground."""
    drawn, x = "", 0
    for (text, ground, weight), run in itertools.groupby(cells, style):
        run = "".join(cell.data for cell in run)
        if ground != GROUND:
            drawn += f'<rect x="{x * WIDTH:.1f}" y="{row * HEIGHT}" width="{len(run) * WIDTH:.1f}" height="{HEIGHT}" fill="{ground}"/>'
        if shown := run.rstrip():
            drawn += (f'<text x="{x * WIDTH:.1f}" y="{row * HEIGHT + 13}" textLength="{len(shown) * WIDTH:.1f}" fill="{text}" '
                      f'font-weight="{weight}" xml:space="preserve">{html.escape(shown)}</text>')
        x += len(run)
    return drawn


def picture(screen):
    """The screen as SVG text."""
    rows = [[screen.buffer[row][column] for column in range(screen.columns)] for row in range(screen.lines)]
    width, height = screen.columns * WIDTH + 20, screen.lines * HEIGHT + 20
    body = "\n".join(line(cells, row) for row, cells in enumerate(rows))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" font-family="monospace" font-size="14">\n'
            f'<rect width="100%" height="100%" rx="6" fill="{GROUND}"/>\n<g transform="translate(10 10)">\n{body}\n</g>\n</svg>\n')


def ask(stack, program, call, tokens):
    body = {"model": "demo", "prompt": "x", "max_tokens": tokens, "ignore_eos": True}
    headers = {"x-program-id": program, "x-call-id": f"{program}.{call}", "x-thread-id": f"step-{call}"}
    return stack.post("/v1/completions", body, headers | of_tenant(program))


def of_tenant(program):
    tenant, _ = PROGRAMS[program]
    return {"x-tenant-id": tenant}


def main(out):
    resource = manifest(builtin="sim", engines=2, slots=4, extraArgs=["--sim-step-us", "5000"])
    with (tempfile.TemporaryDirectory() as folder, Stack(folder, resource) as stack,
          concurrent.futures.ThreadPoolExecutor(32) as pool):
        for program in PROGRAMS:
            ask(stack, program, "plan", 60)
        for program, (_, calls) in PROGRAMS.items():
            for call in range(calls):
                pool.submit(ask, stack, program, call, 30_000)
        calls = sum(calls for _, calls in PROGRAMS.values())
        wait_for("the calls", lambda: stack.get("/v1/models")["data"][0]["calls"]["waiting"] == calls - 8)
        with Terminal(BIN / "lps", "top", "--url", stack.url, size=(132, 16)) as terminal:
            terminal.wait_for("OLDEST", "TENANT", *PROGRAMS)
            wait_for("a wait of seconds", lambda: re.search(r" [3-9]\.\d\d s ", terminal.lines()[2]))
            pathlib.Path(out).write_text(picture(terminal.screen))
            terminal.press(b"q")
            terminal.end()
        for program in PROGRAMS:
            stack.post(f"/v1/programs/{program}/cancel", {}, of_tenant(program))


main(*sys.argv[1:])
