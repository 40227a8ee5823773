import { isHoldfastError } from '../../base/errors.js';
import { type BatchOperation, type StorageAdapter, StorageError, type Version } from '../adapter.js';
import { copyBytes, looksLikeCopy } from './copy-format.js';
import { KeyTurns } from './key-turns.js';

/** A key that was written in the primary, for a backup to follow. */
export interface Change {
  readonly key: string;
  readonly type: 'put' | 'delete';
  /** What the write left in the primary. Without it the primary is read. */
  readonly written?: { readonly version: Version; readonly value: Uint8Array };
}

interface WaitingCopy {
  change: Change;
  readonly done: Promise<void>;
}

/** Copies to one backup at once: values are in memory only while theirs is made. */
const MAX_RUNNING = 64;

/** Rounds that others may get ahead of one copy. Each of them is somebody's progress; a thousand are a broken store. */
const MAX_ROUNDS = 1_000;

/** Keys looked at before a store is taken for a backup. */
const SAMPLE_KEYS = 10;

/**
 * One backup and how it follows the primary. Any number of processes may do that at once, and die at any moment: what a
 * backup was given is never undone by something older.
 *
 * Every write is conditional on a version of the backup that was read *before* the primary was. Whoever copied something
 * newer meanwhile has changed that version, and the older copy is refused. An absent key has no version to hold on to: a
 * place is put there first, so that a copy that comes late finds that its place is gone with the delete that it missed.
 */
export class Backup {
  readonly store: StorageAdapter;
  /** Copies that failed, since the start or the last `repair` that came through. */
  failed = 0;
  readonly #primary: StorageAdapter;
  readonly #turns = new KeyTurns();
  /** Copies of single keys that have not begun: a later change of the key need only be seen by that one. */
  readonly #waiting = new Map<string, WaitingCopy>();
  readonly #line: (() => void)[] = [];
  #running = 0;
  #pending = 0;
  #admission: Promise<void> | undefined;

  constructor(store: StorageAdapter, primary: StorageAdapter) {
    this.store = store;
    this.#primary = primary;
  }

  /** Copies under way or waiting. */
  get pending(): number {
    return this.#pending;
  }

  /** Resolves when the backup holds these changes, or something newer. All in one batch, if the backup has batches. */
  follow(changes: readonly Change[]): Promise<void> {
    const [only] = changes;
    if (only === undefined) return Promise.resolve();
    if (changes.length > 1)
      return this.#take(
        changes.map(({ key }) => key),
        () => changes,
      );
    const joined = this.#waiting.get(only.key);
    if (joined !== undefined) {
      // Of the two the delete may be the earlier one, whatever the order in which they came: expect a value.
      if (only.type === 'put') joined.change = only;
      else if (joined.change.type === 'delete') joined.change = only;
      return joined.done;
    }
    const done = this.#take([only.key], () => {
      this.#waiting.delete(only.key);
      return [waiting.change];
    });
    const waiting: WaitingCopy = { change: only, done };
    this.#waiting.set(only.key, waiting);
    return done;
  }

  /** Resolves when the copies of `key` that were asked for have been made, or failed. */
  settled(key: string): Promise<void> {
    return this.#turns.settled(key);
  }

  /** Resolves when no copy is under way or waiting any more. */
  idle(): Promise<void> {
    return this.#turns.idle();
  }

  #take(keys: readonly string[], begin: () => readonly Change[]): Promise<void> {
    this.#pending++;
    return this.#turns.take(keys, async () => {
      if (this.#running < MAX_RUNNING) this.#running++;
      else await new Promise<void>((resolve) => this.#line.push(resolve));
      try {
        const changes = begin();
        await this.#admit();
        await this.#copy(changes);
      } finally {
        this.#pending--;
        const next = this.#line.shift();
        if (next) next();
        else this.#running--;
      }
    });
  }

  async #copy(changes: readonly Change[]): Promise<void> {
    for (let round = 1; ; round++) {
      try {
        return await this.#tryCopy(changes);
      } catch (error) {
        const isOvertaken = isHoldfastError(error) && error.code === 'HOLDFAST_CONFLICT';
        if (!isOvertaken || round === MAX_ROUNDS) throw error;
      }
    }
  }

  async #tryCopy(changes: readonly Change[]): Promise<void> {
    const places = await Promise.all(changes.map((change) => this.#placeFor(change)));
    const planned = await Promise.all(changes.map((change, at) => this.#plan(change, places[at])));
    const operations = planned.filter((operation) => operation !== undefined);
    const { batch } = this.store;
    if (batch && operations.length > 1) await batch(operations);
    // In the order of the changes: what refers to a key is usually written behind it.
    else for (const operation of operations) await this.#apply(operation);
  }

  /** The version that the backup has now; if it has none and a value is to come, that of a place made for it. */
  async #placeFor({ key, type }: Change): Promise<Version | undefined> {
    const version = await versionOf(this.store, key);
    if (version !== undefined || type === 'delete') return version;
    return this.store.put(key, copyBytes(key, { kind: 'place' }), { ifVersion: null });
  }

  /** What makes the backup equal to the primary as it is now, if it still has the version of `place`. */
  async #plan({ key, written }: Change, place: Version | undefined): Promise<BatchOperation | undefined> {
    // Nothing is there to remove; if the key was made again since, whoever did that copies it.
    if (place === undefined) return undefined;
    const isCurrent = written !== undefined && (await versionOf(this.#primary, key)) === written.version;
    const entry = isCurrent ? written : await this.#primary.get(key);
    if (entry === undefined) return { type: 'delete', key, ifVersion: place };
    if ('suspect' in entry && entry.suspect) throw suspectPrimary(this.#primary, key);
    const isOrdered = this.#primary.capabilities.monotonicVersions;
    const value = copyBytes(key, { kind: 'value', isOrdered, version: entry.version, value: entry.value });
    return { type: 'put', key, value, ifVersion: place };
  }

  async #apply(operation: BatchOperation): Promise<void> {
    const ifVersion = operation.ifVersion as Version;
    if (operation.type === 'put') await this.store.put(operation.key, operation.value, { ifVersion });
    else await this.store.delete(operation.key, { ifVersion });
  }

  /** Once: a store that holds something else is not overwritten by mistake. */
  #admit(): Promise<void> {
    this.#admission ??= requireBackup(this.store).catch((error) => {
      this.#admission = undefined;
      throw error;
    });
    return this.#admission;
  }
}

/** Could a store tell that the bytes are not those written? */
export function isDamage(error: unknown): boolean {
  return isHoldfastError(error) && error.code === 'HOLDFAST_CORRUPTION';
}

/** The key's version without its bytes. A key equal to the prefix is the first of its listing. */
export async function versionOf(store: StorageAdapter, key: string): Promise<Version | undefined> {
  const { entries } = await store.list(key, { limit: 1 });
  return entries[0]?.key === key ? entries[0].version : undefined;
}

/** @throws StorageError if the store holds values and none of the first is a copy. */
export async function requireBackup(store: StorageAdapter): Promise<void> {
  const { entries } = await store.list('', { limit: SAMPLE_KEYS });
  let strangers = 0;
  for (const { key } of entries) {
    try {
      const entry = await store.get(key);
      if (entry && looksLikeCopy(entry.value)) return;
      if (entry) strangers++;
    } catch (error) {
      if (!isDamage(error)) throw error; // Damage is no sign of a stranger.
    }
  }
  if (strangers === 0) return;
  throw new StorageError(
    `${store.name} holds values that are no copies of a primary's, so it is not used as a backup. Give the backup an empty store, or a room of its own: prefixed(storage, 'backup').`,
  );
}

function suspectPrimary(primary: StorageAdapter, key: string): StorageError {
  return new StorageError(
    `"${key}" is not copied: ${primary.name} is damaged, and what it has may not be the newest. See compare().`,
  );
}
