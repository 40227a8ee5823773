/** What a replicated store reports. `store` is the name of the store it is about; `error` is one line for people. */
export type ReplicationEvent =
  /** A backup could not be opened. It is tried again by the next copy. */
  | { readonly type: 'backup.open-failed'; readonly store: string; readonly error: string; readonly code: string }
  /** The key was written in the primary, and this backup does not have that. `repair` brings it there. */
  | {
      readonly type: 'backup.copy-failed';
      readonly store: string;
      readonly key: string;
      readonly error: string;
      readonly code: string;
    }
  /** `repair` put what a backup had into the primary. `isSame`: the very bytes that were lost, and not others. */
  | {
      readonly type: 'primary.brought-back';
      readonly store: string;
      readonly key: string;
      readonly backup: string;
      readonly isSame: boolean;
    };
