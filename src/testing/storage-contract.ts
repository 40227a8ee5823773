import { describe, test } from 'vitest';
import type { StorageAdapter } from '../storage/adapter.js';
import { checked } from '../storage/checked.js';
import { abortRules } from './contract/abort.js';
import { batchRules } from './contract/batch.js';
import { compareAndSwapRules } from './contract/compare-and-swap.js';
import { damageRules } from './contract/damage.js';
import { injectionRules } from './contract/injections.js';
import { interruptionRules } from './contract/interruptions.js';
import { keyRules } from './contract/keys.js';
import { killedProcessRules } from './contract/killed-processes.js';
import { largeRules } from './contract/large.js';
import { lifecycleRules } from './contract/lifecycle.js';
import { listingRules } from './contract/listing.js';
import { pagingRules } from './contract/paging.js';
import { processRules } from './contract/processes.js';
import { raceRules } from './contract/races.js';
import { refusalRules } from './contract/refusals.js';
import { type ContractRule, type RuledStore, type StorageNeed, UNHURRIED_MS } from './contract/rule.js';
import { sharingRules } from './contract/sharing.js';
import { type StoreModule, type StoreProcess, startStoreProcess } from './contract/store-process.js';
import { valueRules } from './contract/values.js';
import { versionRules } from './contract/versions.js';
import { watchRules } from './contract/watch.js';

/** A fresh, empty store of which several instances can be opened, as several processes would. */
export interface StorageUnderTest {
  /**
   * Another instance over the same entries; it need not be open yet. Called once or more; each is closed after the test if
   * it has `close`.
   */
  open(): StorageAdapter | Promise<StorageAdapter>;
  /** Called once, when all instances are closed and all processes have ended: remove the directory, drop the table. */
  destroy?(): Promise<void>;
  /**
   * How another process opens the same entries: for the rules about several processes and about `kill -9`. Left out by
   * stores of one process only.
   */
  readonly inProcess?: StoreModule;
  /**
   * Changes stored bytes of this key behind the store's back; resolves when they are changed. For stores that hash or
   * authenticate what they keep: only these can tell.
   */
  damage?(key: string): Promise<void>;
  /**
   * Does to the medium what goes wrong with it: cuts all connections, ends the server's sessions, holds a lock for a
   * moment. It is called 200 times while the store is at work, and must leave the store able to recover by itself.
   */
  interrupt?(): Promise<void>;
}

/**
 * Makes a fresh, empty store; called once per rule. A plain adapter will do, but then races and sharing are tried
 * through that one instance only, and what survives a close is not tried at all.
 */
export type StorageFactory = () =>
  | StorageAdapter
  | StorageUnderTest
  | Promise<StorageAdapter>
  | Promise<StorageUnderTest>;

/** For `storageContract`. */
export interface StorageContractOptions {
  /**
   * What the store does not have on purpose: rules about it are left out. What it lacks without saying so here is shown
   * as skipped, with the reason.
   */
  readonly lacks?: readonly StorageNeed[];
}

/** The whole contract of `StorageAdapter`, rule by rule. */
export const storageContractRules: readonly ContractRule[] = [
  ...valueRules,
  ...keyRules,
  ...listingRules,
  ...versionRules,
  ...compareAndSwapRules,
  ...batchRules,
  ...raceRules,
  ...sharingRules,
  ...abortRules,
  ...lifecycleRules,
  ...refusalRules,
  ...injectionRules,
  ...pagingRules,
  ...largeRules,
  ...watchRules(),
  ...processRules,
  ...killedProcessRules(),
  ...damageRules,
  ...interruptionRules(),
];

/**
 * Registers every rule of the `StorageAdapter` contract as a Vitest test of its own: call it at the top of a test file.
 * The adapter is used as the library uses it, with every call checked first. All chance in the rules has fixed seeds.
 *
 * Races are run, not proved: a gap between check and write in another process or on a server may need many runs to show.
 */
export function storageContract(name: string, factory: StorageFactory, options: StorageContractOptions = {}): void {
  const { lacks = [] } = options;
  const applicable = storageContractRules.filter(({ needs = [] }) => !needs.some((need) => lacks.includes(need)));
  describe(`storage contract: ${name}`, () => {
    for (const rule of applicable) {
      test(rule.name, { timeout: rule.timeoutMs ?? UNHURRIED_MS }, async ({ skip }) => {
        const unmet = await tryRule(rule, factory);
        if (unmet !== undefined) skip(`the store has no ${unmet}`);
      });
    }
  });
}

/**
 * Tries one rule on a fresh store and clears up after it. Resolves to the need the store does not meet, if there is one;
 * then the rule was not tried.
 * @throws whatever the rule found, or what failed while the store was closed.
 */
export async function tryRule(rule: ContractRule, factory: StorageFactory): Promise<StorageNeed | undefined> {
  const made = await factory();
  const trial = new Trial('get' in made ? { open: () => made } : made, !('get' in made));
  const [outcome] = await Promise.allSettled([trial.run(rule)]);
  const cleared = await trial.clearUp();
  const failed = [outcome, ...cleared].find((result) => result.status === 'rejected');
  if (failed) throw failed.reason; // What the rule found comes first.
  return outcome.status === 'fulfilled' ? outcome.value : undefined;
}

const CAPABILITIES: ReadonlySet<StorageNeed> = new Set(['atomicBatch', 'monotonicVersions', 'watch', 'durability']);

/** A store on which one rule is tried, and all that was opened for it. */
class Trial {
  readonly #made: StorageUnderTest;
  readonly #isReopenable: boolean;
  readonly #instances: StorageAdapter[] = [];
  readonly #processes: Promise<StoreProcess>[] = [];

  constructor(made: StorageUnderTest, isReopenable: boolean) {
    this.#made = made;
    this.#isReopenable = isReopenable;
  }

  /** Tries the rule, or says which of its needs the store does not meet. */
  async run(rule: ContractRule): Promise<StorageNeed | undefined> {
    const store = await this.#open();
    // What a server promises is known once it has been asked. Other rules try that the first call opens by itself.
    if (rule.needs?.some((need) => CAPABILITIES.has(need))) await store.open?.();
    const unmet = rule.needs?.find((need) => !this.#meets(need));
    if (unmet !== undefined) return unmet;
    await rule.run({
      store,
      // A plain adapter is wrapped once, so that `another()` is the very same store.
      another: async () => (this.#isReopenable ? this.#open() : store),
      ...this.#hooks(),
    });
    return undefined;
  }

  /** Ends processes, closes instances, destroys the store: each of these is tried, whatever became of the others. */
  async clearUp(): Promise<readonly PromiseSettledResult<unknown>[]> {
    const started = await Promise.allSettled(this.#processes); // What could not start was the rule's to tell.
    const ended = await Promise.allSettled(started.map(async (each) => 'value' in each && each.value.end()));
    const closed = await Promise.allSettled(this.#instances.map(async (instance) => instance.close?.()));
    const destroyed = await Promise.allSettled([this.#made.destroy?.()]);
    return [...ended, ...closed, ...destroyed];
  }

  async #open(): Promise<StorageAdapter> {
    const instance = await this.#made.open();
    if (!this.#instances.includes(instance)) this.#instances.push(instance);
    return checked(instance);
  }

  /** What only rules ask for that need it. */
  #hooks(): Pick<RuledStore, 'inProcess' | 'damage' | 'interrupt'> {
    const { inProcess } = this.#made;
    return {
      inProcess: () => {
        const process = startStoreProcess(inProcess as StoreModule);
        this.#processes.push(process); // At once: one that is still starting when the rule has failed is ended too.
        return process;
      },
      damage: async (key) => this.#made.damage?.(key),
      interrupt: async () => this.#made.interrupt?.(),
    };
  }

  #meets(need: StorageNeed): boolean {
    const [instance] = this.#instances as [StorageAdapter];
    if (need === 'reopen') return this.#isReopenable;
    if (need === 'close') return instance.close !== undefined;
    if (need === 'durability') return instance.capabilities.durability !== 'none';
    if (need === 'processes') return this.#made.inProcess !== undefined;
    if (need === 'damage' || need === 'interrupt') return this.#made[need] !== undefined;
    return instance.capabilities[need];
  }
}
