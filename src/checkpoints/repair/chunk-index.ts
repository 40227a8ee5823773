import { type ChunkId, REFERENCE_BYTES, referencesIn } from '../packs/chunk.js';

/** A chunk that is somewhere in the packs of a session. */
interface IndexedChunk {
  readonly ownBytes: number;
  /** What it refers to, in order; `undefined` if it is no chunk. */
  readonly parts: readonly ChunkId[] | undefined;
  /** Packs that hold it, each once. */
  readonly packs: number[];
}

type WholeChunk = IndexedChunk & { readonly parts: readonly ChunkId[] };

/** Which chunks a session has, what they refer to and which packs they are in, without their bytes. */
export class ChunkIndex {
  readonly #chunks = new Map<ChunkId, IndexedChunk>();
  /** Bytes of the stretch of a state that a chunk stands for; `undefined` if parts of it are nowhere. */
  readonly #sizes = new Map<ChunkId, number | undefined>();

  /** A pack holds this chunk, which was proved. All are added before anything is asked. */
  add(pack: number, id: ChunkId, bytes: Buffer): void {
    const known = this.#chunks.get(id);
    if (known === undefined)
      this.#chunks.set(id, { ownBytes: bytes.length, parts: referencesIn(bytes), packs: [pack] });
    else if (!known.packs.includes(pack)) known.packs.push(pack);
  }

  /** Packs that hold a chunk which is there. */
  packsOf(id: ChunkId): readonly number[] {
    return (this.#chunks.get(id) as IndexedChunk).packs;
  }

  /** What a chunk refers to, in order. */
  partsOf(id: ChunkId): readonly ChunkId[] {
    return this.#chunks.get(id)?.parts ?? [];
  }

  idsIn(pack: number): ChunkId[] {
    return [...this.#chunks].filter(([, { packs }]) => packs.includes(pack)).map(([id]) => id);
  }

  /** Bytes of the state that begins with this chunk; `undefined` if it cannot be put together. */
  sizeOf(root: ChunkId): number | undefined {
    const pending = [root];
    for (let id = pending.at(-1); id !== undefined; id = pending.at(-1)) {
      const chunk = this.#chunks.get(id);
      const unknown = (chunk?.parts ?? []).filter((part) => !this.#sizes.has(part));
      if (unknown.length > 0) for (const part of unknown) pending.push(part);
      else {
        pending.pop();
        this.#sizes.set(id, this.#sum(chunk));
      }
    }
    return this.#sizes.get(root);
  }

  /** Adds the chunks of a state that can be put together to `ids`, which holds no chunk without those below it. */
  collect(root: ChunkId, ids: Set<ChunkId>): void {
    const pending = [root];
    for (let id = pending.pop(); id !== undefined; id = pending.pop()) {
      if (ids.has(id)) continue;
      ids.add(id);
      for (const part of (this.#chunks.get(id) as WholeChunk).parts) pending.push(part);
    }
  }

  #sum(chunk: IndexedChunk | undefined): number | undefined {
    if (chunk?.parts === undefined) return undefined;
    let sizeBytes = chunk.ownBytes;
    for (const part of chunk.parts) sizeBytes += (this.#sizes.get(part) ?? Number.NaN) - REFERENCE_BYTES;
    return Number.isNaN(sizeBytes) ? undefined : sizeBytes;
  }
}
