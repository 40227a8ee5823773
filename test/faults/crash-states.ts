import { setImmediate } from 'node:timers/promises';
import type { StorageAdapter } from '../../src/storage/adapter.js';
import { fileStorageOn } from '../../src/storage/log/file-storage.js';
import { type DiskImage, FATES, type Fate, ModelFileSystem } from '../support/model-file-system.js';
import type { FaultResult, FaultRow, Lane } from './row.js';

const ROOT = '/model';
/** Small, so that a scenario of a few dozen writes compacts several times. */
const OPTIONS = { compactAtBytes: 12 * 1024 };

/** What each key may hold: what was acknowledged last, or anything begun since. `null` is absent. */
type Allowed = ReadonlyMap<string, ReadonlySet<string | null>>;

/** A store whose writes are noted before they begin and when they are acknowledged. */
class Witness {
  readonly #allowed: Map<string, Set<string | null>>;

  constructor(
    readonly storage: StorageAdapter,
    other?: Witness,
  ) {
    this.#allowed = other ? other.#allowed : new Map();
  }

  async put(key: string, value: string): Promise<void> {
    this.#begin(key, value);
    await this.storage.put(key, Buffer.from(value));
    this.#acknowledge(key, value);
  }

  async delete(key: string): Promise<void> {
    this.#begin(key, null);
    await this.storage.delete(key);
    this.#acknowledge(key, null);
  }

  async batch(values: Readonly<Record<string, string>>): Promise<void> {
    const entries = Object.entries(values);
    for (const [key, value] of entries) this.#begin(key, value);
    await this.storage.batch?.(entries.map(([key, value]) => ({ type: 'put', key, value: Buffer.from(value) })));
    for (const [key, value] of entries) this.#acknowledge(key, value);
  }

  allowed(): Allowed {
    return new Map([...this.#allowed].map(([key, values]) => [key, new Set(values)]));
  }

  #begin(key: string, value: string | null): void {
    const values = this.#allowed.get(key) ?? new Set([null]);
    this.#allowed.set(key, values.add(value));
  }

  #acknowledge(key: string, value: string | null): void {
    this.#allowed.set(key, new Set([value]));
  }
}

interface CrashState {
  readonly point: number;
  readonly call: string;
  readonly image: DiskImage;
  readonly allowed: Allowed;
}

/** The work of two processes during which the power goes: single and grouped writes, overwrites, deletes, a batch, several compactions. */
async function work(witness: Witness, other: Witness): Promise<void> {
  await witness.put('first', 'a'.repeat(40));
  await Promise.all([witness.put('x', '1'), witness.put('y', '1'), witness.put('large', 'L'.repeat(9_000))]);
  await witness.put('x', '2');
  await witness.batch({ p: 'left', q: 'right' });
  await Promise.all([witness.delete('y'), witness.delete('large')]);
  for (let round = 0; round < 12; round++) {
    const large = 'z'.repeat(2_500 + round);
    await Promise.all([
      witness.put('x', `round ${round}`),
      witness.put('hollow', '\0'.repeat(40 + round)), // Zeros of its own must not hide that pages of its neighbour are lost.
      witness.put(`z${round % 2}`, large),
      other.put('o', `${round}`),
    ]);
  }
  await witness.delete('first');
  await witness.put('last', 'end');
}

/** Every fate of every unsynced change if that is few, else a seeded choice of them. */
function* fates(changes: number, limit: number, random: () => number): Generator<(index: number) => Fate> {
  const total = FATES.length ** changes;
  for (let at = 0; at < Math.min(total, limit); at++) {
    const digits = total <= limit ? at : undefined;
    const picks = Array.from({ length: changes }, (_, index) => {
      const pick =
        digits === undefined ? Math.floor(random() * FATES.length) : Math.floor(digits / FATES.length ** index);
      return FATES[pick % FATES.length] as Fate;
    });
    yield (index) => picks[index] as Fate;
  }
}

async function collectStates(limit: number): Promise<CrashState[]> {
  const fs = new ModelFileSystem();
  const witness = new Witness(fileStorageOn(fs, ROOT, OPTIONS));
  const states: CrashState[] = [];
  const random = seeded(1);
  let point = 0;
  fs.beforeCall = (call) => {
    point++;
    const allowed = witness.allowed();
    for (const fateOf of fates(fs.pendingChanges, limit, random)) {
      states.push({ point, call, image: fs.powerCut(fateOf), allowed });
    }
  };
  const other = new Witness(fileStorageOn(fs, ROOT, OPTIONS), witness);
  await work(witness, other);
  await other.storage.close?.();
  await witness.storage.close?.();
  return states;
}

/** What is wrong with a store that starts from this disk, if anything. */
async function judge({ point, call, image, allowed }: CrashState): Promise<string | undefined> {
  const at = `power cut before call ${point} (${call})`;
  const fs = new ModelFileSystem(image);
  try {
    const problem = await judgeValues(fileStorageOn(fs, ROOT, OPTIONS), allowed);
    if (problem) return `${at}: ${problem}`;
    const again = await judgeValues(fileStorageOn(fs, ROOT, OPTIONS), allowed);
    return again && `${at}, opened again: ${again}`;
  } catch (error) {
    return `${at}: ${error instanceof Error ? error.message : String(error)}`;
  }
}

async function judgeValues(storage: StorageAdapter, allowed: Allowed): Promise<string | undefined> {
  const listed = new Set((await storage.list('')).entries.map(({ key }) => key));
  for (const [key, values] of allowed) {
    const entry = await storage.get(key);
    const value = entry === undefined ? null : Buffer.from(entry.value).toString();
    if (!values.has(value))
      return `"${key}" is ${value?.slice(0, 12)}, not one of ${[...values].map((it) => it?.slice(0, 12))}`;
    if (entry?.suspect) return `"${key}" is suspect`;
    if (listed.has(key) !== (entry !== undefined)) return `"${key}" is listed wrongly`;
  }
  await storage.put('after', Buffer.from('begins'));
  await storage.put('after', Buffer.from('works')); // The second write vouches for all before the first.
  const after = await storage.get('after');
  await storage.close?.();
  return Buffer.from(after?.value ?? []).toString() === 'works' ? undefined : 'a write after the cut is not read back';
}

export const crashStates: FaultRow = {
  fault: 'power cut before every file-system call: lost, whole, torn, zeroed, in any order (model)',
  async run(lane: Lane): Promise<FaultResult> {
    const states = await collectStates(lane === 'quick' ? 16 : 1_000);
    const bad: string[] = [];
    for (const [index, state] of states.entries()) {
      const problem = await judge(state);
      if (problem) bad.push(problem);
      if (index % 500 === 0) await setImmediate();
    }
    return { tried: states.length, bad, note: `${new Set(states.map(({ point }) => point)).size} calls` };
  },
};

/** A small generator that gives the same states in every run. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}
