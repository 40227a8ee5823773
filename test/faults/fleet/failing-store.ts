import type { Clock } from '../../../src/base/clock.js';
import { NoSpaceError, OutcomeUnknownError, type StorageAdapter, StorageError } from '../../../src/storage/adapter.js';
import type { SeededRandom } from '../../../src/testing/seeded-random.js';

/** The store as one host has it: it fails for a while, or the host dies in the midst of a write. */
export class FailingStore {
  readonly adapter: StorageAdapter;
  readonly #inner: StorageAdapter;
  readonly #clock: Clock;
  readonly #die: () => Promise<never>;
  #deadly: { readonly prefix: string; readonly isAfterwards: boolean } | undefined;
  #outage:
    | { readonly untilMs: number; readonly what: 'writes' | 'everything'; readonly error: () => Error }
    | undefined;
  #isHeld = false;
  #underWay = 0;

  constructor(inner: StorageAdapter, clock: Clock, die: () => Promise<never>) {
    this.#inner = inner;
    this.#clock = clock;
    this.#die = die;
    const { batch } = inner;
    this.adapter = {
      name: inner.name,
      capabilities: inner.capabilities,
      get: (key, options) => this.#read(() => inner.get(key, options)),
      list: (prefix, options) => this.#read(() => inner.list(prefix, options)),
      put: (key, ...rest) => this.#write([key], () => inner.put(key, ...rest)),
      delete: (key, options) => this.#write([key], () => inner.delete(key, options)),
      ...(batch && {
        batch: (operations) =>
          this.#write(
            operations.map(({ key }) => key),
            () => batch.call(inner, operations),
          ),
      }),
    };
  }

  /** The next write under this prefix is the last thing the host does. */
  dieIn(prefix: string, isAfterwards: boolean): void {
    this.#deadly = { prefix, isAfterwards };
  }

  /** Calls fail for so long, all in the same way. */
  failFor(ms: number, what: 'writes' | 'everything', random: SeededRandom): void {
    const errors = [
      () => new NoSpaceError('the store'),
      () => new StorageError('The store could not be written.', { cause: codedError('EIO') }),
      () => new StorageError('The store is not available.', { cause: codedError('ECONNREFUSED') }),
      () => new OutcomeUnknownError('a key'),
    ];
    const error = random.pick(what === 'writes' ? errors : errors.slice(1, 3));
    this.#outage = { untilMs: this.#clock.monotonicMs() + ms, what, error };
  }

  /** No write begins any more. */
  hold(): void {
    this.#isHeld = true;
  }

  /** Flips a bit of the newest record under a prefix, or cuts it short, once no write is under way. Its sequence. */
  async damageNewest(prefix: string, random: SeededRandom): Promise<number | undefined> {
    while (this.#underWay > 0) await this.#clock.sleep(1);
    const { entries } = await this.#inner.list(prefix);
    const key = entries.at(-1)?.key;
    const value = key === undefined ? undefined : (await this.#inner.get(key))?.value;
    if (key === undefined || value === undefined || entries.length < 2) return undefined;
    const at = random.integer(value.length);
    value[at] = (value[at] ?? 0) ^ (1 << random.integer(8));
    await this.#inner.put(key, random.chance(0.5) ? value : value.subarray(0, at));
    return Number(key.slice(prefix.length));
  }

  async #read<Answer>(send: () => Promise<Answer>): Promise<Answer> {
    if (this.#failing?.what === 'everything') throw this.#failing.error();
    return send();
  }

  async #write<Answer>(keys: readonly string[], send: () => Promise<Answer>): Promise<Answer> {
    if (this.#failing !== undefined) throw this.#failing.error();
    if (this.#isHeld) return new Promise(() => {});
    this.#underWay++;
    try {
      const deadly = keys.some((key) => this.#deadly && key.startsWith(this.#deadly.prefix)) && this.#deadly;
      if (deadly && !deadly.isAfterwards) return await this.#die();
      const answer = await send();
      if (deadly) return await this.#die();
      return answer;
    } finally {
      this.#underWay--;
    }
  }

  get #failing() {
    const { untilMs = 0 } = this.#outage ?? {};
    return this.#clock.monotonicMs() < untilMs ? this.#outage : undefined;
  }
}

function codedError(code: string): Error {
  return Object.assign(new Error(code), { code });
}
