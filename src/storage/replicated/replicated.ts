import * as z from 'zod';
import { emit, type Sink } from '../../base/emit.js';
import { CorruptionError, InvalidInputError } from '../../base/errors.js';
import { functionOption, parseOptions } from '../../base/options.js';
import type { StorageAdapter, StorageCapabilities } from '../adapter.js';
import { checked } from '../checked.js';
import { Gate } from '../gate.js';
import { layerOver } from '../layers.js';
import { Backup, isDamage } from './backup.js';
import { COPY_ROOM_BYTES } from './copy-format.js';
import { type ReplicaRepair, type ReplicaRepairOptions, repairReplicas } from './repair.js';
import type { ReplicationEvent } from './replication-event.js';
import { compareReplicas, damageIn, inWords, type ReplicaComparison, type Replicas, stateOf } from './survey.js';
import { writesOf } from './writes.js';

/** For `replicated`. */
export interface ReplicatedOptions {
  /**
   * When a write is acknowledged. Default `'wait'`: when the primary has it and every backup has it too or has failed,
   * which is reported. `'follow'`: as soon as the primary has it; writes cost what they cost without backups, and the
   * last ones are in none of them when the process dies.
   */
  readonly backups?: 'wait' | 'follow';
  /** Hears of copies that failed and of keys that `repair` put into the primary. */
  readonly emit?: Sink<ReplicationEvent>;
}

/** What one instance knows of a backup without looking. */
export interface BackupDivergence {
  /** Name of the backup. */
  readonly backup: string;
  /** Copies that failed, since the start or the last `repair` that came through. Above 0: the backup lacks something. */
  readonly failed: number;
  /** Copies that are under way or wait. */
  readonly pending: number;
}

/** A store with backups: an adapter with the means to compare and repair them. */
export interface ReplicatedStorage extends StorageAdapter {
  readonly open: () => Promise<void>;
  readonly close: () => Promise<void>;
  /** What this instance knows without looking: one entry a backup, in their order. Other processes count their own. */
  readonly divergence: () => readonly BackupDivergence[];
  /**
   * Reads every value of every store and tells where a backup is not like the primary, and what is damaged. Changes
   * nothing. Keys that other processes write meanwhile may be named though all is well.
   */
  readonly compare: (options?: { readonly signal?: AbortSignal }) => Promise<ReplicaComparison>;
  /**
   * Reads every value of every store; brings to the backups what they lack, and puts back into the primary what is damaged
   * there, if a backup has the very bytes: a copy under the version that the primary lost. Where the stores cannot tell
   * who is right nothing is touched, unless `believe` says whom to believe.
   *
   * What is put into the primary gets a new version, on condition that nobody wrote the key meanwhile. A crash half-way
   * leaves each key mended or as it was: run it again.
   *
   * Call it before a repair of the primary's own, which forgets under which versions values were lost. A file store that
   * is damaged where it cannot tell which keys it lost takes no writes until its own `repair`: then run that one, and
   * after it this one, believing the backups.
   * @throws whatever the primary threw that is not damage of one key; `CorruptionError` if it takes no writes.
   */
  readonly repair: (options?: ReplicaRepairOptions) => Promise<ReplicaRepair>;
}

const signal = z.instanceof(AbortSignal).optional();
const optionsSchema = z.strictObject({
  backups: z.enum(['wait', 'follow']).default('wait'),
  emit: functionOption<Sink<ReplicationEvent>>().optional(),
});
const compareSchema = z.strictObject({ signal });
const repairSchema = z.strictObject({ believe: z.enum(['nobody', 'primary', 'backups']).default('nobody'), signal });

/**
 * One store with copies in others. The first store is the primary, and it alone is the truth: it decides conditions,
 * gives the versions, and answers every read. Each write is then copied to the backups. They are there for two things:
 * to put back what gets damaged in the primary (`repair`), and to make a new primary (`restoreFromBackups`).
 *
 * **Never behind your back.** A read never falls back to a backup: its value may be older, and an older value served
 * silently is worse than an error. A damaged key rejects with `CorruptionError`, which says whether a backup has the same
 * bytes. When the primary does not answer, its errors pass through: whether to fail over is for people to decide.
 *
 * **A backup that fails fails no write.** It is reported and counted, and lacks the write until the key is written again
 * or `repair` is called. So too after a crash between a write and its copy. For this reason `durability` is that of the
 * primary: an acknowledged write is in the backups only as long as nothing was reported.
 *
 * **A backup is never turned back.** Copies are made by compare-and-swap, in any number of processes: what a backup was
 * given is never undone by something older, and no deleted key comes back. The values of a batch are copied in one batch
 * if the backup has batches. Apart from that a backup is the newest of each key, not the state of one moment.
 *
 * A backup is no copy of the primary's bytes: each value has a header with the primary's version and a SHA-256. Give it a
 * store or a room of its own (`prefixed`), empty at first; one that holds anything else is refused. When the primary is
 * exchanged for another store, call `repair({ believe: 'primary' })` before anything is written: versions of two stores
 * mean nothing to each other.
 *
 * The scope is the narrowest of all stores; batches, versions and `watch` are the primary's. `close()` waits for the
 * copies and closes all stores.
 *
 * @throws InvalidInputError without a backup, for a store that is given twice, or for an unknown option.
 */
export function replicated(
  stores: readonly [primary: StorageAdapter, ...backups: StorageAdapter[]],
  options?: ReplicatedOptions,
): ReplicatedStorage {
  const { backups: mode, emit: sink } = parseOptions(optionsSchema, options);
  const [primary, ...others] = requireStores(stores);
  const gate = new Gate(`The replicated store over ${primary.name}`);
  const backups = others.map((store) => new Backup(store, primary));
  const replicas: Replicas = { primary, backups, gate, sink };
  const adapter = layerOver(stores[0], checked(adapterOver(replicas, mode === 'wait')));
  let closing: Promise<void> | undefined;
  return Object.assign(adapter, {
    open: () => gate.pass(() => openAll(replicas)),
    close: () => {
      closing ??= closeAll(replicas);
      return closing;
    },
    divergence: () => backups.map(({ store, failed, pending }) => ({ backup: store.name, failed, pending })),
    compare: async (options?: { readonly signal?: AbortSignal }) => {
      const { signal } = parseOptions(compareSchema, options);
      return gate.pass(() => compareReplicas(replicas, signal));
    },
    repair: async (options?: ReplicaRepairOptions) => {
      const { believe, signal } = parseOptions(repairSchema, options);
      return gate.pass(() => repairReplicas(replicas, believe, signal));
    },
  });
}

function requireStores(stores: readonly StorageAdapter[]): readonly [StorageAdapter, ...StorageAdapter[]] {
  if (!Array.isArray(stores) || stores.length < 2) {
    throw new InvalidInputError('stores: give the primary and at least one backup: [primary, backup].', 'stores');
  }
  if (new Set(stores).size < stores.length) {
    throw new InvalidInputError('stores: the same store is given twice. A backup needs a store of its own.', 'stores');
  }
  return stores.map(checked) as [StorageAdapter, ...StorageAdapter[]];
}

/** The adapter's methods: the primary's, each write followed by its copies. */
function adapterOver(replicas: Replicas, isWaiting: boolean): StorageAdapter {
  const { primary, gate } = replicas;
  const { watch } = primary;
  return {
    name: `replicated ${primary.name}`,
    get capabilities() {
      return capabilitiesOf(replicas);
    },
    get: (key, { signal } = {}) =>
      gate.pass(async () => {
        try {
          return await primary.get(key, signal && { signal }); // Proved, also if the caller would: damage brings advice.
        } catch (error) {
          throw isDamage(error) ? await withAdvice(replicas, key, error as CorruptionError) : error;
        }
      }),
    list: (prefix, options) => gate.pass(() => primary.list(prefix, options)),
    ...writesOf(replicas, isWaiting),
    ...(watch && { watch: (prefix, onChange) => gate.pass(async () => gate.endLater(await watch(prefix, onChange))) }),
  };
}

type Scope = StorageCapabilities['scope'];

/** The narrowest first. */
const SCOPES: readonly Scope[] = ['process', 'host', 'network'];

function capabilitiesOf({ primary, backups }: Replicas): StorageCapabilities {
  const all = [primary.capabilities, ...backups.map(({ store }) => store.capabilities)];
  const scope = SCOPES[Math.min(...all.map((capabilities) => SCOPES.indexOf(capabilities.scope)))] as Scope;
  const limits = all.flatMap(({ maxValueBytes }, at) =>
    maxValueBytes === undefined ? [] : [at === 0 ? maxValueBytes : maxValueBytes - COPY_ROOM_BYTES],
  );
  const { maxValueBytes: _, ...promised } = primary.capabilities;
  return { ...promised, scope, ...(limits.length > 0 && { maxValueBytes: Math.min(...limits) }) };
}

/** The same error, and what the backups have to say about it. */
async function withAdvice(replicas: Replicas, key: string, error: CorruptionError): Promise<CorruptionError> {
  const state = await stateOf(replicas, key, new Set()).catch(() => undefined); // Then it is the first error that counts.
  const recoverable = state && damageIn(replicas, state)?.recoverable;
  const advice = {
    same: 'A backup has the very bytes that were lost: repair() puts them back.',
    other: 'A backup has a value that may not be the one that was lost: see repair() and its `believe`.',
    none: 'No backup that answers has it.',
  }[recoverable ?? 'none'];
  return new CorruptionError(`${error.message} ${advice}`, error.key, { cause: error });
}

async function openAll({ primary, backups, sink }: Replicas): Promise<void> {
  await primary.open?.();
  await Promise.all(
    backups.map(async ({ store }) => {
      await store.open?.().catch((error) => {
        emit(sink, { type: 'backup.open-failed', store: store.name, ...inWords(error) });
      });
    }),
  );
}

async function closeAll({ primary, backups, gate }: Replicas): Promise<void> {
  await gate.shut();
  await Promise.all(backups.map((backup) => backup.idle()));
  const stores = [primary, ...backups.map(({ store }) => store)];
  const closings = await Promise.allSettled(stores.map(async (store) => store.close?.()));
  const failed = closings.find((result) => result.status === 'rejected');
  if (failed) throw failed.reason;
}
