import { CorruptionError } from '../../base/errors.js';
import { MissingCheckpointError } from '../checkpoint.js';
import {
  type CheckpointRecords,
  damagedChunk,
  isDamage,
  missingRecord,
  PROVING,
  type StoredCheckpoint,
  type StoredRecord,
} from '../checkpoint-records.js';
import { type ChunkId, chunkIdOf } from './chunk.js';
import type { PlacedChunk } from './pack.js';

/** Where the bytes of a chunk stand, and where other bytes that go by the same id do. */
interface ChunkCopy extends Omit<PlacedChunk, 'id'> {
  readonly pack: number;
  isProved: boolean;
  readonly other: ChunkCopy | undefined;
}

/**
 * Chunks of a session's checkpoints, each proved by its id. A pack is read when a chunk is wanted that none read before
 * has, the newest first: what two checkpoints differ in is young, as a rule.
 */
export class SessionChunks {
  readonly #records: CheckpointRecords;
  readonly #session: string;
  readonly #packs = new Set<number>();
  /** Of each chunk in the packs that were read, one copy: proved if it was looked at. */
  readonly #copies = new Map<ChunkId, ChunkCopy>();
  readonly #failures = new Map<number, CorruptionError>();

  constructor(records: CheckpointRecords, session: string) {
    this.#records = records;
    this.#session = session;
  }

  /** Packs that were looked into and were damaged or missing. */
  get damagedPacks(): readonly number[] {
    return [...this.#failures.keys()];
  }

  /** Reads all packs that this checkpoint needs, at once: for who wants all of its state. */
  async load(checkpoint: StoredCheckpoint): Promise<void> {
    const { sequence, packs } = checkpoint.meta;
    await this.#load(sequence, async () => checkpoint);
    await Promise.all(packs.map((pack) => this.#read(pack)));
  }

  /**
   * A chunk of this checkpoint, from the packs it needs or, where these are damaged, from any other of the session.
   * @throws CorruptionError if it is nowhere to be had; MissingCheckpointError if the checkpoint was removed meanwhile.
   */
  async get(id: ChunkId, checkpoint: StoredCheckpoint): Promise<Buffer> {
    const known = this.find(id);
    if (known) return known;
    for await (const _ of this.#unloaded(checkpoint)) {
      const bytes = this.find(id);
      if (bytes) return bytes;
    }
    throw await this.#lost(checkpoint);
  }

  /** A chunk, if a pack that was read before has it. */
  find(id: ChunkId): Buffer | undefined {
    for (let copy = this.#copies.get(id); copy !== undefined; copy = this.#nextCopy(id, copy)) {
      const bytes = copy.body.subarray(copy.start, copy.end);
      // An empty chunk would let endless references stand for nothing.
      copy.isProved ||= bytes.length > 0 && chunkIdOf(bytes) === id;
      if (copy.isProved) return bytes;
      this.#failures.set(copy.pack, damagedChunk(this.#records.key(this.#session, copy.pack)));
    }
    return undefined;
  }

  /** The pack that a chunk which was found is in. */
  packOf(id: ChunkId): number {
    return (this.#copies.get(id) as ChunkCopy).pack;
  }

  /** The copy in another pack takes the place of one that is damaged. */
  #nextCopy(id: ChunkId, { other }: ChunkCopy): ChunkCopy | undefined {
    if (other) this.#copies.set(id, other);
    else this.#copies.delete(id);
    return other;
  }

  #add(pack: number, { id, body, start, end }: PlacedChunk): void {
    const other = this.#copies.get(id);
    if (other?.isProved) return;
    this.#copies.set(id, { pack, body, start, end, isProved: false, other });
  }

  /** Reads the packs where a chunk of this checkpoint may be, one after the other. */
  async *#unloaded(checkpoint: StoredCheckpoint): AsyncGenerator<number> {
    const { sequence, packs } = checkpoint.meta;
    if (await this.#load(sequence, async () => checkpoint)) yield sequence;
    for (const pack of [...packs].sort((one, other) => other - one)) if (await this.#read(pack)) yield pack;
    const keys = this.#records.keys(this.#session, { onSuspect: () => {} }); // What is not found is told as lost.
    for await (const { sequence: pack } of keys) if (await this.#read(pack)) yield pack;
  }

  #read(pack: number): Promise<boolean> {
    return this.#load(pack, () => this.#records.readRecord(this.#session, pack, PROVING));
  }

  /** False if it was read before, or has nothing to give. */
  async #load(pack: number, read: () => Promise<StoredRecord | undefined>): Promise<boolean> {
    if (this.#packs.has(pack) || this.#failures.has(pack)) return false;
    try {
      const record = await read();
      if (record === undefined) throw missingRecord(this.#records.key(this.#session, pack));
      await this.#records.walkPack(record, (chunk) => this.#add(pack, chunk));
      this.#packs.add(pack);
      return true;
    } catch (error) {
      if (!isDamage(error)) throw error;
      this.#failures.set(pack, error);
      return false;
    }
  }

  async #lost({ meta, version }: StoredCheckpoint): Promise<CorruptionError | MissingCheckpointError> {
    const { session, sequence } = meta;
    const now = await this.#records.read(session, sequence);
    if (now?.version !== version) return new MissingCheckpointError(session, sequence);
    const [cause] = this.#failures.values();
    const packs = this.damagedPacks.join(', ');
    const where = packs === '' ? 'are damaged' : `are in the records ${packs}, which are damaged or missing`;
    const message = `Checkpoint ${sequence} of "${session}" cannot be read: parts of its state ${where}.`;
    return new CorruptionError(message, this.#records.key(session, sequence), { cause });
  }
}
