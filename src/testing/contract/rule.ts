import type { StorageAdapter } from '../../storage/adapter.js';

/** The store a rule is tried on: fresh and empty. */
export interface RuledStore {
  readonly store: StorageAdapter;
  /** Another instance over the same entries; `store` itself if the factory made a plain adapter. */
  readonly another: () => Promise<StorageAdapter>;
}

/**
 * What a store must have for a rule to mean anything. `reopen`: the factory can open several instances. `close`: the
 * adapter has that method. `durability`: acknowledged writes outlive the instance.
 */
export type StorageNeed = 'atomicBatch' | 'monotonicVersions' | 'watch' | 'durability' | 'reopen' | 'close';

/** One sentence of the contract of `StorageAdapter`, with the proof. */
export interface ContractRule {
  /** Would be false if the adapter were broken. */
  readonly name: string;
  readonly needs?: readonly StorageNeed[];
  /** Rejects if the store breaks the rule. */
  readonly run: (ruled: RuledStore) => Promise<void>;
}

/** An adapter that has `batch`, as all with `atomicBatch` do. */
export type BatchingStore = StorageAdapter & Required<Pick<StorageAdapter, 'batch'>>;

/** A rule about `batch`: left out for stores that have none. */
export function batchRule(name: string, run: (store: BatchingStore, ruled: RuledStore) => Promise<void>): ContractRule {
  return { name, needs: ['atomicBatch'], run: (ruled) => run(ruled.store as BatchingStore, ruled) };
}
