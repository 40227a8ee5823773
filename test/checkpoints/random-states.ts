import type { StateChange } from '../../src/checkpoints/diff/diff.js';
import { setOwn } from '../../src/records/json-object.js';
import type { SeededRandom } from '../../src/testing/seeded-random.js';

type Container = Record<string | number, unknown> | unknown[];

const AWKWARD: readonly (() => unknown)[] = [
  () => undefined,
  () => null,
  () => Number.NaN,
  () => -0,
  () => 12n,
  () => new Date(5),
  () => new Map<unknown, unknown>([['a', [1]]]),
  () => new Set([1, 'b']),
  () => new Uint8Array([1, 2]),
  () => Object.assign(Object.create(null), { a: 1 }),
  () => ({ '$hf:Date': 1 }),
  () => ({ '$hf:Date': 1, other: 2 }),
  () => ({}),
  () => [],
  () => '\u0001\\"[{,:}]',
  () => '\ud800€',
];

const NAMES = ['a', 'b', 'a b', '', '__proto__', 'constructor', '10', '9', '$hf:x', '"', 'ä', '\ud800', '\u0001', ','];

function text(random: SeededRandom, length: number): string {
  let words = '';
  while (words.length < length) words += `${random.integer(1e9).toString(36)} `;
  return words;
}

function leaf(random: SeededRandom): unknown {
  if (random.chance(0.3)) return random.pick(AWKWARD)();
  if (random.chance(0.005)) return text(random, 20_000 + random.integer(100_000));
  return random.chance(0.5) ? random.integer(100) : text(random, random.integer(random.chance(0.1) ? 3_000 : 60));
}

function name(random: SeededRandom): string {
  return random.chance(0.3) ? random.pick(NAMES) : `key ${random.integer(1e6)}`;
}

/** Something that can be kept: deep, wide, long or small. */
export function randomValue(random: SeededRandom, depth = 0): unknown {
  if (depth > 4 || random.chance(0.3 + depth * 0.1)) return leaf(random);
  const length = depth < 3 && random.chance(0.2) ? 100 + random.integer(200) : random.integer(8);
  const inner = () => (length > 50 && random.chance(0.95) ? leaf(random) : randomValue(random, depth + 1));
  if (random.chance(0.5)) return Array.from({ length }, inner);
  const made: Record<string, unknown> = {};
  for (let at = 0; at < length; at++) setOwn(made, name(random), inner());
  return made;
}

/** Changes one thing somewhere in the state, in place. */
export function editSomewhere(state: Container, random: SeededRandom): void {
  const inside = Object.values(state).filter(isContainer);
  if (inside.length > 0 && random.chance(0.7)) {
    editSomewhere(random.pick(inside), random);
    return;
  }
  const value = random.chance(0.7) ? leaf(random) : randomValue(random, 3);
  if (Array.isArray(state)) {
    const at = random.integer(state.length + 1);
    const edits = [
      () => state.push(value),
      () => state.unshift(value),
      () => state.splice(at, 1),
      () => state.splice(at, 1, value),
      () => state.splice(at, random.integer(5), value, value),
    ];
    random.pick(edits)();
    return;
  }
  const names = Object.keys(state);
  if (names.length > 0 && random.chance(0.4)) delete state[random.pick(names)];
  else
    setOwn(state as Record<string, unknown>, random.chance(0.5) && names[0] ? random.pick(names) : name(random), value);
}

/** The state after the changes, made in place: changes first, then what was removed from the end on, then what came. */
export function applyChanges(state: unknown, changes: readonly StateChange[]): unknown {
  const root = { $: state };
  const changed = changes.filter(({ kind }) => kind === 'changed');
  const removed = changes.filter(({ kind }) => kind === 'removed').reverse();
  const added = changes.filter(({ kind }) => kind === 'added');
  for (const { path, kind, after } of [...changed, ...removed, ...added]) {
    const steps = stepsOf(path);
    const last = steps.pop() as string | number;
    const holder = steps.reduce<Container>((inner, step) => Reflect.get(inner, step) as Container, root);
    if (kind === 'changed') setOwn(holder as Record<string, unknown>, last as string, after);
    else if (Array.isArray(holder))
      holder.splice(last as number, kind === 'removed' ? 1 : 0, ...(kind === 'added' ? [after] : []));
    else if (kind === 'removed') delete holder[last];
    else setOwn(holder as Record<string, unknown>, last as string, after);
  }
  return root.$;
}

const STEP = /\$?[\w$]+|\[\d+\]|\["(?:[^"\\]|\\.)*"\]/gu;

function stepsOf(path: string): (string | number)[] {
  return (path.match(STEP) ?? []).map((step) => (step.startsWith('[') ? JSON.parse(step.slice(1, -1)) : step));
}

function isContainer(value: unknown): value is Container {
  if (typeof value !== 'object' || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return Array.isArray(value) || prototype === Object.prototype;
}
