import { randomUUID } from 'node:crypto';
import * as z from 'zod';
import { type Clock, systemClock } from '../base/clock.js';
import { emit, type Sink } from '../base/emit.js';
import { CorruptionError } from '../base/errors.js';
import { clockOption, functionOption, parseOptions } from '../base/options.js';
import type { CircuitRegistry } from '../policies/circuit-registry.js';
import type { CircuitSnapshot } from '../policies/circuit-snapshot.js';
import { openRecord, sealRecord } from '../records/envelope.js';
import { encodeId } from '../records/keys.js';
import type { StorageAdapter } from '../storage/adapter.js';
import { checked } from '../storage/checked.js';
import { listedEntries } from '../storage/listed-entries.js';

/** How circuits are kept. */
export interface PersistCircuitsOptions {
  /** Wall time, to know how much of an open time passed while nobody ran. Default the machine's clock. */
  readonly clock?: Clock;
  /** Hears of what was brought back and of what could not be kept. */
  readonly emit?: Sink<CircuitPersistenceEvent>;
}

/** What happened to kept circuits. `error` is one line for humans. */
export type CircuitPersistenceEvent =
  | { readonly type: 'circuit.restored'; readonly circuit: string; readonly state: string }
  | { readonly type: 'circuit.save-failed'; readonly circuit: string; readonly error: string }
  | { readonly type: 'circuit.restore-failed'; readonly key: string; readonly error: string };

/** Circuits that are being kept. */
export interface CircuitPersistence extends AsyncDisposable {
  /** Keeps nothing more; resolves when what is under way is stored, or has failed and was reported. */
  stop(): Promise<void>;
}

const PREFIX = 'circuits/';
/** A circuit that nothing is known about is closed: only what differs from that is kept. */
const isWorthKeeping = ({ state }: CircuitSnapshot): boolean => state !== 'closed';

interface CircuitMeta {
  /** Wall time. It only shortens what is left of an open time, never below 0, so a clock that is wrong costs a probe. */
  readonly savedAtMs: number;
}

/**
 * Keeps the states of a registry's circuits in `storage`: a process that restarts does not have to hurt a dependency five
 * times to learn that it is down. Resolves when those kept before are brought back: open ones wait for what was left of
 * their time, isolated and disabled ones stay so until somebody closes them.
 *
 * Calls never wait for this and never fail by it. What cannot be read or written is reported to `emit`, and the circuit
 * is as without it: closed after a restart. Each change of state is one small write, made after the fact; a crash in
 * between loses that change. A storage that never answers keeps this, and `stop`, from resolving: give it limits of its
 * own. Processes that share a storage share what they bring back; the last change wins.
 * @throws InvalidInputError for options that cannot be used. Never because of the storage.
 */
export async function persistCircuits(
  registry: CircuitRegistry,
  storage: StorageAdapter,
  options?: PersistCircuitsOptions,
): Promise<CircuitPersistence> {
  const { clock = systemClock, emit: sink } = parseOptions(optionsSchema, options);
  const kept = new KeptCircuits(registry, checked(storage), { clock, emit: sink });
  const persistence = kept.follow(); // First, so that no change is missed meanwhile.
  await kept.restore();
  return persistence;
}

const optionsSchema = z.strictObject({
  clock: clockOption.optional(),
  emit: functionOption<Sink<CircuitPersistenceEvent>>().optional(),
});

class KeptCircuits {
  readonly #registry: CircuitRegistry;
  readonly #storage: StorageAdapter;
  readonly #clock: Clock;
  readonly #sink: Sink<CircuitPersistenceEvent> | undefined;
  /** Changed since this began: what was kept of them is old. Undefined once all is brought back. */
  #fresh: Set<string> | undefined = new Set();
  #isRestoring = false;
  /** Changed and not stored yet: however often a circuit changes meanwhile, its newest state is written once. */
  readonly #changed = new Set<string>();
  #storing: Promise<void> | undefined;

  constructor(
    registry: CircuitRegistry,
    storage: StorageAdapter,
    { clock, emit: sink }: { clock: Clock; emit: Sink<CircuitPersistenceEvent> | undefined },
  ) {
    this.#registry = registry;
    this.#storage = storage;
    this.#clock = clock;
    this.#sink = sink;
  }

  async restore(): Promise<void> {
    try {
      for await (const { key } of listedEntries(this.#storage, PREFIX)) await this.#restoreOne(key);
    } catch (error) {
      this.#report({ type: 'circuit.restore-failed', key: PREFIX, error: String(error) });
    }
    this.#fresh = undefined;
  }

  follow(): CircuitPersistence {
    const leave = this.#registry.onChange((breaker) => {
      if (this.#isRestoring) return; // It is kept already.
      this.#fresh?.add(breaker.name);
      this.#changed.add(breaker.name);
      this.#storing ??= this.#storeAll();
    });
    const stop = async () => {
      leave();
      await this.#storing;
    };
    return { stop, [Symbol.asyncDispose]: stop };
  }

  async #restoreOne(key: string): Promise<void> {
    try {
      const entry = await this.#storage.get(key);
      if (entry === undefined) return; // Closed by another process since it was listed.
      const { header, body } = openRecord(key, entry.value, isCircuitMeta);
      const snapshot = snapshotOf(key, body);
      const passedMs = Math.max(0, this.#clock.now() - header.meta.savedAtMs);
      if (this.#fresh?.has(snapshot.name)) return;
      this.#bringBack({ ...snapshot, openForMs: Math.max(0, snapshot.openForMs - passedMs) });
      this.#report({ type: 'circuit.restored', circuit: snapshot.name, state: snapshot.state });
    } catch (error) {
      this.#report({ type: 'circuit.restore-failed', key, error: String(error) });
    }
  }

  #bringBack(snapshot: CircuitSnapshot): void {
    this.#isRestoring = true;
    try {
      this.#registry.restore([snapshot]);
    } finally {
      this.#isRestoring = false;
    }
  }

  async #storeAll(): Promise<void> {
    await Promise.resolve(); // Never inside the call that changed the circuit.
    for (const name of this.#changed) {
      this.#changed.delete(name);
      await this.#storeOne(name);
    }
    this.#storing = undefined;
  }

  async #storeOne(name: string): Promise<void> {
    try {
      const key = `${PREFIX}${encodeId(name, 'name')}`;
      const snapshot = this.#registry.peek(name)?.snapshot(); // One that was evicted is forgotten.
      if (snapshot !== undefined && isWorthKeeping(snapshot)) await this.#storage.put(key, this.#seal(key, snapshot));
      else await this.#storage.delete(key);
    } catch (error) {
      this.#report({ type: 'circuit.save-failed', circuit: name, error: String(error) });
    }
  }

  #seal(key: string, snapshot: CircuitSnapshot): Uint8Array {
    const meta: CircuitMeta = { savedAtMs: this.#clock.now() };
    return sealRecord({ key, id: randomUUID(), parent: null, meta }, Buffer.from(JSON.stringify(snapshot))).bytes;
  }

  #report(event: CircuitPersistenceEvent): void {
    emit(this.#sink, event);
  }
}

function snapshotOf(key: string, body: Buffer): CircuitSnapshot {
  try {
    return JSON.parse(body.toString('utf8')) as CircuitSnapshot; // Its shape is checked by the registry.
  } catch (cause) {
    throw new CorruptionError(`"${key}" is not the state of a circuit.`, key, { cause });
  }
}

function isCircuitMeta(meta: unknown): meta is CircuitMeta {
  return typeof (meta as CircuitMeta | null)?.savedAtMs === 'number';
}
