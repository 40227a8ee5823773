/** What a file store reports. `store` is its directory. */
export type StorageEvent =
  | { readonly type: 'storage.torn'; readonly store: string; readonly segment: number; readonly sizeBytes: number }
  | { readonly type: 'storage.damaged'; readonly store: string; readonly segment: number; readonly places: number }
  | { readonly type: 'storage.sync-failed'; readonly store: string; readonly segment: number; readonly reason: string }
  | {
      readonly type: 'storage.compacted';
      readonly store: string;
      readonly segment: number;
      readonly beforeBytes: number;
      readonly afterBytes: number;
    }
  | { readonly type: 'storage.index-failed'; readonly store: string; readonly segment: number; readonly reason: string }
  | {
      readonly type: 'storage.compaction-failed';
      readonly store: string;
      readonly segment: number;
      readonly reason: string;
    };

/** What `repair` did: keys kept, keys whose value was lost, and where the damaged bytes are kept. */
export interface StorageRepair {
  readonly kept: number;
  /** Keys dropped because their value was damaged. */
  readonly dropped: readonly string[];
  /** Damaged places whose keys are unknown: what was written there is lost. */
  readonly unknownPlaces: number;
  /** The damaged segment, kept for inspection; `undefined` if nothing was damaged. */
  readonly damagedFile?: string;
}
