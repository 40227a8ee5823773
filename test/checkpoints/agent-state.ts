/** A state as agents have them, and the edits they make to it. */
export interface AgentState {
  readonly counter: number;
  readonly plan: {
    readonly goal: string;
    readonly steps: readonly { readonly title: string; readonly isDone: boolean }[];
  };
  readonly facts: Readonly<Record<string, unknown>>;
  readonly messages: readonly Message[];
}

export interface Message {
  readonly role: string;
  readonly content: string;
  readonly calls?: readonly unknown[];
}

export type Random = () => number;

const AWKWARD = [
  undefined,
  Number.NaN,
  -0,
  12345678901234567890n,
  new Date(0),
  new Map([['a', [1]]]),
  new Set([1]),
  '\u0001',
  '\ud800',
  '€'.repeat(9),
];

export function textOf(random: Random, length: number): string {
  let text = '';
  while (text.length < length) text += `${Math.floor(random() * 1e9).toString(36)} `;
  return text;
}

export function messageOf(random: Random): Message {
  const length = random() < 0.1 ? 30_000 * random() : random() < 0.02 ? 90_000 : 900 * random();
  const calls =
    random() < 0.3 ? { calls: [{ tool: 'search', found: AWKWARD[Math.floor(random() * AWKWARD.length)] }] } : {};
  return { role: random() < 0.5 ? 'user' : 'assistant', content: textOf(random, length), ...calls };
}

export function agentState(random: Random, messages: number): AgentState {
  return {
    counter: 0,
    plan: {
      goal: textOf(random, 100),
      steps: Array.from({ length: 30 }, () => ({ title: textOf(random, 30), isDone: false })),
    },
    facts: Object.fromEntries(Array.from({ length: 300 }, (_, at) => [`fact ${at}`, textOf(random, 40)])),
    messages: Array.from({ length: messages }, () => messageOf(random)),
  };
}

/** One edit, by making what changes anew and keeping the rest, as an immutable update does. */
export function edited(state: AgentState, random: Random): AgentState {
  const { messages, facts, plan } = state;
  const at = Math.floor(random() * messages.length);
  const name = `fact ${Math.floor(random() * 320)}`;
  const edits: (() => AgentState)[] = [
    () => ({ ...state, messages: [...messages, messageOf(random)] }),
    () => ({ ...state, messages: messages.map((message, index) => (index === at ? messageOf(random) : message)) }),
    () => ({ ...state, messages: messages.slice(1) }),
    () => ({ ...state, messages: [messageOf(random), ...messages] }),
    () => ({ ...state, messages: messages.filter((_, index) => index !== at) }),
    () => ({ ...state, facts: { ...facts, [name]: AWKWARD[at % AWKWARD.length] ?? textOf(random, 40) } }),
    () => ({ ...state, counter: state.counter + 1 }),
    () => ({ ...state, plan: { ...plan, steps: plan.steps.map((step) => ({ ...step, isDone: random() < 0.5 })) } }),
    () => state,
    () => ({ ...state, facts: Object.fromEntries(Object.entries(facts).reverse()) }),
  ];
  return (edits[Math.floor(random() * edits.length)] as () => AgentState)();
}
