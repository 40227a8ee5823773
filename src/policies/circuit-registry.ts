import * as z from 'zod';
import type { Clock } from '../base/clock.js';
import { emit, type Sink } from '../base/emit.js';
import { parseOptions } from '../base/options.js';
import { requireFunction } from './call-scope.js';
import { CircuitBreaker } from './circuit-breaker.js';
import type { CircuitEvent, CircuitStats } from './circuit-event.js';
import {
  type CircuitSettings,
  type CircuitSettingsOptions,
  clockSchema,
  emitSchema,
  ReadCircuitOptions,
  randomSchema,
  readCircuitOptions,
} from './circuit-options.js';
import { type CircuitSnapshot, snapshotSchema } from './circuit-snapshot.js';

/** How a registry of circuits is made. */
export interface CircuitRegistryOptions {
  /** How circuits are made: all alike, or by name. Read once for each registry, or once for each circuit. */
  readonly defaults?: CircuitSettingsOptions | ((name: string) => CircuitSettingsOptions);
  /**
   * Circuits at most. Default 10,000. Names that come from outside (hosts, tenants) would otherwise fill the memory. One
   * that is at rest and let no call in lately goes first; if there is none among the 64 that stand longest, another that is
   * at rest, and only then one that would be missed.
   */
  readonly maxCircuits?: number;
  /** For circuits whose defaults name none. Default the machine's clock. */
  readonly clock?: Clock;
  /** For circuits whose defaults name none. Default `Math.random`. */
  readonly random?: () => number;
  /** Hears of all circuits, beside the sinks that their defaults name. */
  readonly emit?: Sink<CircuitEvent>;
}

const registrySchema = z.strictObject({
  defaults: z
    .custom<NonNullable<CircuitRegistryOptions['defaults']>>(
      (defaults) => typeof defaults === 'function' || (typeof defaults === 'object' && defaults !== null),
      'must be options or a function',
    )
    .optional(),
  maxCircuits: z.int().min(1).optional(),
  clock: clockSchema,
  random: randomSchema,
  emit: emitSchema,
});
const snapshotsSchema = z.array(snapshotSchema);

/** How many circuits are looked at to find one that can go. */
const MAX_LOOKS = 64;

interface Entry {
  readonly circuit: CircuitBreaker;
  /** Calls it had let in when it was last looked at: more by now means that it is in use. */
  callsSeen: number;
}

/** Circuit breakers by name, made when first asked for, and bounded in number. Iterates over the breakers. */
export class CircuitRegistry implements Iterable<CircuitBreaker> {
  readonly #settingsOf: (name: string) => CircuitSettings;
  readonly #maxCircuits: number;
  readonly #emit: Sink<CircuitEvent> | undefined;
  /** Those that were spared when others had to go stand behind. */
  readonly #entries = new Map<string, Entry>();
  readonly #listeners = new Set<(breaker: CircuitBreaker) => void>();
  /** One for all circuits: a function for each would be a tenth of its memory. */
  readonly #onChange = (name: string): void => {
    const circuit = this.peek(name);
    if (circuit === undefined) return; // It was evicted; whoever still holds it is on their own.
    for (const listener of this.#listeners) emit(listener, circuit);
  };
  #isDisposed = false;

  /** @throws InvalidInputError naming the option that cannot be used; with a function for `defaults`, `get` does. */
  constructor(options?: CircuitRegistryOptions) {
    const read = parseOptions(registrySchema, options);
    const { defaults = {}, clock, random } = read;
    this.#maxCircuits = read.maxCircuits ?? 10_000;
    this.#emit = read.emit;
    const settingsFor = (own: CircuitSettingsOptions, name: string) =>
      this.#heard(readCircuitOptions({ ...(clock && { clock }), ...(random && { random }), ...own, name }).settings);
    if (typeof defaults === 'function') {
      this.#settingsOf = (name) => settingsFor(defaults(name), name);
    } else {
      const shared = settingsFor(defaults, 'shared');
      this.#settingsOf = () => shared;
    }
  }

  /** Circuits there are. */
  get size(): number {
    return this.#entries.size;
  }

  /** The circuit of that name, made if there is none. */
  get(name: string): CircuitBreaker {
    return (this.#entries.get(name) ?? this.#add(name)).circuit;
  }

  /** The circuit of that name, if there is one. */
  peek(name: string): CircuitBreaker | undefined {
    return this.#entries.get(name)?.circuit;
  }

  /** The breakers, in no order to rely on. */
  *[Symbol.iterator](): Iterator<CircuitBreaker> {
    for (const { circuit } of this.#entries.values()) yield circuit;
  }

  /** Of every circuit. */
  stats(): CircuitStats[] {
    return [...this].map((circuit) => circuit.stats());
  }

  /** Of every circuit that is not simply closed: what a restart must not forget. */
  snapshot(): CircuitSnapshot[] {
    const all = [...this].map((circuit) => circuit.snapshot());
    return all.filter(({ state, openingsInARow }) => state !== 'closed' || openingsInARow > 0);
  }

  /**
   * Continues where the snapshots were taken; circuits that are not among them stay as they are.
   * @throws InvalidInputError if one is no snapshot. Nothing is changed then.
   */
  restore(snapshots: readonly CircuitSnapshot[]): void {
    for (const snapshot of parseOptions(snapshotsSchema, snapshots, 'snapshots'))
      this.get(snapshot.name).restore(snapshot);
  }

  /**
   * Calls `listener` with each circuit whose state changed or that was evicted, afterwards: the time to keep a snapshot or
   * to drop it. Returns how to stop.
   */
  onChange(listener: (breaker: CircuitBreaker) => void): () => void {
    requireFunction(listener, 'listener');
    const own = (breaker: CircuitBreaker) => listener(breaker); // The same function may listen twice.
    this.#listeners.add(own);
    return () => this.#listeners.delete(own);
  }

  /** Disposes of all circuits, also of those still to come. They work on, without timers. */
  dispose(): void {
    this.#isDisposed = true;
    for (const circuit of this) circuit.dispose();
  }

  #add(name: string): Entry {
    const circuit = new CircuitBreaker(new ReadCircuitOptions(name, this.#settingsOf(name), this.#onChange));
    if (this.#isDisposed) circuit.dispose();
    while (this.#entries.size >= this.#maxCircuits) this.#evictOne();
    const made = this.#entries.get(name); // By whoever heard of the eviction.
    if (made !== undefined) return made;
    const entry = { circuit, callsSeen: 0 };
    this.#entries.set(name, entry);
    return entry;
  }

  /**
   * Second chance: who is at rest and let no call in since it was last looked at goes; the others go to the end. If there
   * is no such one, another at rest goes, and only then one that would be missed. Looks at few, because a registry in
   * which nobody is at rest is one in an outage, and must not stall its callers.
   */
  #evictOne(): void {
    let candidate: [string, Entry] | undefined;
    let closed: [string, Entry] | undefined;
    for (let looks = Math.min(MAX_LOOKS, 2 * this.#entries.size); looks > 0; looks--) {
      const next = this.#first();
      const [name, entry] = next;
      const { isAtRest, callsLetIn, state } = entry.circuit;
      if (isAtRest && callsLetIn === entry.callsSeen) {
        candidate = next;
        break;
      }
      if (isAtRest) candidate ??= next;
      if (state === 'closed') closed ??= next;
      entry.callsSeen = callsLetIn;
      this.#entries.delete(name);
      this.#entries.set(name, entry);
    }
    this.#evict(candidate ?? closed ?? this.#first());
  }

  #first(): [string, Entry] {
    return this.#entries.entries().next().value as [string, Entry]; // Asked only of a registry that is full.
  }

  #evict([name, { circuit }]: [string, Entry]): void {
    this.#entries.delete(name);
    circuit.dispose();
    for (const listener of this.#listeners) emit(listener, circuit);
    emit(this.#emit, { type: 'circuit.evicted', circuit: name });
  }

  /** With the registry's sink beside the circuit's own. */
  #heard(settings: CircuitSettings): CircuitSettings {
    const [own, all] = [settings.emit, this.#emit];
    if (all === undefined) return settings;
    if (own === undefined) return { ...settings, emit: all };
    const both: Sink<CircuitEvent> = (event) => {
      emit(own, event);
      emit(all, event);
    };
    return { ...settings, emit: both };
  }
}
