import { CorruptionError } from '../../base/errors.js';
import { MissingCheckpointError } from '../checkpoint.js';
import {
  type CheckpointRecords,
  damagedChunk,
  isDamage,
  missingRecord,
  type StoredCheckpoint,
  type StoredRecord,
} from '../checkpoint-records.js';
import { type ChunkId, chunkIdOf } from './chunk.js';

/**
 * Chunks of a session's checkpoints, each proved by its id. A pack is read when a chunk is wanted that none read before
 * has, the newest first: what two checkpoints differ in is young, as a rule.
 */
export class SessionChunks {
  readonly #records: CheckpointRecords;
  readonly #session: string;
  readonly #packs = new Map<number, ReadonlyMap<ChunkId, Buffer>>();
  /** Chunks that were looked at, and the pack that they were in. */
  readonly #proved = new Map<ChunkId, { readonly bytes: Buffer; readonly pack: number }>();
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
    for await (const pack of this.#unloaded(checkpoint)) {
      const bytes = this.#findIn(pack, id);
      if (bytes) return bytes;
    }
    throw await this.#lost(checkpoint);
  }

  /** A chunk, if a pack that was read before has it. */
  find(id: ChunkId): Buffer | undefined {
    const proved = this.#proved.get(id);
    if (proved) return proved.bytes;
    for (const pack of this.#packs.keys()) {
      const bytes = this.#findIn(pack, id);
      if (bytes) return bytes;
    }
    return undefined;
  }

  /** The pack that a chunk which was found is in. */
  packOf(id: ChunkId): number {
    return (this.#proved.get(id) as { readonly pack: number }).pack;
  }

  #findIn(pack: number, id: ChunkId): Buffer | undefined {
    const bytes = this.#packs.get(pack)?.get(id);
    if (bytes === undefined) return undefined;
    // An empty chunk would let endless references stand for nothing.
    if (bytes.length > 0 && chunkIdOf(bytes) === id) {
      this.#proved.set(id, { bytes, pack });
      return bytes;
    }
    this.#failures.set(pack, damagedChunk(this.#records.key(this.#session, pack)));
    return undefined;
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
    return this.#load(pack, () => this.#records.readRecord(this.#session, pack));
  }

  /** False if it was read before, or has nothing to give. */
  async #load(pack: number, read: () => Promise<StoredRecord | undefined>): Promise<boolean> {
    if (this.#packs.has(pack) || this.#failures.has(pack)) return false;
    try {
      const record = await read();
      if (record === undefined) throw missingRecord(this.#records.key(this.#session, pack));
      this.#packs.set(pack, await this.#records.readPack(record));
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
