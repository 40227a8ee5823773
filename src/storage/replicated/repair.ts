import { emit } from '../../base/emit.js';
import { isHoldfastError } from '../../base/errors.js';
import type { Backup, Change } from './backup.js';
import { differenceOf, type KeyState, latestCopy, type ValueCopy } from './key-state.js';
import {
  copyTo,
  type DifferenceList,
  damageIn,
  differencesIn,
  type ReplicaComparison,
  type Replicas,
  survey,
} from './survey.js';

/** For `repair`. */
export interface ReplicaRepairOptions {
  /**
   * Who is believed where the stores cannot tell: a key that only a backup has, a value that is newer in a backup, a
   * damaged key of which the backups have other bytes than those that were lost.
   *
   * Default `'nobody'`: such keys are left alone and named. `'primary'`: the backups are made like the primary; what only
   * they had is removed, damaged keys stay. `'backups'`: what they have is put into the primary, the latest of several
   * where that can be told, else the first backup's; a key whose delete a backup missed comes back.
   */
  readonly believe?: 'nobody' | 'primary' | 'backups';
  /** Aborting ends the repair with the signal's reason. What was done until then stays done; run it again to go on. */
  readonly signal?: AbortSignal;
}

/** What `repair` did. The differences are those that are left. */
export interface ReplicaRepair extends ReplicaComparison {
  /** Copies written to backups, or removed from them. */
  readonly copied: number;
  /** Keys that were put into the primary, each under a new version. */
  readonly broughtBack: readonly BroughtBack[];
}

/** A key of the primary that has a backup's value now. */
export interface BroughtBack {
  readonly key: string;
  /** Name of the backup it came from. */
  readonly backup: string;
  /** These are the very bytes that were lost. False: others, which the caller chose to believe. */
  readonly isSame: boolean;
}

/** Whom to believe. */
type Believed = 'nobody' | 'primary' | 'backups';

/** Makes all stores hold the same, as far as it is sure what that is. */
export async function repairReplicas(
  replicas: Replicas,
  believe: Believed,
  signal: AbortSignal | undefined,
): Promise<ReplicaRepair> {
  const silent = new Set<Backup>();
  const failedBefore = replicas.backups.map(({ failed }) => failed);
  const repair = new Repair(replicas, believe);
  const found = await survey(replicas, { signal, silent }, (state, left) => repair.mend(state, left));
  for (const [at, backup] of replicas.backups.entries()) {
    if (!silent.has(backup) && backup.failed === failedBefore[at]) backup.failed = 0;
  }
  return { ...found, copied: repair.copied, broughtBack: repair.broughtBack };
}

interface Source {
  readonly backup: Backup;
  readonly copy: ValueCopy;
}

class Repair {
  copied = 0;
  readonly broughtBack: BroughtBack[] = [];
  readonly #replicas: Replicas;
  readonly #believe: Believed;

  constructor(replicas: Replicas, believe: Believed) {
    this.#replicas = replicas;
    this.#believe = believe;
  }

  /** Each key by itself, so that a crash leaves it mended or as it was. */
  async mend(state: KeyState, left: DifferenceList): Promise<void> {
    const source = this.#sourceFor(state);
    if (source !== undefined) return this.#bringBack(state, source, left);
    const damage = damageIn(this.#replicas, state);
    if (damage) left.add(damage);
    for (const { backup, difference } of differencesIn(state)) {
      const isPrimarySure = state.primary.kind === 'intact' && difference.kind !== 'newer';
      const isBelieved = isPrimarySure || (this.#believe === 'primary' && state.primary.kind !== 'damaged');
      const type = state.primary.kind === 'absent' ? 'delete' : 'put';
      if (!isBelieved || !(await this.#copy(backup, state.key, type))) left.add(difference);
    }
    // A place left by a process that died: the primary has nothing to put there.
    const places = state.primary.kind === 'absent' ? state.copies.filter(({ copy }) => copy.kind === 'place') : [];
    for (const { backup } of places) await copyTo(this.#replicas, backup, [{ key: state.key, type: 'delete' }]);
  }

  /** The copy that belongs into the primary, if there is one. */
  #sourceFor({ primary, copies }: KeyState): Source | undefined {
    const sources = copies.filter((one): one is Source => one.copy.kind === 'value');
    const isDamaged = primary.kind === 'damaged';
    const same = isDamaged && sources.find(({ copy }) => copy.version === primary.version);
    if (same) return same;
    if (this.#believe !== 'backups') return undefined;
    return latestCopy(
      sources.filter(({ copy }) => isDamaged || ['extra', 'newer'].includes(differenceOf(primary, copy) ?? '')),
    );
  }

  async #bringBack(state: KeyState, { backup, copy }: Source, left: DifferenceList): Promise<void> {
    const { primary, sink } = this.#replicas;
    const { key } = state;
    const lost = state.primary;
    const ifVersion = (lost.kind === 'intact' ? lost.entry.version : lost.kind === 'damaged' && lost.version) || null;
    try {
      await primary.put(key, copy.value, { ifVersion });
      const facts = {
        key,
        backup: backup.store.name,
        isSame: lost.kind === 'damaged' && copy.version === lost.version,
      };
      this.broughtBack.push(facts);
      emit(sink, { type: 'primary.brought-back', store: primary.name, ...facts });
    } catch (error) {
      // Somebody wrote the key meanwhile: that stands, and goes to the backups like any other write.
      if (!isHoldfastError(error) || error.code !== 'HOLDFAST_CONFLICT') throw error;
    }
    for (const { backup } of state.copies) {
      if (!(await this.#copy(backup, key, 'put'))) left.add({ key, store: backup.store.name, kind: 'stale' });
    }
  }

  async #copy(backup: Backup, key: string, type: Change['type']): Promise<boolean> {
    const isDone = await copyTo(this.#replicas, backup, [{ key, type }]);
    if (isDone) this.copied++;
    return isDone;
  }
}
