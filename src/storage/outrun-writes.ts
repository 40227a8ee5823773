import { type BatchOperation, ConflictError, type Version } from './adapter.js';

/** What became of a write: it is stored under a version, or failed. */
export type WriteOutcome = { readonly version: Version } | { readonly error: unknown };

/** A write whose outcome is known, once it is. */
export interface AnsweredWrite {
  readonly operations: readonly BatchOperation[];
  readonly outcome: WriteOutcome | undefined;
}

/**
 * Those of `waiting` (in order) that need not be sent, each with its conflict: writes that were sent while they waited have
 * shown that they fail.
 *
 * Whatever an answered write tells of a key was true at one moment, in which it happened or was refused. A write that waited
 * through that moment, behind none that may yet change the key, may as well be looked at there as later. If its first
 * condition did not hold then, it is refused, and nothing of it happens. Only the first counts: a conflict names the first
 * key whose condition fails, and of conditions before it nothing would be known.
 */
export function outrunWrites<Write extends { readonly operations: readonly BatchOperation[] }>(
  answered: readonly AnsweredWrite[],
  waiting: readonly Write[],
): ReadonlyMap<Write, ConflictError> {
  const versions = new Map(answered.flatMap(versionsShownBy));
  const outrun = new Map<Write, ConflictError>();
  for (const write of waiting) {
    const { key, ifVersion } = write.operations[0] as BatchOperation;
    const version = versions.get(key);
    if (ifVersion !== undefined && version !== undefined && version !== ifVersion) {
      outrun.set(write, new ConflictError(key, version ?? undefined));
    } else {
      for (const { type, key: own } of write.operations) if (type !== 'check') versions.delete(own);
    }
  }
  return outrun;
}

/** The versions that keys had once the write had happened, or was refused; `null` for an absent key. */
function versionsShownBy({ operations, outcome }: AnsweredWrite): readonly [string, Version | null][] {
  if (outcome === undefined) return [];
  if ('error' in outcome) {
    const { error } = outcome;
    return error instanceof ConflictError ? [[error.key, error.currentVersion ?? null]] : [];
  }
  return operations.map((operation) => [operation.key, versionAfter(operation, outcome.version)]);
}

function versionAfter({ type, ifVersion }: BatchOperation, written: Version): Version | null {
  if (type === 'put') return written;
  return type === 'check' ? (ifVersion as Version | null) : null;
}
