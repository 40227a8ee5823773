import { statSync } from 'node:fs';
import { StorageError } from '../adapter.js';

/**
 * The file behind a database handle. SQLite goes on writing to a file that was deleted or replaced under it and reports
 * success: such writes reach nobody, so they must not be acknowledged.
 */
export class DatabaseFile {
  readonly path: string;
  readonly #identity: string | undefined;

  constructor(path: string) {
    this.path = path;
    this.#identity = identityOf(path);
  }

  /** @throws StorageError if the path leads to no file, or to another one than at first. */
  requireInPlace(): void {
    const now = identityOf(this.path);
    if (now !== GONE && (now === this.#identity || now === undefined || this.#identity === undefined)) return;
    const what = now === GONE ? 'is gone' : 'was replaced by another one';
    const advice = 'Nothing written through this handle can be found again; open a new handle and a new store';
    throw new StorageError(`The database file ${this.path} ${what} while it was open. ${advice}.`);
  }
}

const GONE = 'gone';

/** `undefined` where it may not be asked: a folder closed to this user says nothing about the open file. */
function identityOf(path: string): string | undefined {
  try {
    const file = statSync(path, { bigint: true, throwIfNoEntry: false });
    return file === undefined ? GONE : `${file.dev}:${file.ino}`;
  } catch {
    return undefined;
  }
}
