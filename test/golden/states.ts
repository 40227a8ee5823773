/** A state of the golden files. */
export interface GoldenState {
  readonly step: number;
  readonly messages: readonly { readonly role: string; readonly content: string }[];
  readonly facts: Readonly<Record<string, unknown>>;
  readonly article: string;
}

/** The states that `store-1` holds, oldest first: made by arithmetic alone, so that they are the same for ever. */
export function goldenStates(): GoldenState[] {
  const messages = Array.from({ length: 60 }, (_, at) => ({ role: at % 2 ? 'user' : 'agent', content: text(at, 150) }));
  const facts = Object.fromEntries(Array.from({ length: 80 }, (_, at) => [`fact ${at}`, text(at + 100, 40)]));
  return Array.from({ length: 8 }, (_, at) => ({
    step: at + 1,
    messages: messages.slice(at % 3, 50 + at),
    facts: { ...facts, [`fact ${at * 9}`]: at % 2 ? new Date(at) : 12345678901234567890n },
    article: `${text(7, 20_000)}${text(at, 300)}${text(9, 5_000)}`,
  }));
}

function text(seed: number, length: number): string {
  let number = seed + 1;
  let words = '';
  while (words.length < length) {
    number = (number * 48_271) % 2_147_483_647;
    words += `${number.toString(36)} `;
  }
  return words.slice(0, length);
}
