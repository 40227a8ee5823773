import { CorruptionError, LimitError } from '../../base/errors.js';
import { decodeValue } from '../../records/decode.js';
import type { CheckpointRecords, StoredCheckpoint } from '../checkpoint-records.js';
import { isDamage } from '../checkpoint-records.js';
import {
  type Chunk,
  type ChunkId,
  chunkIdOf,
  idFromHex,
  REFERENCE_BYTES,
  REFERENCE_MARK,
  readPieces,
} from './chunk.js';
import { LiveChunks } from './live-chunks.js';

/** A state that was put together from its chunks, each proved. */
export interface ReadState {
  /** Canonical JSON. */
  readonly bytes: Buffer;
  /** Which chunks it is made of and where they are: what a writer needs to go on from it. */
  readonly live: LiveChunks;
  /** Packs that the checkpoint names and that are damaged or missing; other packs had the same chunks. */
  readonly damagedPacks: readonly number[];
}

/** A chunk while its state is put together. */
export interface OpenChunk extends Chunk {
  /** Empty once the state is put together: a view keeps all of its pack in memory. */
  bytes: Buffer;
  readonly parts: OpenChunk[];
}

/**
 * The state of a checkpoint, proved down to the last byte. A pack that is damaged or missing does no harm if another pack
 * of the session holds the same chunks; `undefined` if the checkpoint was removed while it was read.
 * @throws CorruptionError if a chunk is nowhere to be had, or the state is not what the checkpoint says.
 * @throws LimitError if it is larger than this program allows.
 */
export async function readState(
  records: CheckpointRecords,
  checkpoint: StoredCheckpoint,
): Promise<ReadState | undefined> {
  const { session, sequence, sizeBytes } = checkpoint.meta;
  const { maxBytes } = records.codec;
  if (sizeBytes > maxBytes) throw tooLarge(session, sequence, maxBytes);
  const chunks = new ChunkSearch(records, checkpoint);
  await chunks.loadNamed();
  let root = chunks.collect();
  for await (const _ of chunks.loadOthers(() => root === undefined)) root = chunks.collect();
  if (root === undefined) {
    const now = await records.read(session, sequence);
    if (now?.version !== checkpoint.version) return undefined;
    throw chunks.lost();
  }
  const bytes = assemble(root, sizeBytes);
  if (bytes === undefined) {
    const key = records.key(session, sequence);
    throw new CorruptionError(`The state of checkpoint ${sequence} of "${session}" has not the size it had.`, key);
  }
  const live = new LiveChunks();
  for (const id of live.moveTo(root, (chunk) => chunks.packOf(chunk))) chunks.letGo(id);
  return { bytes, live, damagedPacks: chunks.damagedPacks };
}

/** What `bytes` of a state were made from. @throws CorruptionError, UnknownCodecError, LimitError */
export function decodeState(records: CheckpointRecords, { meta }: StoredCheckpoint, { bytes }: ReadState): unknown {
  return decodeValue(bytes, records.codec, records.key(meta.session, meta.sequence));
}

const NO_BYTES = Buffer.alloc(0);

/** Finds the chunks of one state in the packs of its session. */
class ChunkSearch {
  readonly #records: CheckpointRecords;
  readonly #checkpoint: StoredCheckpoint;
  /** Chunks that were looked at and proved, and in which pack. */
  readonly #proved = new Map<ChunkId, { readonly bytes: Buffer; readonly pack: number }>();
  readonly #packs = new Map<number, ReadonlyMap<ChunkId, Buffer>>();
  readonly #failures = new Map<number, CorruptionError>();
  #open: ReadonlyMap<ChunkId, OpenChunk> = new Map();

  constructor(records: CheckpointRecords, checkpoint: StoredCheckpoint) {
    this.#records = records;
    this.#checkpoint = checkpoint;
  }

  get damagedPacks(): readonly number[] {
    return [...this.#failures.keys()];
  }

  /** The bytes of a chunk are needed no longer. */
  letGo(id: ChunkId): void {
    const chunk = this.#open.get(id);
    if (chunk) chunk.bytes = NO_BYTES;
  }

  packOf(id: ChunkId): number {
    return this.#proved.get(id)?.pack ?? this.#checkpoint.meta.sequence;
  }

  /** The packs that the checkpoint says it needs. */
  async loadNamed(): Promise<void> {
    const { session, sequence, packs } = this.#checkpoint.meta;
    await this.#load(sequence, async () => this.#checkpoint);
    await Promise.all(packs.map((pack) => this.#load(pack, () => this.#records.readRecord(session, pack))));
  }

  /** The other packs of the session, the newest first, one after the other while they are wanted. */
  async *loadOthers(isWanted: () => boolean): AsyncGenerator<number> {
    if (!isWanted()) return;
    const { session } = this.#checkpoint.meta;
    for await (const { sequence } of this.#records.keys(session)) {
      if (this.#packs.has(sequence) || this.#failures.has(sequence)) continue;
      await this.#load(sequence, () => this.#records.readRecord(session, sequence));
      yield sequence;
      if (!isWanted()) return;
    }
  }

  /** The first chunk of the state with all below it; `undefined` if one is missing. */
  collect(): OpenChunk | undefined {
    const open = new Map<ChunkId, OpenChunk>();
    this.#open = open;
    const pending: OpenChunk[] = [];
    let isWhole = true;
    const openOnce = (id: ChunkId): OpenChunk | undefined => {
      const known = open.get(id);
      if (known) return known;
      const bytes = this.#find(id);
      if (bytes === undefined) isWhole = false;
      else {
        const chunk: OpenChunk = { id, ownBytes: bytes.length, bytes, parts: [] };
        open.set(id, chunk);
        pending.push(chunk);
        return chunk;
      }
      return undefined;
    };
    const root = openOnce(idFromHex(this.#checkpoint.meta.root));
    for (let chunk = pending.pop(); chunk !== undefined && isWhole; chunk = pending.pop()) {
      const { parts, bytes } = chunk;
      const isChunk = readPieces(bytes, (_, reference) => {
        const part = reference && openOnce(reference.id);
        if (part) parts.push(part);
      });
      if (!isChunk) isWhole = false;
    }
    return isWhole ? root : undefined;
  }

  lost(): CorruptionError {
    const { session, sequence } = this.#checkpoint.meta;
    const [cause] = this.#failures.values();
    const packs = this.damagedPacks.join(', ');
    const where = packs === '' ? 'are damaged' : `are in the records ${packs}, which are damaged or missing`;
    const message = `Checkpoint ${sequence} of "${session}" cannot be restored: parts of its state ${where}.`;
    return new CorruptionError(message, this.#records.key(session, sequence), { cause });
  }

  async #load(pack: number, read: () => Promise<Parameters<CheckpointRecords['readPack']>[0] | undefined>) {
    try {
      const record = await read();
      if (record) this.#packs.set(pack, await this.#records.readPack(record));
      else this.#failures.set(pack, this.#missing(pack));
    } catch (error) {
      if (!isDamage(error)) throw error;
      this.#failures.set(pack, error);
    }
  }

  /** The bytes of a chunk, proved. A pack in which they are not what they were is damaged. */
  #find(id: ChunkId): Buffer | undefined {
    const proved = this.#proved.get(id);
    if (proved) return proved.bytes;
    for (const [pack, chunks] of this.#packs) {
      const bytes = chunks.get(id);
      if (bytes === undefined) continue;
      if (bytes.length > 0 && chunkIdOf(bytes) === id) {
        this.#proved.set(id, { bytes, pack });
        return bytes;
      }
      const key = this.#records.key(this.#checkpoint.meta.session, pack);
      this.#failures.set(pack, new CorruptionError(`The record "${key}" is damaged: a chunk is not what it was.`, key));
    }
    return undefined;
  }

  #missing(pack: number): CorruptionError {
    const key = this.#records.key(this.#checkpoint.meta.session, pack);
    return new CorruptionError(`The record "${key}" is missing although checkpoints need it.`, key);
  }
}

/** The text of a chunk with every reference replaced; `undefined` if that has not `sizeBytes` bytes. */
export function assemble(root: OpenChunk, sizeBytes: number): Buffer | undefined {
  const target = Buffer.allocUnsafe(sizeBytes);
  let length = 0;
  /** Each chunk adds a byte at least, so more of them than bytes are a bomb. */
  let chunksLeft = sizeBytes + 64;
  const open = [{ chunk: root, at: 0, part: 0 }];
  for (let top = open.at(-1); top !== undefined; top = open.at(-1)) {
    const { bytes, parts } = top.chunk;
    const mark = bytes.indexOf(REFERENCE_MARK, top.at);
    const end = mark === -1 ? bytes.length : mark;
    if (length + end - top.at > sizeBytes) return undefined;
    length += bytes.copy(target, length, top.at, end);
    if (mark === -1) open.pop();
    else {
      open.push({ chunk: parts[top.part] as OpenChunk, at: 0, part: 0 });
      top.at = mark + REFERENCE_BYTES;
      top.part++;
      if (--chunksLeft < 0) return undefined;
    }
  }
  return length === sizeBytes ? target : undefined;
}

function tooLarge(session: string, sequence: number, maxBytes: number): LimitError {
  const message = `Checkpoint ${sequence} of "${session}" is larger than maxBytes (${maxBytes}). Raise the limit to read it.`;
  return new LimitError(message, 'maxBytes', maxBytes);
}
