import type { CorruptionError } from '../../base/errors.js';
import { CheckpointRecords, isDamage } from '../checkpoint-records.js';
import { decodeState, readState } from '../packs/state-reader.js';
import { withRecentReads } from './recent-reads.js';
import {
  inUnnamedPacks,
  isCheckpoint,
  packsOf,
  type ScannedCheckpoint,
  type ScannedRecord,
  scanSession,
  versionOf,
} from './session-scan.js';

/** What `verify` found. */
export interface VerifyReport {
  readonly session: string;
  /** True if every checkpoint is what was saved, and none can be missing unseen. */
  readonly isIntact: boolean;
  /** The store is damaged where it cannot tell which keys were there: checkpoints may be lost. */
  readonly isSuspect: boolean;
  /** Checkpoints, those that cannot be read among them. */
  readonly checked: number;
  /** Sequence of the newest checkpoint that is intact, which is what `restore` would give. */
  readonly newestIntact?: number;
  /** Newest first. */
  readonly damaged: readonly DamagedRecord[];
}

/**
 * A sequence at which something is wrong: the record of a checkpoint, or what is left of a removed one because others
 * need it; or that record is whole and the state of the checkpoint cannot be put together.
 */
export interface DamagedRecord {
  readonly sequence: number;
  /** `'missing'`: checkpoints name the record and it is not there. */
  readonly reason: 'corrupt' | 'missing';
  readonly error: CorruptionError;
  /** The checkpoint of this sequence cannot be restored. Where none is known of, none is lost. */
  readonly isLost: boolean;
  /** Other checkpoints that need this record for their states, newest first. */
  readonly dependents: readonly number[];
  /** Those of them that cannot be restored. The others find the same parts of their states in other records. */
  readonly lostDependents: readonly number[];
}

/** What is wrong with the state of a checkpoint. */
interface StateFailure {
  readonly error: CorruptionError;
  readonly isLost: boolean;
}

type StateFailures = ReadonlyMap<number, StateFailure>;

/**
 * See `CheckpointManager.verify`. What `'fast'` finds wrong it looks into as `'deep'` does, so both know what is lost.
 * Reads each record a few times, however many checkpoints need it, and keeps two states in memory, however many there are.
 * @throws UnknownCodecError, LimitError: the checkpoint is intact, this program cannot read it.
 */
export async function verifySession(
  records: CheckpointRecords,
  session: string,
  depth: 'fast' | 'deep',
): Promise<VerifyReport> {
  const scan = await scanSession(records, session, depth === 'deep' ? () => {} : undefined);
  const failures = new Map(scan.records.map(({ sequence, failure }) => [sequence, failure]));
  const checkpoints = scan.records.filter(isCheckpoint);
  const isInDoubt = (checkpoint: ScannedCheckpoint) => packsOf(checkpoint).some((pack) => failures.get(pack));
  const toRead = depth === 'deep' ? checkpoints : checkpoints.filter(isInDoubt);
  const states = await readStates(records, toRead, isInDoubt);
  const unreadable = scan.records.filter(({ header, version }) => header === undefined && version !== null);
  const damaged = scan.records.flatMap((record) => describe(record, checkpoints, states));
  const newest = checkpoints.find(({ sequence }) => !states.get(sequence)?.isLost);
  return {
    session,
    isIntact: damaged.length === 0 && !scan.isSuspect,
    isSuspect: scan.isSuspect,
    checked: checkpoints.length + unreadable.length,
    ...(newest ? { newestIntact: newest.sequence } : {}),
    damaged,
  };
}

/** Neighbours are made of the same packs, so what one of them needed is at hand for the next. */
const STATES_AT_HAND = 2;

async function readStates(
  records: CheckpointRecords,
  checkpoints: readonly ScannedCheckpoint[],
  isInDoubt: (checkpoint: ScannedCheckpoint) => boolean,
): Promise<StateFailures> {
  const { storage, codec } = records;
  const reader = new CheckpointRecords(withRecentReads(storage, STATES_AT_HAND * codec.maxBytes), codec);
  const failures = new Map<number, StateFailure>();
  for (const scanned of checkpoints) {
    const { sequence, header } = scanned;
    const { session } = header.meta;
    const key = records.key(session, sequence);
    try {
      const checkpoint = await reader.read(session, sequence);
      const state = checkpoint && (await readState(reader, checkpoint));
      if (checkpoint === undefined || state === undefined) continue;
      decodeState(reader, checkpoint, state);
      const named = packsOf(scanned);
      const isNamed = isInDoubt(scanned) || [...state.live.packs.keys()].every((pack) => named.includes(pack));
      if (!isNamed) failures.set(sequence, { error: inUnnamedPacks(key), isLost: false });
    } catch (error) {
      if (!isDamage(error)) throw error;
      // What was removed or written anew while it was read is no damage.
      if ((await versionOf(records, key)) === header.version) failures.set(sequence, { error, isLost: true });
    }
  }
  return failures;
}

function describe(
  { sequence, failure, header, version }: ScannedRecord,
  checkpoints: readonly ScannedCheckpoint[],
  states: StateFailures,
): DamagedRecord[] {
  const isLost = (checkpoint: number) => states.get(checkpoint)?.isLost === true;
  const error = failure ?? states.get(sequence)?.error;
  if (error === undefined) return [];
  const isMissing = version === null;
  const dependents = checkpoints.filter(({ header: { meta } }) => meta.packs.includes(sequence));
  const sequences = dependents.map((checkpoint) => checkpoint.sequence);
  return [
    {
      sequence,
      reason: isMissing ? 'missing' : 'corrupt',
      error,
      isLost: isLost(sequence) || (header === undefined && !isMissing),
      dependents: sequences,
      lostDependents: sequences.filter(isLost),
    },
  ];
}
