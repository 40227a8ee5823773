import * as z from 'zod';
import { InvalidInputError, isHoldfastError } from '../../base/errors.js';
import { parseOptions } from '../../base/options.js';
import type { StorageAdapter } from '../adapter.js';
import { checked } from '../checked.js';
import { keyGroups } from './all-keys.js';
import { requireBackup } from './backup.js';
import { type InBackup, latestCopy, readBackup } from './key-state.js';

/** For `restoreFromBackups`. */
export interface RestoreFromBackupsOptions {
  /** Aborting ends the restore with the signal's reason. What was done until then stays done; run it again to go on. */
  readonly signal?: AbortSignal;
}

/** What `restoreFromBackups` did. Each list names all keys that it applies to. */
export interface RestoredFromBackups {
  /** Keys that were written to the target. */
  readonly restored: number;
  /** Keys that the target had already, with the same bytes. */
  readonly alreadyThere: number;
  /** The target has other bytes under these keys. They were left as they are. */
  readonly conflicting: readonly string[];
  /** No backup has an intact value of these keys, and at least one has a damaged one: they are lost. */
  readonly damaged: readonly string[];
  /**
   * The backups do not all have the same value of these keys. The latest was taken where that can be told, else the first
   * backup's. A key that only some backups have may have been deleted.
   */
  readonly disagreed: readonly string[];
  /** Names of backups that are damaged where they cannot tell which keys were there: some may be missing. */
  readonly suspect: readonly string[];
}

const optionsSchema = z.strictObject({ signal: z.instanceof(AbortSignal).optional() });

/**
 * Fills a new primary from backups when the old one is gone for good. The backups are only read. Each value is proved
 * against its SHA-256 and written to `target` under a version of the target's own; nothing that the target has already is
 * overwritten. A crash half-way leaves some keys: run it again to go on.
 *
 * Then make `replicated([target, ...backups])` and call its `repair({ believe: 'primary' })` before anything is written:
 * it gives the backups the versions of their new primary, and removes or overwrites what was not taken from them. Who
 * held a version of the old primary (a lease, a running transaction) must read anew.
 *
 * What comes back is the newest that each backup was given, key by key. It is not the state of one moment: of writes
 * that were never acknowledged some keys may be there and others not.
 *
 * @throws InvalidInputError without backups or for an unknown option. Rejects with what a store threw: leave out a backup
 * that is down.
 */
export async function restoreFromBackups(
  backups: readonly StorageAdapter[],
  target: StorageAdapter,
  options?: RestoreFromBackupsOptions,
): Promise<RestoredFromBackups> {
  const { signal } = parseOptions(optionsSchema, options);
  if (!Array.isArray(backups) || backups.length === 0) {
    throw new InvalidInputError('backups: give at least one backup to restore from.', 'backups');
  }
  const sources = backups.map(checked);
  const restore = new Restore(checked(target));
  for (const source of sources) await requireBackup(source);
  const listed = sources.map((store) => ({ store, onSuspect: () => restore.suspect.push(store.name) }));
  for await (const group of keyGroups(listed, signal)) {
    await Promise.all(
      group.map(async (key) => {
        const copies = await Promise.all(sources.map(async (store) => ({ copy: await readBackup(store, key) })));
        await restore.add(key, copies);
      }),
    );
  }
  return restore;
}

class Restore implements RestoredFromBackups {
  restored = 0;
  alreadyThere = 0;
  readonly conflicting: string[] = [];
  readonly damaged: string[] = [];
  readonly disagreed: string[] = [];
  readonly suspect: string[] = [];
  readonly #target: StorageAdapter;

  constructor(target: StorageAdapter) {
    this.#target = target;
  }

  async add(key: string, copies: readonly { readonly copy: InBackup }[]): Promise<void> {
    const latest = latestCopy(copies)?.copy;
    if (latest === undefined) {
      if (copies.some(({ copy }) => copy.kind === 'damaged')) this.damaged.push(key);
      return; // A place without a value: no write of this key was ever acknowledged.
    }
    if (copies.some(({ copy }) => copy.kind !== 'value' || copy.version !== latest.version)) this.disagreed.push(key);
    if (await this.#create(key, latest.value)) this.restored++;
    else if (await this.#has(key, latest.value)) this.alreadyThere++;
    else this.conflicting.push(key);
  }

  async #create(key: string, value: Uint8Array): Promise<boolean> {
    try {
      await this.#target.put(key, value, { ifVersion: null });
      return true;
    } catch (error) {
      if (isHoldfastError(error) && error.code === 'HOLDFAST_CONFLICT') return false;
      throw error;
    }
  }

  async #has(key: string, value: Uint8Array): Promise<boolean> {
    const entry = await this.#target.get(key);
    return entry !== undefined && Buffer.compare(entry.value, value) === 0;
  }
}
