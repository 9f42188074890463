#!/usr/bin/env python3
"""The picture of docs/scheduling.md: token latency against load, a panel for each workload.

    scheduling_picture.py CURVES.csv OUT.svg

CURVES.csv is what scheduling_study.py writes. All policies have a working set but for the grey line, FCFS without one.
"""
import csv
import math
import statistics
import sys

LINES = [("fcfs", "off", "#7f7f7f", "FCFS, no working set"), ("fcfs", "on", "#1f77b4", "FCFS"), ("mlfq", "on", "#8c564b", "MLFQ"),
         ("program-fcfs", "on", "#9467bd", "program-FCFS"), ("atlas", "on", "#d62728", "ATLAS"), ("gittins", "on", "#2ca02c", "Gittins"),
         ("srpt", "on", "#111111", "SRPT (is told the sizes)")]
WIDTH, HEIGHT, LEFT, TOP, GAP = 210, 170, 52, 52, 66


def element(name, text="", **attributes):
    inside = "".join(f' {key.replace("_", "-")}="{value}"' for key, value in attributes.items())
    return f"<{name}{inside}>{text}</{name}>" if text else f"<{name}{inside}/>"


def dashes(policy):
    """What nobody can have is drawn broken."""
    return {"stroke_dasharray": "5 3"} if policy == "srpt" else {}


def panel(name, rows, x, y):
    """One workload: its axes and lines; time is drawn by its logarithm."""
    loads = sorted({float(row["load"]) for row in rows})

    def values(policy, on, load):
        return [float(row["token_latency_s"]) for row in rows
                if (row["policy"], row["working_set"], float(row["load"])) == (policy, on, load)]

    means = {line: [statistics.fmean(values(line[0], line[1], load)) for load in loads] for line in LINES}
    least = min(min(points) for points in means.values())
    most = max(max(points) for points in means.values())
    low, high = math.log10(least / 1.1), math.log10(most * 1.1)
    across = lambda load: x + WIDTH * (load - loads[0]) / (loads[-1] - loads[0])
    up = lambda value: y + HEIGHT * (high - math.log10(value)) / (high - low)
    parts = [element("text", name, x=x, y=y - 8, font_size=14, font_weight="bold"),
             element("rect", x=x, y=y, width=WIDTH, height=HEIGHT, fill="none", stroke="#cccccc")]
    for power in range(math.floor(low), math.ceil(high) + 1):
        for digit in (1, 1.5, 2, 3, 5):
            value = digit * 10.0 ** power
            if low < math.log10(value) < high:
                parts += [element("line", x1=x, x2=x + WIDTH, y1=f"{up(value):.1f}", y2=f"{up(value):.1f}", stroke="#eeeeee"),
                          element("text", f"{value:g}", x=x - 6, y=f"{up(value) + 4:.1f}", text_anchor="end")]
    for load in loads:
        parts.append(element("text", f"{load:g}", x=f"{across(load):.1f}", y=y + HEIGHT + 16, text_anchor="middle"))
    parts.append(element("text", "load", x=x + WIDTH / 2, y=y + HEIGHT + 32, text_anchor="middle"))
    for line, points in means.items():
        path = " ".join(f"{across(load):.1f},{up(value):.1f}" for load, value in zip(loads, points))
        parts.append(element("polyline", points=path, fill="none", stroke=line[2], stroke_width=2, **dashes(line[0])))
        parts += [element("circle", cx=f"{across(load):.1f}", cy=f"{up(value):.1f}", r=3, fill=line[2])
                  for load, value in zip(loads, points)]
    return parts


def picture(rows):
    names = list(dict.fromkeys(row["workload"] for row in rows))
    columns = 3
    parts = []
    for number, name in enumerate(names):
        x = LEFT + (number % columns) * (WIDTH + GAP)
        y = TOP + (number // columns) * (HEIGHT + GAP + 16)
        parts += panel(name, [row for row in rows if row["workload"] == name], x, y)
    width = LEFT + columns * (WIDTH + GAP)
    lines = -(-len(names) // columns)
    height = TOP + lines * (HEIGHT + GAP + 16)
    # The legend takes the place of a panel that is not there, or stands below.
    x, y = LEFT + (len(names) % columns) * (WIDTH + GAP), TOP + (lines - 1) * (HEIGHT + GAP + 16)
    if len(names) % columns == 0:
        y, height = height, height + 24 * len(LINES)
    for number, (policy, _, colour, label) in enumerate(LINES):
        at = y + 12 + 22 * number
        parts += [element("line", x1=x, x2=x + 24, y1=at, y2=at, stroke=colour, stroke_width=2, **dashes(policy)),
                  element("text", label, x=x + 32, y=at + 4)]
    title = element("text", "Seconds of a program for each token that it was answered (logarithmic), by load", x=LEFT, y=20, font_size=14)
    style = 'font-family="DejaVu Sans, Helvetica, sans-serif" font-size="12" fill="#222222"'
    body = "\n".join([element("rect", width=width, height=height, fill="#ffffff"), title, *parts])
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {style}>\n{body}\n</svg>\n'


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[1], newline="") as file:
        rows = list(csv.DictReader(file))
    with open(sys.argv[2], "w") as file:
        file.write(picture(rows))


if __name__ == "__main__":
    main()
