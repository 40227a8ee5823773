import { describe, test } from 'vitest';
import type { StorageAdapter } from '../storage/adapter.js';
import { checked } from '../storage/checked.js';
import { abortRules } from './contract/abort.js';
import { batchRules } from './contract/batch.js';
import { compareAndSwapRules } from './contract/compare-and-swap.js';
import { keyRules } from './contract/keys.js';
import { lifecycleRules } from './contract/lifecycle.js';
import { listingRules } from './contract/listing.js';
import { raceRules } from './contract/races.js';
import { refusalRules } from './contract/refusals.js';
import type { ContractRule, StorageNeed } from './contract/rule.js';
import { sharingRules } from './contract/sharing.js';
import { valueRules } from './contract/values.js';
import { versionRules } from './contract/versions.js';

/** A fresh, empty store of which several instances can be opened, as several processes would. */
export interface StorageUnderTest {
  /** Another instance over the same entries. Called once or more; each is closed after the test if it has `close`. */
  open(): StorageAdapter | Promise<StorageAdapter>;
  /** Called once, when all instances are closed: remove the directory, drop the table. */
  destroy?(): Promise<void>;
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
];

/**
 * Registers every rule of the `StorageAdapter` contract as a Vitest test of its own: call it at the top of a test file.
 * The adapter is used as the library uses it, with every call checked first.
 *
 * Races are run, not proved: a gap between check and write in another process or on a server may need many runs to show.
 */
export function storageContract(name: string, factory: StorageFactory, options: StorageContractOptions = {}): void {
  const { lacks = [] } = options;
  const applicable = storageContractRules.filter(({ needs = [] }) => !needs.some((need) => lacks.includes(need)));
  describe(`storage contract: ${name}`, () => {
    for (const rule of applicable) {
      test(rule.name, async ({ skip }) => {
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
  const isReopenable = !('get' in made);
  const instances: StorageAdapter[] = [];
  const open = async (): Promise<StorageAdapter> => {
    const instance = isReopenable ? await made.open() : made;
    if (!instances.includes(instance)) instances.push(instance);
    return checked(instance);
  };
  const attempt = async (): Promise<StorageNeed | undefined> => {
    const store = await open();
    const unmet = rule.needs?.find((need) => !meets(instances[0] as StorageAdapter, need, isReopenable));
    // A plain adapter is wrapped once, so that `another()` is the very same store.
    if (unmet === undefined) await rule.run({ store, another: async () => (isReopenable ? open() : store) });
    return unmet;
  };
  const [outcome] = await Promise.allSettled([attempt()]);
  const closings = await Promise.allSettled(instances.map(async (instance) => instance.close?.()));
  if (isReopenable) await made.destroy?.();
  const failed = [outcome, ...closings].find((result) => result.status === 'rejected');
  if (failed) throw failed.reason; // What the rule found comes first.
  return outcome.status === 'fulfilled' ? outcome.value : undefined;
}

function meets({ capabilities, close }: StorageAdapter, need: StorageNeed, isReopenable: boolean): boolean {
  if (need === 'reopen') return isReopenable;
  if (need === 'close') return close !== undefined;
  return need === 'durability' ? capabilities.durability !== 'none' : capabilities[need];
}
