import { emit, type Sink } from '../../base/emit.js';
import type { HoldfastError } from '../../base/errors.js';
import type { StorageAdapter } from '../adapter.js';
import { blotted } from '../driver-fault.js';
import type { Gate } from '../gate.js';
import { keyGroups } from './all-keys.js';
import type { Backup, Change } from './backup.js';
import {
  type DifferenceKind,
  differenceOf,
  type InBackup,
  type KeyState,
  readBackup,
  readPrimary,
} from './key-state.js';
import type { ReplicationEvent } from './replication-event.js';

/** A primary with its backups. */
export interface Replicas {
  readonly primary: StorageAdapter;
  readonly backups: readonly Backup[];
  readonly gate: Gate;
  readonly sink: Sink<ReplicationEvent> | undefined;
}

/** One key in which a store is not as it should be. */
export interface Difference {
  readonly key: string;
  /** Name of the store: a backup, or the primary if what it has is damaged. */
  readonly store: string;
  readonly kind: DifferenceKind;
  /**
   * For a damaged key of the primary: `same` if a backup has the very bytes that were lost, `other` if backups have older
   * ones or it cannot be told. Left out if no backup has any.
   */
  readonly recoverable?: 'same' | 'other';
}

/** What was found when the backups were compared with the primary. */
export interface ReplicaComparison {
  /** Keys that were looked at, in whichever store they are. */
  readonly keys: number;
  /** How many differences there are. */
  readonly differing: number;
  /** The first 1,000 of them, in key order. */
  readonly differences: readonly Difference[];
  /** Names of backups that did not answer: nothing is known of them. */
  readonly unreachable: readonly string[];
  /** Names of stores that are damaged where they cannot tell which keys were there: some may be missing from them all. */
  readonly suspect: readonly string[];
}

/** A difference with the backup that has it: names need not be unique. */
interface FoundIn {
  readonly backup: Backup;
  readonly difference: Difference;
}

const MAX_NAMED = 1_000;

/** Counts differences and names the first. */
export class DifferenceList {
  count = 0;
  readonly named: Difference[] = [];

  add(difference: Difference): void {
    this.count++;
    if (this.named.length < MAX_NAMED) this.named.push(difference);
  }
}

/** Shows every key of every store to `visit`. `silent` gets the backups that do not answer. */
export async function survey(
  replicas: Replicas,
  { signal, silent = new Set() }: { readonly signal: AbortSignal | undefined; readonly silent?: Set<Backup> },
  visit: (state: KeyState, differences: DifferenceList) => Promise<void>,
): Promise<ReplicaComparison> {
  const differences = new DifferenceList();
  let keys = 0;
  const suspect: string[] = [];
  const listed = (store: StorageAdapter) => ({ store, onSuspect: () => suspect.push(store.name) });
  const listings = replicas.backups.map((backup) => ({ ...listed(backup.store), onFailure: () => silent.add(backup) }));
  for await (const group of keyGroups([listed(replicas.primary), ...listings], signal)) {
    replicas.gate.requireOpen();
    signal?.throwIfAborted();
    const states = await Promise.all(group.map((key) => settledState(replicas, key, silent)));
    for (const state of states) await visit(state, differences);
    keys += group.length;
  }
  const unreachable = [...silent].map(({ store }) => store.name);
  return { keys, differing: differences.count, differences: differences.named, unreachable, suspect };
}

/** Compares without changing anything. */
export function compareReplicas(replicas: Replicas, signal: AbortSignal | undefined): Promise<ReplicaComparison> {
  return survey(replicas, { signal }, async (state, differences) => {
    const damage = damageIn(replicas, state);
    if (damage) differences.add(damage);
    for (const { difference } of differencesIn(state)) differences.add(difference);
  });
}

/** The difference of a key that the primary cannot read. */
export function damageIn({ primary: { name } }: Replicas, { key, primary, copies }: KeyState): Difference | undefined {
  if (primary.kind !== 'damaged') return undefined;
  const versions = copies.flatMap(({ copy }) => (copy.kind === 'value' ? [copy.version] : []));
  const damage = { key, store: name, kind: 'damaged' } as const;
  if (versions.length === 0) return damage;
  return { ...damage, recoverable: versions.some((version) => version === primary.version) ? 'same' : 'other' };
}

/** How each backup differs in one key. */
export function differencesIn({ key, primary, copies }: KeyState): readonly FoundIn[] {
  return copies.flatMap(({ backup, copy }) => {
    const kind = differenceOf(primary, copy);
    return kind === undefined ? [] : [{ backup, difference: { key, store: backup.store.name, kind } }];
  });
}

/** Brings these changes to the backup; false, and reported, if that failed. */
export async function copyTo(
  { sink }: Pick<Replicas, 'sink'>,
  backup: Backup,
  changes: readonly Change[],
): Promise<boolean> {
  try {
    await backup.follow(changes);
    return true;
  } catch (error) {
    const store = backup.store.name;
    backup.failed += changes.length;
    for (const { key } of changes) emit(sink, { type: 'backup.copy-failed', store, key, ...inWords(error) });
    return false;
  }
}

/** An error of a store as an event tells it. Stores are checked: they throw no others than these. */
export function inWords(error: unknown): { readonly error: string; readonly code: string } {
  const { message, code } = error as HoldfastError;
  return { error: blotted(message), code };
}

/** Looked at again where stores differ: a copy of our own may have been under way. */
async function settledState(replicas: Replicas, key: string, silent: Set<Backup>): Promise<KeyState> {
  const state = await stateOf(replicas, key, silent);
  if (differencesIn(state).length === 0) return state;
  await Promise.all(replicas.backups.map((backup) => backup.settled(key)));
  return stateOf(replicas, key, silent);
}

/** The key in all stores. */
export async function stateOf(
  { primary, backups }: Pick<Replicas, 'primary' | 'backups'>,
  key: string,
  silent: Set<Backup>,
): Promise<KeyState> {
  const ask = async (backup: Backup): Promise<InBackup> => {
    if (silent.has(backup)) return { kind: 'silent' };
    return readBackup(backup.store, key).catch(() => {
      silent.add(backup); // Its name is in the answer: nothing is said of what it holds.
      return { kind: 'silent' };
    });
  };
  const copies = await Promise.all(backups.map(async (backup) => ({ backup, copy: await ask(backup) })));
  return { key, copies, primary: await readPrimary(primary, key) };
}
