/** Numbers in [0, 1), the same ones for the same seed: whoever makes the same edits has the same state. */
export function seededRandom(seed) {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) | 0; // mulberry32
    let t = Math.imul(a ^ (a >>> 15), a | 1);
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const upTo = (random, limit) => Math.floor(random() * limit);
const oneOf = (random, list) => list[upTo(random, list.length)];

const letters = seededRandom(7);
const words = Array.from({ length: 4_000 }, () =>
  Array.from({ length: 2 + upTo(letters, 9) }, () => oneOf(letters, 'eeetttaaoinshrdlucmfwypvbgk')).join(''),
);

/** Words without end, as long as asked for, and never the same twice. */
function text(random, length) {
  let made = '';
  while (made.length < length) made += `${oneOf(random, words)}${random() < 0.08 ? '. ' : ' '}`;
  return made.slice(0, Math.ceil(length));
}

const tools = ['search', 'read_file', 'run_tests', 'fetch_page', 'query_orders'];

/**
 * A chat message of about `bytes` bytes on average: a user's is short, an assistant's may call tools, what a tool found
 * may be long. Plain JSON, so that savers that keep nothing else are not asked for more.
 */
export function messageOf(random, bytes) {
  const scale = Math.max(60, (bytes - 330) / 0.745); // What makes it `bytes` long, with its ids, numbers and names.
  const id = `msg_${upTo(random, 2 ** 32).toString(36)}`;
  const createdAtMs = 1_790_000_000_000 + upTo(random, 1e9);
  const kind = random();
  if (kind < 0.25) return { id, role: 'user', content: text(random, scale * (0.1 + random())), createdAtMs };
  if (kind < 0.65) {
    const content = text(random, scale * (0.2 + random()));
    const call = () => ({ id: `call_${upTo(random, 2 ** 32)}`, tool: oneOf(random, tools), query: text(random, 60) });
    const toolCalls = Array.from({ length: upTo(random, 3) }, call);
    const usage = { promptTokens: upTo(random, 9_000), completionTokens: upTo(random, 900), costUsd: random() / 100 };
    return { id, role: 'assistant', content, toolCalls, usage, createdAtMs };
  }
  const rows = Array.from({ length: 1 + upTo(random, 8) }, (_, row) => ({
    row,
    score: random(),
    title: text(random, 30),
    excerpt: text(random, (scale / 4) * (0.2 + 1.2 * random())),
  }));
  const result = { ok: random() < 0.95, tookMs: upTo(random, 4_000), rows };
  return { id, role: 'tool', callId: `call_${upTo(random, 2 ** 32)}`, result, createdAtMs };
}

function planOf(random, steps, depth = 2) {
  return {
    goal: text(random, 80),
    isDone: random() < 0.5,
    steps: Array.from({ length: steps }, (_, at) => ({
      title: text(random, 40),
      attempts: upTo(random, 4),
      ...(depth > 0 && at % 4 === 0 ? { plan: planOf(random, steps >> 1, depth - 1) } : {}),
    })),
  };
}

const messageBytes = (stateBytes) => Math.min(1_000, stateBytes / 8);

/** An agent's state of about `sizeBytes`: messages, a nested plan, counters, a wide map of facts. */
export function agentState(sizeBytes, seed = 1) {
  const random = seededRandom(seed);
  const facts = {};
  const wide = Math.max(4, Math.ceil(sizeBytes / 2_500));
  for (let n = 0; n < wide; n++)
    facts[`fact ${n} of ${oneOf(random, words)}`] = { says: text(random, 50), sure: random() };
  const counters = { turns: 0, toolCalls: 0, tokens: 0 };
  const state = { counters, facts, plan: planOf(random, Math.min(16, 1 + (sizeBytes >> 11))), messages: [] };
  let left = sizeBytes - JSON.stringify(state).length;
  while (left > 0) {
    const message = messageOf(random, messageBytes(sizeBytes));
    state.messages.push(message);
    left -= JSON.stringify(message).length + 1;
  }
  return state;
}

/** What agents do to states of that size: the part it happens to, and how it is done in place. */
export function editsOf(stateBytes) {
  const newMessage = (random) => messageOf(random, messageBytes(stateBytes));
  return {
    'append a message': { part: 'messages', change: (messages, random) => messages.push(newMessage(random)) },
    'edit an old message': {
      part: 'messages',
      change: (messages, random) => {
        const at = upTo(random, messages.length / 2);
        messages[at] = { ...messages[at], summary: text(random, 200) };
      },
    },
    'drop the oldest message': { part: 'messages', change: (messages) => messages.shift() },
    'prepend a message': { part: 'messages', change: (messages, random) => messages.unshift(newMessage(random)) },
    'one entry of a wide map': {
      part: 'facts',
      change: (facts, random) => {
        facts[oneOf(random, Object.keys(facts))] = { says: text(random, 50), sure: random() };
      },
    },
    'one counter': { part: 'counters', change: (counters) => counters.turns++ },
    nothing: undefined,
  };
}

/** The state after an edit, without touching the one before: what is not edited is the very same object in both. */
export function edited(state, edit, random) {
  if (edit === undefined) return state;
  const part = Array.isArray(state[edit.part]) ? [...state[edit.part]] : { ...state[edit.part] };
  edit.change(part, random);
  return { ...state, [edit.part]: part };
}
