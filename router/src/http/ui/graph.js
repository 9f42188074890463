// Draws a program's calls: a lane for each thread, from left to right what depends on what. It knows nothing of the page.

const [WIDTH, HEIGHT, ACROSS, DOWN, LANE] = [132, 32, 168, 40, 92];
const LETTERS = 19;
const SVG = "http://www.w3.org/2000/svg";

function made(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) if (value !== "") node.setAttribute(name, value);
  // A text among the children becomes a text node, whatever is in it.
  node.append(...children);
  return node;
}

export const element = (tag, attributes, ...children) => made(document.createElement(tag), attributes, children);
const shape = (tag, attributes, ...children) => made(document.createElementNS(SVG, tag), attributes, children);

// Names that begin alike differ at their ends, so the middle is left out.
function cut(text, letters) {
  const half = Math.floor((letters - 1) / 2);
  return text.length > letters ? `${text.slice(0, letters - 1 - half)}…${text.slice(-half)}` : text;
}

// Calls with their parents among those that are drawn: those that they name, or else the call before on their thread. A
// name may come again, when its call has ended: it means the last one then.
function linked(calls) {
  const [named, last] = [new Map(), new Map()];
  return calls.map((call) => {
    const before = last.has(call.thread) ? [last.get(call.thread)] : [];
    const parents = call.parents?.map((id) => named.get(id)).filter(Boolean) ?? before;
    const node = { call, parents };
    named.set(call.id, node);
    last.set(call.thread, node);
    return node;
  });
}

// Places each node: its column by the longest way from a root, its row by its thread; nodes of a thread that would lie on
// each other have rows of their own. Parents stand before their children, in order of arrival.
function place(nodes) {
  const lanes = new Map();
  for (const node of nodes) {
    node.column = Math.max(-1, ...node.parents.map((parent) => parent.column)) + 1;
    if (!lanes.has(node.call.thread)) lanes.set(node.call.thread, []);
    const rows = lanes.get(node.call.thread);
    const free = rows.find((row) => !row.some((other) => other.column === node.column));
    free ? free.push(node) : rows.push([node]);
  }
  let y = 0;
  const titles = [];
  for (const [thread, rows] of lanes) {
    titles.push([thread, y]);
    for (const row of rows) {
      for (const node of row) [node.x, node.y] = [LANE + node.column * ACROSS, y];
      y += DOWN;
    }
  }
  return { titles, width: Math.max(...nodes.map((node) => node.x)) + WIDTH, height: y };
}

function edge(from, to) {
  const [x1, x2] = [from.x + WIDTH, to.x];
  const [y1, y2, half] = [from.y + HEIGHT / 2, to.y + HEIGHT / 2, (x1 + x2) / 2];
  return shape("path", { class: "edge", d: `M${x1} ${y1}C${half} ${y1} ${half} ${y2} ${x2} ${y2}` });
}

function box({ call, x, y }, duration) {
  const [why, time] = call.explain ? [call.explain.reason, call.explain.for_us] : [call.state, call.service_us];
  const told = `${why} ${duration(time)}`;
  const label = `${call.id}: ${told}${call.engine ? `, ${call.engine}` : ""}`;
  const place = `translate(${x} ${y})`;
  return shape("g", { class: `node ${call.state}`, role: "listitem", transform: place, "aria-label": label },
    shape("title", {}, label),
    shape("rect", { width: WIDTH, height: HEIGHT, rx: 4 }),
    shape("text", { x: 7, y: 13 }, cut(call.id, LETTERS)),
    shape("text", { class: "why", x: 7, y: 26 }, told));
}

// The drawing of the last calls of so many, and what is to be said of it.
export function drawn(calls, count, duration) {
  const nodes = linked(calls);
  if (!nodes.length) return [];
  const { titles, width, height } = place(nodes);
  const lane = ([thread, y]) =>
    shape("text", { class: "lane", x: 0, y: y + HEIGHT / 2 + 4 }, shape("title", {}, thread), cut(thread, 13));
  const edges = nodes.flatMap((node) => node.parents.map((parent) => edge(parent, node)));
  const size = { width: width + 2, height, viewBox: `-1 -1 ${width + 2} ${height}` };
  const picture = shape("svg", { ...size, role: "list", "aria-label": "calls" },
    ...titles.map(lane), ...edges, ...nodes.map((node) => box(node, duration)));
  const left = count - nodes.length;
  return left ? [element("p", { class: "told" }, `${left} calls before these are not drawn`), picture] : [picture];
}
