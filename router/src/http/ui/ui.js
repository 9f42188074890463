// Asks the router for what it knows, once a second, and shows it. Everything from outside is set as text, never as
// markup: clients choose their names. A router that is away is said to be away, and asked again.

import { drawn, element } from "./graph.js";

const PERIOD_MS = 1000;
const LIMIT_MS = 5000;
const KEY = "lps-key";

const at = (id) => document.getElementById(id);
const asked = { sort: "wait", ended: false, tenant: null, program: null };
let reasons = {};
let hasSaid = false;
let wake = () => {};

// Microseconds in words of at most seven letters.
export function duration(us) {
  const s = us / 1e6;
  if (s < 0.9995) return `${Math.round(us / 1000)} ms`;
  if (s < 60) return `${s.toFixed(s < 10 ? 2 : 1)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} m ${Math.floor(s % 60)} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} m`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

const cell = (text, kind = "") => element("td", { class: kind }, text);
const number = (value, kind = "") => cell(String(value), `number ${kind}`);
const few = (value, kind) => number(value, value ? kind : "none");

// A part of a whole, drawn and written.
function part(used, of, text) {
  const bar = element("span", {});
  bar.style.width = `${of ? Math.min(100, (100 * used) / of) : 0}%`;
  return element("td", {}, element("span", { class: "bar", "aria-hidden": "true" }, bar), of ? text : "–");
}

// A table's rows, or that it has none; the button that has the focus keeps it.
function fill(table, rows, none) {
  const focus = document.activeElement?.dataset.key;
  const empty = element("tr", {}, element("td", { class: "empty", colspan: "11" }, none));
  table.replaceChildren(...(rows.length ? rows : [empty]));
  if (focus === undefined) return;
  [...table.querySelectorAll("button")].find((one) => one.dataset.key === focus)?.focus({ preventScroll: true });
}

const keyOf = (tenant, program) => JSON.stringify([tenant, program]);

function programRow(program) {
  const calls = program.call_counts;
  const wait = program.first_call?.wait;
  const key = keyOf(program.tenant, program.id);
  const isChosen = key === keyOf(asked.tenant, asked.program);
  const button = element("button", { "data-key": key, "aria-pressed": String(isChosen), title: program.id }, program.id);
  button.addEventListener("click", () => choose(isChosen ? null : program));
  return element("tr", { class: isChosen ? "chosen" : "" },
    element("td", {}, button),
    cell(program.tenant, "wide"),
    cell(program.state, program.state),
    wait ? cell(`${wait.reason} · ${duration(wait.wait_us)}`, "pending") : cell("–", "none"),
    few(calls.pending, "pending"),
    few(calls.running, "running"),
    few(calls.completed + calls.cancelled + calls.failed, calls.failed ? "failed" : ""),
    number(duration(program.wait_total_us)),
    number(duration(program.service_total_us)),
    number(duration(program.critical_path_us), "wide"),
    number(duration(program.age_us)));
}

function engineRow(engine) {
  const drains = engine.draining ? [element("span", { class: "draining" }, " drains")] : [];
  const { blocks_used: used, blocks_total: blocks } = engine.kv;
  return element("tr", {},
    element("td", { title: engine.url }, engine.id, ...drains),
    part(engine.load.running, engine.slots, `${engine.load.running}/${engine.slots}`),
    few(engine.load.waiting, "pending"),
    part(used, blocks, `${((100 * used) / blocks).toFixed(1)} %`),
    number(engine.home_programs),
    cell(engine.model, "wide"));
}

// Why a call waits, in words.
function waits(call) {
  const why = call.explain;
  const told = [reasons[why.reason] ?? ""];
  if (why.position !== null) told.push(`calls before it: ${why.position}`);
  if (why.engine !== null) told.push(`engine ${why.engine}`);
  return element("li", {},
    element("b", {}, call.id), ` of ${call.program} `,
    element("span", { class: "reason" }, `${why.reason} · ${duration(why.for_us)}`),
    element("span", { class: "why" }, told.join("; ")));
}

function modelQueue(model) {
  const { waiting, running, oldest_wait_us: oldest } = model.calls;
  const told = `${waiting} waiting, ${running} running${oldest === null ? "" : `, the oldest for ${duration(oldest)}`}`;
  const more = waiting - model.queue.length;
  const rest = more > 0 ? [element("li", { class: "none" }, `… ${more} more`)] : [];
  return element("div", {},
    element("p", { class: "model" }, element("b", {}, model.id), ` ${told}`),
    element("ul", { class: "waits", "aria-label": `waiting calls of ${model.id}` }, ...model.queue.map(waits), ...rest));
}

function showChosen(program) {
  at("chosen").hidden = asked.program === null;
  if (asked.program === null) return;
  at("chosen-title").textContent = asked.program;
  const calls = program?.calls ?? [];
  const count = Object.values(program?.call_counts ?? {}).reduce((all, each) => all + each, 0);
  at("chosen-told").textContent = program
    ? `${program.state}, ${count} calls, tenant ${program.tenant}, class ${program.class}`
    : "nothing is known of it; the router may have started anew";
  // A new drawing begins where the old one was scrolled to.
  const graph = at("graph");
  const scroll = [graph.scrollLeft, graph.scrollTop];
  graph.replaceChildren(...drawn(calls, count, duration));
  [graph.scrollLeft, graph.scrollTop] = scroll;
  at("waiting").replaceChildren(...calls.filter((call) => call.explain).map(waits));
}

function show(said) {
  ({ reasons } = said);
  at("version").textContent = said.version;
  const { data, total } = said.programs;
  const sum = (of) => said.models.reduce((all, model) => all + model.calls[of], 0);
  const calls = `${sum("waiting")} calls waiting · ${sum("running")} running`;
  at("figures").textContent = `${total} programs · ${calls} · ${said.engines.length} engines`;
  const more = total - data.length;
  at("programs-told").textContent = more ? `the first ${data.length}, and ${more} more` : "";
  for (const title of document.querySelectorAll("th[data-sort]")) {
    if (title.dataset.sort === asked.sort) title.setAttribute("aria-sort", "descending");
    else title.removeAttribute("aria-sort");
  }
  fill(document.querySelector("#programs tbody"), data.map(programRow), "no programs");
  fill(document.querySelector("#engines tbody"), said.engines.map(engineRow), "no engines answer");
  at("models").replaceChildren(...said.models.map(modelQueue));
  showChosen(said.program);
}

// Says how it stands between this page and the router.
function link(state, text) {
  at("link").className = state;
  // Only what is new is read out.
  if (at("link").textContent !== text) at("link").textContent = text;
  at("main").className = state === "bad" ? "old" : "";
}

function askKey(why) {
  at("key").hidden = false;
  at("main").hidden = true;
  link("bad", why);
}

async function ask() {
  const query = new URLSearchParams({ sort: asked.sort, ended: asked.ended });
  if (asked.program !== null) {
    query.set("tenant", asked.tenant);
    query.set("program", asked.program);
  }
  const key = sessionStorage.getItem(KEY);
  const headers = key ? { "x-api-key": key } : {};
  const answer = await fetch(`ui/state?${query}`, { headers, signal: AbortSignal.timeout(LIMIT_MS) });
  const said = await answer.json();
  if (answer.ok) return said;
  const problem = new Error(said.error?.message ?? `the router answers ${answer.status}`);
  problem.needsKey = [401, 403].includes(answer.status);
  throw problem;
}

async function turn() {
  const before = JSON.stringify(asked);
  try {
    const said = await ask();
    // What was chosen meanwhile is asked for at once.
    if (before !== JSON.stringify(asked)) return wake();
    [at("key").hidden, at("main").hidden] = [true, false];
    hasSaid = true;
    show(said);
    link("good", "live");
  } catch (problem) {
    if (problem.needsKey) return askKey(problem.message);
    const shown = hasSaid ? "; this is what it said last" : "";
    link("bad", `the router does not answer${shown}; asking again`);
  }
}

async function run() {
  for (;;) {
    let hasWoken = false;
    const woken = new Promise((resolve) => { wake = () => { hasWoken = true; resolve(); }; });
    if (!document.hidden) await turn();
    if (!hasWoken) await Promise.race([woken, new Promise((resolve) => setTimeout(resolve, PERIOD_MS))]);
  }
}

function choose(program) {
  [asked.tenant, asked.program] = program ? [program.tenant, program.id] : [null, null];
  wake();
}

at("close").addEventListener("click", () => choose(null));
at("ended").addEventListener("change", (event) => { asked.ended = event.target.checked; wake(); });
for (const title of document.querySelectorAll("th[data-sort]")) {
  title.querySelector("button").addEventListener("click", () => { asked.sort = title.dataset.sort; wake(); });
}
at("key").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY, at("key-text").value);
  at("key-text").value = "";
  wake();
});
document.addEventListener("visibilitychange", () => wake());
run();
