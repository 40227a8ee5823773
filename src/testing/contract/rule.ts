import type { StorageAdapter } from '../../storage/adapter.js';
import type { StoreProcess } from './store-process.js';

/** The store a rule is tried on: fresh and empty. */
export interface RuledStore {
  readonly store: StorageAdapter;
  /** Another instance over the same entries; `store` itself if the factory made a plain adapter. */
  readonly another: () => Promise<StorageAdapter>;
  /** The same entries, opened by a process of its own. For rules that need `'processes'`. */
  readonly inProcess: () => Promise<StoreProcess>;
  /** Changes the stored bytes of the key. For rules that need `'damage'`. */
  readonly damage: (key: string) => Promise<void>;
  /** Does to the medium what its failures do. For rules that need `'interrupt'`. */
  readonly interrupt: () => Promise<void>;
}

/**
 * What a store must have for a rule to mean anything. `reopen`: the factory can open several instances. `close`: the
 * adapter has that method. `durability`: acknowledged writes outlive the instance. `processes`, `damage`, `interrupt`:
 * the factory has the hook of that purpose. The others are capabilities.
 */
export type StorageNeed =
  | 'atomicBatch'
  | 'monotonicVersions'
  | 'watch'
  | 'durability'
  | 'reopen'
  | 'close'
  | 'processes'
  | 'damage'
  | 'interrupt';

/** One sentence of the contract of `StorageAdapter`, with the proof. */
export interface ContractRule {
  /** Would be false if the adapter were broken. */
  readonly name: string;
  readonly needs?: readonly StorageNeed[];
  /** How long it may take on a slow store and a busy machine. Default `UNHURRIED_MS`. */
  readonly timeoutMs?: number;
  /** Rejects if the store breaks the rule. */
  readonly run: (ruled: RuledStore) => Promise<void>;
}

/** How long a rule may take: longer than the tests of most hosts, because stores and machines may be slow. */
export const UNHURRIED_MS = 90_000;

/** An adapter that has `batch`, as all with `atomicBatch` do. */
export type BatchingStore = StorageAdapter & Required<Pick<StorageAdapter, 'batch'>>;

/** A rule about `batch`: left out for stores that have none. */
export function batchRule(name: string, run: (store: BatchingStore, ruled: RuledStore) => Promise<void>): ContractRule {
  return { name, needs: ['atomicBatch'], run: (ruled) => run(ruled.store as BatchingStore, ruled) };
}
