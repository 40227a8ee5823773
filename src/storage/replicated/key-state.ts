import type { StorageAdapter, StoredEntry, Version } from '../adapter.js';
import { type Backup, isDamage, versionOf } from './backup.js';
import { type Copy, readCopy } from './copy-format.js';

/** A copy that has a value. */
export type ValueCopy = Copy & { readonly kind: 'value' };

/** What the primary has under a key. `version` of a damaged one is that of the lost bytes, if the store still knows it. */
export type InPrimary =
  | { readonly kind: 'absent' }
  | { readonly kind: 'intact'; readonly entry: StoredEntry }
  | { readonly kind: 'damaged'; readonly version: Version | undefined };

/** What a backup has under a key. A place held for a value counts for nothing. `silent`: the backup gave no answer. */
export type InBackup = ValueCopy | { readonly kind: 'absent' | 'place' | 'damaged' | 'silent' };

/** One key in all stores. */
export interface KeyState {
  readonly key: string;
  readonly primary: InPrimary;
  readonly copies: readonly { readonly backup: Backup; readonly copy: InBackup }[];
}

/**
 * How a backup differs from the primary in one key.
 *
 * - `missing`: the backup lacks it. `stale`: it has it under another version, an older one as far as can be told.
 * - `extra`: only the backup has it. `newer`: the backup's value is the later one. Either the primary lost a write, or the
 *   backup was not told of a delete: the stores cannot tell which.
 * - `damaged`: what the store has cannot be read or does not prove itself.
 */
export type DifferenceKind = 'missing' | 'stale' | 'extra' | 'newer' | 'damaged';

/** @throws whatever the primary threw that is not damage of this key. */
export async function readPrimary(primary: StorageAdapter, key: string): Promise<InPrimary> {
  try {
    const entry = await primary.get(key);
    return entry ? { kind: 'intact', entry } : { kind: 'absent' };
  } catch (error) {
    if (!isDamage(error)) throw error;
    return { kind: 'damaged', version: await versionOf(primary, key) };
  }
}

/** @throws whatever the backup threw that is not damage. */
export async function readBackup(backup: StorageAdapter, key: string): Promise<InBackup> {
  try {
    const entry = await backup.get(key);
    return entry ? readCopy(key, entry.value) : { kind: 'absent' };
  } catch (error) {
    if (isDamage(error)) return { kind: 'damaged' };
    throw error;
  }
}

/** How the backup differs; `undefined` if it has what the primary has, or did not answer. */
export function differenceOf(primary: InPrimary, backup: InBackup): DifferenceKind | undefined {
  if (backup.kind === 'silent') return undefined;
  if (backup.kind === 'damaged') return 'damaged';
  if (primary.kind === 'damaged') return undefined; // There is nothing to differ from.
  if (primary.kind === 'absent') return backup.kind === 'value' ? 'extra' : undefined;
  if (backup.kind !== 'value') return 'missing';
  const { version, value, suspect } = primary.entry;
  const isSame = Buffer.compare(backup.value, value) === 0;
  if (backup.version === version) return isSame ? undefined : 'stale';
  // A primary that says of itself that something later may be lost cannot overrule a backup.
  if (suspect) return 'newer';
  return backup.isOrdered && backup.version > version && !isSame ? 'newer' : 'stale';
}

/** The copy to take where no version settles it: the latest, where all versions are ordered; else that of the first backup. */
export function latestCopy<Named extends { readonly copy: InBackup }>(
  copies: readonly Named[],
): (Named & { readonly copy: ValueCopy }) | undefined {
  const intact = copies.filter((one): one is Named & { readonly copy: ValueCopy } => one.copy.kind === 'value');
  const areOrdered = intact.every(({ copy }) => copy.isOrdered);
  return (areOrdered ? intact.toSorted((one, other) => (one.copy.version > other.copy.version ? -1 : 1)) : intact)[0];
}
