"""Bars and curves as SVG, in panels. Knows nothing of what is drawn."""
import statistics

COLOURS = ["#d62728", "#1f77b4", "#2ca02c", "#98df8a", "#7f7f7f", "#9467bd", "#8c564b", "#e377c2"]
# Of a bar and its number, at least, and of a panel.
PLACE, LEAST = 44, 240
HEIGHT, LEFT, TOP, GAP, COLUMNS = 130, 24, 84, 58, 3
NAME, LINE = 172, 22


def element(name, text="", **attributes):
    inside = "".join(f' {key.replace("_", "-")}="{value}"' for key, value in attributes.items())
    return f"<{name}{inside}>{text}</{name}>" if text else f"<{name}{inside}/>"


def short(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def panel_width(arms):
    return max(LEAST, PLACE * len(arms))


def panel(title, values, limit, arms, x, y):
    """A bar an arm: the median, with a line from the least to the most; `limit` is a broken line."""
    highest = max([limit or 0, *(most for each in values.values() for most in each)], default=0) * 1.15 or 1
    up = lambda value: y + HEIGHT * (1 - value / highest)
    width = panel_width(arms)
    place = width / len(arms)
    parts = [element("text", title, x=x, y=y - 8, font_weight="bold"),
             element("line", x1=x, x2=x + width, y1=y + HEIGHT, y2=y + HEIGHT, stroke="#888888")]
    for index, arm in enumerate(arms):
        left, wide = x + index * place + place * 0.14, place * 0.72
        middle = left + wide / 2
        if not values[arm]:
            parts.append(element("text", "not run", x=f"{middle:.1f}", y=y + HEIGHT - 5, text_anchor="middle", fill="#999999",
                                 font_size=9))
            continue
        median = statistics.median(values[arm])
        parts += [element("rect", x=f"{left:.1f}", y=f"{up(median):.1f}", width=f"{wide:.1f}",
                          height=f"{y + HEIGHT - up(median):.1f}", fill=COLOURS[index % len(COLOURS)]),
                  element("text", short(median), x=f"{middle:.1f}", y=y + HEIGHT + 14, text_anchor="middle")]
        if len(values[arm]) > 1:
            parts.append(element("line", x1=f"{middle:.1f}", x2=f"{middle:.1f}", y1=f"{up(min(values[arm])):.1f}",
                                 y2=f"{up(max(values[arm])):.1f}", stroke="#222222"))
    if limit:
        parts.append(element("line", x1=x, x2=x + width, y1=f"{up(limit):.1f}", y2=f"{up(limit):.1f}", stroke="#222222",
                             stroke_dasharray="5 3"))
    return parts


def bars(title, panels, arms):
    """`panels`: (title, {arm: values}, limit or None)."""
    pitch = panel_width(arms) + GAP
    width = LEFT + COLUMNS * pitch
    # Names stand in as many lines as they need.
    names = (width - LEFT) // NAME
    top = TOP + (-(-len(arms) // names) - 1) * LINE
    parts = [element("text", title, x=LEFT, y=20, font_size=14)]
    for index, arm in enumerate(arms):
        x, y = LEFT + index % names * NAME, 34 + index // names * LINE
        parts += [element("rect", x=x, y=y, width=12, height=12, fill=COLOURS[index % len(COLOURS)]),
                  element("text", arm, x=x + 18, y=y + 11)]
    for index, (title, values, limit) in enumerate(panels):
        x = LEFT + index % COLUMNS * pitch
        parts += panel(title, values, limit, arms, x, top + index // COLUMNS * (HEIGHT + GAP))
    height = top + -(-len(panels) // COLUMNS) * (HEIGHT + GAP)
    return drawn(parts, width, height)


def curves(title, panels):
    """`panels`: (title, {name: [(across, up)]}), each from zero up."""
    pitch = LEAST + LEFT + GAP
    parts = [element("text", title, x=LEFT, y=20, font_size=14)]
    for index, (name, lines) in enumerate(panels):
        x, y = 2 * LEFT + index % COLUMNS * pitch, TOP + index // COLUMNS * (HEIGHT + GAP)
        widest = max((across for points in lines.values() for across, _ in points), default=0) or 1
        highest = max((value for points in lines.values() for _, value in points), default=0) * 1.15 or 1
        parts += [element("text", name, x=x, y=y - 24, font_weight="bold"),
                  element("rect", x=x, y=y, width=LEAST, height=HEIGHT, fill="none", stroke="#cccccc"),
                  element("text", short(highest), x=x - 4, y=y + 10, text_anchor="end", font_size=10),
                  element("text", short(widest), x=x + LEAST, y=y + HEIGHT + 14, text_anchor="end", font_size=10)]
        for place, (line, points) in enumerate(lines.items()):
            path = " ".join(f"{x + LEAST * across / widest:.1f},{y + HEIGHT * (1 - value / highest):.1f}" for across, value in points)
            parts += [element("polyline", points=path, fill="none", stroke=COLOURS[place], stroke_width=1.5),
                      element("text", line, x=x + 110 * place, y=y - 8, fill=COLOURS[place], font_size=10)]
    height = TOP + -(-len(panels) // COLUMNS) * (HEIGHT + GAP)
    return drawn(parts, LEFT + COLUMNS * pitch, height)


def drawn(parts, width, height):
    style = 'font-family="DejaVu Sans, Helvetica, sans-serif" font-size="12" fill="#222222"'
    body = "\n".join([element("rect", width=width, height=height, fill="#ffffff"), *parts])
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {style}>\n{body}\n</svg>\n'
