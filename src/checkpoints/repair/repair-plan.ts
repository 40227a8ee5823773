import { CorruptionError } from '../../base/errors.js';
import type { CheckpointMeta, RetiredMeta } from '../checkpoint-meta.js';
import type { CheckpointRecords } from '../checkpoint-records.js';
import { type ChunkId, idFromHex } from '../packs/chunk.js';
import { ChunkIndex } from './chunk-index.js';
import {
  inUnnamedPacks,
  isCheckpoint,
  packsOf,
  type ScannedCheckpoint,
  type ScannedRecord,
  type SessionScan,
  scanSession,
  sequenceOfPart,
} from './session-scan.js';

/** What is to become of one record. */
export interface RepairStep {
  readonly record: ScannedRecord;
  readonly error: CorruptionError;
  /** What is written in its place; `undefined`: nothing. */
  readonly replacement: Replacement | undefined;
}

/** A record written anew. */
export interface Replacement {
  readonly meta: CheckpointMeta | RetiredMeta;
  readonly parent: string | null;
  /** The chunks of its pack, and a pack in which each of them is now. */
  readonly chunks: ReadonlyMap<ChunkId, number>;
}

/** What a repair has to do. */
export interface RepairPlan {
  readonly scan: SessionScan;
  /** Checkpoints whose state can be put together, newest first. */
  readonly restorable: readonly number[];
  /** Checkpoints whose state cannot, and records that may have been checkpoints, newest first. */
  readonly lost: readonly number[];
  /** Restorable checkpoints that need a record which is written anew, newest first. */
  readonly repointed: readonly number[];
  /** Newest first. */
  readonly steps: readonly RepairStep[];
  /**
   * The newest checkpoint that is not written anew, if packs that it needs are: it is to be written again as it is. A
   * writer that goes on from it remembers which chunks those packs had, and is told by this that it must look again.
   */
  readonly unsettled: ScannedCheckpoint | undefined;
  /** Further records of packs that nothing names. */
  readonly orphans: readonly string[];
}

/** Looks at a session and decides. Nothing is written, and of the chunks only their ids are kept. */
export async function planRepair(records: CheckpointRecords, session: string): Promise<RepairPlan> {
  const index = new ChunkIndex();
  const scan = await scanSession(records, session, (pack, id, bytes) => index.add(pack, id, bytes));
  const checkpoints = scan.records.filter(isCheckpoint);
  const restorable = checkpoints.filter(({ header: { meta } }) => index.sizeOf(rootOf(meta)) === meta.sizeBytes);
  const isRestorable = new Set<ScannedRecord>(restorable);
  const lost = scan.records.filter(
    (record) => record.version !== null && mayBeCheckpoint(record) && !isRestorable.has(record),
  );
  const isUseless = restorable.length === 0 && lost.length > 0;
  const steps = isUseless ? [] : new StepPlanner(records, { scan, index, restorable, lost }).plan();
  const changed = new Set(steps.map(({ record }) => record.sequence));
  const repointed = restorable.filter((checkpoint) => packsOf(checkpoint).some((pack) => changed.has(pack)));
  const newestAsItIs = restorable.find(({ sequence }) => !changed.has(sequence));
  return {
    scan,
    restorable: sequencesOf(restorable),
    lost: sequencesOf(lost),
    repointed: sequencesOf(repointed),
    steps,
    unsettled: newestAsItIs && repointed.includes(newestAsItIs) ? newestAsItIs : undefined,
    orphans: isUseless ? [] : findOrphans(scan, changed),
  };
}

function mayBeCheckpoint(record: ScannedRecord): boolean {
  return record.header === undefined || isCheckpoint(record);
}

/** What steps are decided by. */
interface Findings {
  readonly scan: SessionScan;
  readonly index: ChunkIndex;
  readonly restorable: readonly ScannedCheckpoint[];
  readonly lost: readonly ScannedRecord[];
}

class StepPlanner {
  readonly #records: CheckpointRecords;
  readonly #findings: Findings;
  /** Chunks that any restorable checkpoint is made of. */
  readonly #needed = new Set<ChunkId>();
  /** Records that cannot stay as they are, and the chunks that are to be in their packs. */
  readonly #packs = new Map<number, Map<ChunkId, number>>();

  constructor(records: CheckpointRecords, findings: Findings) {
    this.#records = records;
    this.#findings = findings;
  }

  plan(): RepairStep[] {
    const { scan, index, restorable, lost } = this.#findings;
    for (const { header } of restorable) index.collect(rootOf(header.meta), this.#needed);
    const isLost = new Set(lost);
    for (const record of scan.records) if (record.failure || isLost.has(record)) this.#open(record.sequence);
    for (const checkpoint of restorable) this.#place(checkpoint);
    return scan.records.flatMap((record) => {
      const chunks = this.#packs.get(record.sequence);
      return chunks ? this.#step(record, chunks) : [];
    });
  }

  /** The pack of this record is made anew. What it holds stays in it until the end: it may be nowhere else. */
  #open(sequence: number): Map<ChunkId, number> {
    const known = this.#packs.get(sequence);
    if (known) return known;
    const chunks = new Map<ChunkId, number>();
    for (const id of this.#findings.index.idsIn(sequence)) if (this.#needed.has(id)) chunks.set(id, sequence);
    this.#packs.set(sequence, chunks);
    return chunks;
  }

  /** Chunks of this checkpoint that are only in packs which it does not name go into those it names and that lost them. */
  #place(checkpoint: ScannedCheckpoint): void {
    const { index } = this.#findings;
    const named = packsOf(checkpoint);
    const ids = new Set<ChunkId>();
    index.collect(rootOf(checkpoint.header.meta), ids);
    for (const id of ids) {
      const packs = index.packsOf(id);
      if (packs.some((pack) => named.includes(pack))) continue;
      const damaged = named.filter((pack) => this.#packs.has(pack));
      for (const pack of damaged.length > 0 ? damaged : [checkpoint.sequence])
        this.#open(pack).set(id, packs[0] as number);
    }
  }

  #step(record: ScannedRecord, chunks: ReadonlyMap<ChunkId, number>): RepairStep[] {
    const { scan, restorable } = this.#findings;
    const { session, newest } = scan;
    const { sequence, version } = record;
    const checkpoint = restorable.find((one) => one.sequence === sequence);
    const key = this.#records.key(session, sequence);
    const error = record.failure ?? (checkpoint ? inUnnamedPacks(key) : nowhere(key));
    const isNeeded = chunks.size > 0 || restorable.some(({ header }) => header.meta.packs.includes(sequence));
    if (checkpoint) {
      const { parts: _, ...meta } = checkpoint.header.meta;
      const { parentHash: parent } = checkpoint.header;
      return [{ record, error, replacement: { meta: { ...meta, repaired: true }, parent, chunks } }];
    }
    // The number of the newest is not given again: hosts may remember which state they had under it.
    if (isNeeded || sequence === newest) {
      const meta: RetiredMeta = { session, sequence, retired: true };
      return [{ record, error, replacement: { meta, parent: null, chunks } }];
    }
    return version === null ? [] : [{ record, error, replacement: undefined }];
  }
}

function nowhere(key: string): CorruptionError {
  return new CorruptionError(`Parts of the state of "${key}" are in no record any more.`, key);
}

/** Further records that no record named, and those of records that are written anew. */
function findOrphans({ records, partKeys, newest }: SessionScan, changed: ReadonlySet<number>): string[] {
  const staying = records.filter(({ sequence }) => !changed.has(sequence));
  const named = new Set(staying.flatMap((record) => record.partKeys));
  // Those above the newest may belong to a save that is under way.
  return partKeys.filter((key) => !named.has(key) && sequenceOfPart(key) <= newest);
}

function rootOf({ root }: CheckpointMeta): ChunkId {
  return idFromHex(root);
}

function sequencesOf(records: readonly ScannedRecord[]): number[] {
  return records.map(({ sequence }) => sequence);
}
