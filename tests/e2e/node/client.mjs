// OpenAI's own client for Node, unchanged: client.mjs SCENARIO. Prints one line of JSON: what the client had of it.

import OpenAI from "openai";

const calls = [];
const client = new OpenAI({
  maxRetries: 0,
  // Only looks at what comes: which call of which program it was.
  fetch: async (...request) => {
    const answer = await fetch(...request);
    calls.push({ program: answer.headers.get("x-program-id"), call: answer.headers.get("x-call-id") });
    return answer;
  },
});

const QUESTION = { model: "demo", temperature: 0, max_tokens: 48, messages: [{ role: "user", content: "What is a block?" }] };
const ENDLESS = { ...QUESTION, max_tokens: 1500, ignore_eos: true };
const CALCULATOR = {
  type: "function",
  function: {
    name: "calculator",
    description: "Computes an arithmetic expression",
    parameters: { type: "object", properties: { expression: { type: "string" } }, required: ["expression"] },
    parse: JSON.parse,
    function: ({ expression }) => {
      const [left, right] = expression.split("*").map(Number);
      return String(left * right);
    },
  },
};
const WRONG = {
  model: { ...QUESTION, model: "nope" },
  temperature: { ...QUESTION, temperature: -1 },
  prompt: { ...QUESTION, messages: [{ role: "user", content: "word ".repeat(4000) }] },
  messages: { ...QUESTION, messages: [] },
};

const scenarios = {
  async chat() {
    const { choices, usage } = await client.chat.completions.create(QUESTION);
    return { text: choices[0].message.content, finish: choices[0].finish_reason, usage };
  },

  async stream() {
    const chunks = [];
    const stream = await client.chat.completions.create({
      ...QUESTION, stream: true, stream_options: { include_usage: true },
    });
    for await (const chunk of stream) chunks.push(chunk);
    const choices = chunks.flatMap((chunk) => chunk.choices);
    return {
      text: choices.map((choice) => choice.delta.content ?? "").join(""),
      finish: choices.map((choice) => choice.finish_reason).filter(Boolean).join(),
      usage: chunks.at(-1).usage,
      ids: new Set(chunks.map((chunk) => chunk.id)).size,
    };
  },

  agent: () => agent({}),
  streamingAgent: () => agent({ stream: true }),

  async abortStream() {
    const stream = await client.chat.completions.create({ ...ENDLESS, stream: true });
    let pieces = 0;
    for await (const _ of stream) {
      if (++pieces === 3) stream.controller.abort();
    }
    return { pieces };
  },

  // Ends when its standard input does: whoever started it knows when the call runs.
  async abortAnswer() {
    const abort = new AbortController();
    process.stdin.resume().on("end", () => abort.abort());
    const headers = { "x-program-id": "node-abort", "x-call-id": "node-abort-call" };
    return client.chat.completions.create(ENDLESS, { signal: abort.signal, headers }).then(
      () => ({ error: null }),
      (error) => ({ error: error.constructor.name }),
    );
  },

  async errors() {
    const seen = {};
    for (const [name, body] of Object.entries(WRONG)) {
      for (const stream of [false, true]) {
        const error = await client.chat.completions.create({ ...body, stream }).then(() => null, (error) => error);
        seen[`${name} ${stream ? "streamed" : "plain"}`] = error && {
          kind: error.constructor.name, status: error.status, code: error.code, type: error.type, param: error.param,
          message: error.message,
        };
      }
    }
    return seen;
  },
};

async function agent(how) {
  const results = [];
  const runner = client.chat.completions.runTools({
    model: "demo", temperature: 0, messages: [{ role: "user", content: "What is 17 * 23?" }], tools: [CALCULATOR], ...how,
  });
  runner.on("functionToolCallResult", (result) => results.push(result));
  return { text: await runner.finalContent(), results };
}

const said = await scenarios[process.argv[2]]();
console.log(JSON.stringify({ ...said, calls }));
