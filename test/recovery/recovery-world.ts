import type { NodeEvent } from '../../src/records/node-event.js';
import type { RecoveryEvent } from '../../src/recovery/recovery-event.js';
import { RecoveryManager } from '../../src/recovery/recovery-manager.js';
import type { RecoveryManagerOptions } from '../../src/recovery/recovery-options.js';
import type { EndedRecovery } from '../../src/recovery/recovery-record.js';
import type { Rung } from '../../src/recovery/rung.js';
import type { StorageAdapter } from '../../src/storage/adapter.js';
import { checked } from '../../src/storage/checked.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';
import type { TransactionEvent } from '../../src/transactions/transaction-event.js';
import { TransactionManager } from '../../src/transactions/transaction-manager.js';
import { settledOn } from '../support/settled-on.js';

export const LEASE_MS = 15_000;

/** Hangs for ever. */
export const never = <Result>(): Promise<Result> => new Promise(() => undefined);

/** One store and one clock, and the processes that share them, one after the other or at once. */
export class RecoveryWorld {
  readonly clock = new VirtualClock();
  /** What rungs did, in order, whichever process ran them. */
  readonly did: string[] = [];
  readonly inner: StorageAdapter;

  constructor(inner: StorageAdapter = memoryStorage()) {
    this.inner = inner;
  }

  /** A rung that notes that it ran. */
  rung<const Name extends string>(name: Name, parts: Partial<Rung<Name>> = {}): Rung<Name> {
    const { run, ...rest } = parts;
    return {
      name,
      run: (context) => {
        this.did.push(name);
        return run?.(context);
      },
      ...rest,
    };
  }

  /** One that notes that it ran, and throws. */
  failing<const Name extends string>(name: Name, parts: Partial<Rung<Name>> = {}): Rung<Name> {
    return this.rung(name, {
      run: () => {
        throw new Error(`${name} is of no use`);
      },
      ...parts,
    });
  }

  process<const Name extends string>(
    options: Pick<RecoveryManagerOptions<Name>, 'ladder'> & Partial<RecoveryManagerOptions<Name>>,
  ): WorldProcess<Name> {
    return new WorldProcess(this, options);
  }

  /** The outcome of `work`, letting as much time pass as it needs. */
  settled<Result>(work: Promise<Result>): Promise<Result> {
    return settledOn(this.clock, work);
  }
}

/** Managers of one process, which can die: from then on their store never answers them. */
export class WorldProcess<Name extends string> {
  readonly transactions: TransactionManager;
  readonly recovery: RecoveryManager<Name>;
  readonly events: RecoveryEvent[] = [];
  /** Steps that were asked for when no more could begin. */
  readonly refused: string[] = [];
  /** Called before each write; may throw, or hang. */
  obstacle: ((key: string) => unknown) | undefined;
  /** Resolves when it dies. */
  readonly died: Promise<undefined>;
  #isDead = false;
  #onDeath: () => void = () => {};

  constructor(
    world: RecoveryWorld,
    options: Pick<RecoveryManagerOptions<Name>, 'ladder'> & Partial<RecoveryManagerOptions<Name>>,
  ) {
    const { clock } = world;
    this.died = new Promise((resolve) => {
      this.#onDeath = () => resolve(undefined);
    });
    const storage = this.#mortal(world.inner);
    const note = (event: TransactionEvent | NodeEvent) => {
      if (event.type === 'step.refused') this.refused.push(event.step);
    };
    this.transactions = new TransactionManager({ storage, clock, leaseMs: LEASE_MS, emit: note });
    const emit = (event: RecoveryEvent) => void this.events.push(event);
    this.recovery = new RecoveryManager<Name>({ transactions: this.transactions, storage, clock, emit, ...options });
  }

  die(): void {
    this.#isDead = true;
    this.#onDeath();
  }

  /** Dies in the midst of a rung: what that awaits never comes. */
  crash(): Promise<never> {
    this.die();
    return never();
  }

  get types(): string[] {
    return this.events.map(({ type }) => type);
  }

  #mortal(inner: StorageAdapter): StorageAdapter {
    const alive = async <Result>(send: () => Promise<Result>): Promise<Result> => {
      if (this.#isDead) return never();
      const answer = await send();
      return this.#isDead ? never() : answer;
    };
    const write = <Result>(key: string, send: () => Promise<Result>) =>
      alive(async () => {
        await this.obstacle?.(key);
        return alive(send);
      });
    const { batch } = inner;
    return checked({
      name: inner.name,
      capabilities: inner.capabilities,
      get: (key, options) => alive(() => inner.get(key, options)),
      list: (prefix, options) => alive(() => inner.list(prefix, options)),
      put: (key, value, options) => write(key, () => inner.put(key, value, options)),
      delete: (key, options) => write(key, () => inner.delete(key, options)),
      ...(batch && { batch: (operations) => write(operations[0]?.key ?? '', () => batch.call(inner, operations)) }),
    });
  }
}

/** What a record says of each rung: `retry failed`. */
export function trailOf({ trail }: Pick<EndedRecovery, 'trail'>): string[] {
  return trail.map(({ rung, status }) => `${rung} ${status}`);
}

export const crashed = { subject: 'job-7', kind: 'crashed' };
