import type { Clock } from '../base/clock.js';
import { CorruptionError } from '../base/errors.js';
import { ConflictError, type StorageAdapter, type Version } from '../storage/adapter.js';
import { isProcessGone } from '../storage/host-process.js';
import { listedEntries } from '../storage/listed-entries.js';
import { NODES, type NodeRecord, nodeKey, openNodeRecord } from './node-record.js';

/** A record has to stand this many of its leases before its node is gone; the holder stops counting on it at 0.95. */
const WATCHER_SHARE = 1.05;
/** Nodes remembered. One that is forgotten is watched from the beginning again. */
const MAX_OBSERVED = 10_000;

/** Since when a record was seen to stand as it is, on the monotonic clock of this process. */
interface Observation {
  readonly version: Version;
  readonly sinceMs: number;
}

/** What can be told of a node from here. */
export interface Sighting {
  /** Is it certain to be gone? */
  readonly isGone: boolean;
  /**
   * What says so. `process-ended`: it ran on this host and its process is no more. `frozen`: its heart thread gave it up,
   * because its event loop did not answer. `silent`: its record stood unchanged for more than its lease. `no-record`: it
   * left, or was swept after it was found gone. `alive`: none of these; it may be alive.
   */
  readonly proof: 'process-ended' | 'frozen' | 'silent' | 'no-record' | 'alive';
  /** For how long this process has seen its record unchanged. 0 without a record. */
  readonly silentMs: number;
  /** What it says of itself; `undefined` if there is no record. */
  readonly record: NodeRecord | undefined;
}

/** A sighting, with the version of the record that was judged. */
interface Verdict extends Sighting {
  readonly version: Version | undefined;
}

const NO_RECORD: Verdict = {
  isGone: true,
  proof: 'no-record',
  silentMs: 0,
  record: undefined,
  version: undefined,
};

/** Looks at the records of other nodes and says which are certain to be gone. Believes no clock but its own. */
export class NodeWatch {
  readonly #storage: StorageAdapter;
  readonly #clock: Clock;
  readonly #observed = new Map<string, Observation>();
  readonly #judging = new Map<string, Promise<Verdict>>();

  constructor(storage: StorageAdapter, clock: Clock) {
    this.#storage = storage;
    this.#clock = clock;
  }

  async look(holder: string): Promise<Sighting> {
    const { version: _, ...sighting } = await this.#judge(holder);
    return sighting;
  }

  async isGone(holder: string): Promise<boolean> {
    return (await this.#judge(holder)).isGone;
  }

  /** Deletes the record of a node that is gone. False if there is nothing to delete, or it may be alive. */
  async sweep(holder: string): Promise<boolean> {
    const verdict = await this.#judge(holder);
    if (!verdict.isGone || verdict.version === undefined) return false;
    try {
      await this.#storage.delete(nodeKey(holder), { ifVersion: verdict.version });
    } catch (error) {
      if (error instanceof ConflictError) return false; // Swept by another, or a last beat of its came late.
      throw error;
    }
    this.#observed.delete(holder);
    return true;
  }

  /** Sweeps all that are gone but those to be kept. A damaged record stops nothing; the first is thrown at the end. */
  async sweepGone(isKept: (holder: string) => boolean): Promise<string[]> {
    const swept: string[] = [];
    let damage: CorruptionError | undefined;
    for await (const holder of this.#holders()) {
      if (isKept(holder)) continue;
      try {
        if (await this.sweep(holder)) swept.push(holder);
      } catch (error) {
        if (!(error instanceof CorruptionError)) throw error;
        damage ??= error;
      }
    }
    if (damage !== undefined) throw damage;
    return swept;
  }

  async *#holders(): AsyncGenerator<string> {
    // A record that is lost need not be swept.
    for await (const { key } of listedEntries(this.#storage, NODES, { onSuspect: () => {} })) {
      yield key.slice(NODES.length);
    }
  }

  /** Who asks while an answer is on its way shares it: a process that died may have held thousands of things. */
  #judge(holder: string): Promise<Verdict> {
    const judging = this.#judging.get(holder);
    if (judging !== undefined) return judging;
    const verdict = this.#judgeAlone(holder).finally(() => this.#judging.delete(holder));
    this.#judging.set(holder, verdict);
    return verdict;
  }

  async #judgeAlone(holder: string): Promise<Verdict> {
    const askedMs = this.#clock.monotonicMs();
    const entry = await this.#storage.get(nodeKey(holder));
    if (entry === undefined) {
      this.#observed.delete(holder);
      return NO_RECORD;
    }
    const record = openNodeRecord(entry);
    const { version } = entry;
    const observation = this.#observe(holder, version);
    // It is known to have stood when it was asked for, not when the answer came.
    const silentMs = Math.max(0, askedMs - observation.sinceMs);
    const verdict = (proof: Sighting['proof']) => ({ isGone: proof !== 'alive', proof, silentMs, record, version });
    if (record.process !== undefined && isProcessGone(record.process)) return verdict('process-ended');
    if (record.frozenMs !== undefined) return verdict('frozen');
    return verdict(silentMs >= record.leaseMs * WATCHER_SHARE ? 'silent' : 'alive');
  }

  /** A version that was not seen before counts from now, when the answer is here: it may be this young. */
  #observe(holder: string, version: Version): Observation {
    const known = this.#observed.get(holder);
    if (known?.version === version) return known;
    const observation = { version, sinceMs: this.#clock.monotonicMs() };
    this.#observed.delete(holder); // So that it moves to the end: the oldest is forgotten first.
    this.#observed.set(holder, observation);
    const [oldest] = this.#observed.keys();
    if (this.#observed.size > MAX_OBSERVED && oldest !== undefined) this.#observed.delete(oldest);
    return observation;
  }
}
