import { isHoldfastError } from '../../base/errors.js';
import { NoSpaceError, StorageError } from '../adapter.js';

/** An error of the operating system in the library's words. */
export function asStorageError(cause: unknown, store: string): Error {
  if (isHoldfastError(cause)) return cause;
  const code = (cause as NodeJS.ErrnoException | undefined)?.code;
  if (code === 'ENOSPC' || code === 'EDQUOT') return new NoSpaceError(store, { cause });
  const advice = ADVICE.get(code ?? '') ?? said(cause);
  return new StorageError(`The file store in ${store}: ${advice}`, { cause });
}

const ADVICE = new Map([
  ['ENOTDIR', 'a part of the path is a file, not a directory. Give it a directory of its own.'],
  ['EEXIST', 'there is a file, not a directory, at this path. Give it a directory of its own.'],
  ['EACCES', 'this user may not read and write there. Change the owner or the mode of the directory.'],
  ['EPERM', 'the operating system does not allow it. Change the owner or the mode of the directory.'],
  ['EROFS', 'the file system is mounted read-only. Give it a directory that can be written.'],
  ['EMFILE', 'this process has too many open files. Close some, or raise its limit (ulimit -n).'],
  ['ENFILE', 'the machine has too many open files. Close some, or raise the limit.'],
  ['ENOENT', 'its directory or a file of it is gone. Put it back, or open the store again to make a new one.'],
]);

export function said(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** What a full disk looks like first: the call succeeds and has written less than it was given. */
export function shortWrite(path: string): Error {
  return Object.assign(new Error(`short write of ${path}`), { code: 'ENOSPC' });
}
