import type { Chunk, ChunkId } from './chunk.js';

/** A chunk that the newest state of a session is made of. */
export interface LiveChunk {
  readonly chunk: Chunk;
  /** Sequence of the checkpoint whose pack holds its bytes. */
  pack: number;
  /** How often live chunks refer to it, the state itself counting once. */
  uses: number;
}

/**
 * The chunks that the newest state of a session is made of, and whose packs hold them. Counted by references, so that
 * going from one state to the next costs what differs between them.
 */
export class LiveChunks {
  readonly #chunks: Map<ChunkId, LiveChunk>;
  /** Bytes of live chunks by pack. */
  readonly #packs = new Map<number, number>();
  #root: Chunk | undefined;

  /** Of a state that was read: its chunks, the root first, and how often each is referred to. */
  constructor(chunks = new Map<ChunkId, LiveChunk>()) {
    this.#chunks = chunks;
    for (const { chunk, pack } of chunks.values()) {
      this.#root ??= chunk;
      this.#count(pack, chunk.ownBytes);
    }
  }

  /** The chunk that the state begins with. */
  get root(): ChunkId | undefined {
    return this.#root?.id;
  }

  get size(): number {
    return this.#chunks.size;
  }

  /** Live bytes of every pack that has any. */
  get packs(): ReadonlyMap<number, number> {
    return this.#packs;
  }

  has(id: ChunkId): boolean {
    return this.#chunks.has(id);
  }

  /** Sequence of the pack with this chunk. */
  packOf(id: ChunkId): number | undefined {
    return this.#chunks.get(id)?.pack;
  }

  /** Go on to the state of `root`: the chunks of it that nothing live had, which `packOf` is asked to place. */
  moveTo(root: Chunk, packOf: (id: ChunkId) => number): ChunkId[] {
    const added = this.#add(root, packOf);
    if (this.#root) this.#drop(this.#root);
    this.#root = root;
    return added;
  }

  /** The packs that a checkpoint with this state needs beside its own, ascending. */
  packsBeside(own: number): number[] {
    const packs: number[] = [];
    for (const pack of this.#packs.keys()) if (pack !== own) packs.push(pack);
    return packs.sort((one, other) => one - other);
  }

  /** The live chunks of one pack. */
  idsIn(pack: number): ChunkId[] {
    return [...this.#chunks].filter(([, live]) => live.pack === pack).map(([id]) => id);
  }

  /** These chunks are in another pack now. */
  place(ids: readonly ChunkId[], pack: number): void {
    for (const id of ids) {
      const live = this.#chunks.get(id) as LiveChunk;
      this.#count(live.pack, -live.chunk.ownBytes);
      this.#count(pack, live.chunk.ownBytes);
      live.pack = pack;
    }
  }

  #add(root: Chunk, packOf: (id: ChunkId) => number): ChunkId[] {
    const added: ChunkId[] = [];
    const pending = [root];
    for (let chunk = pending.pop(); chunk !== undefined; chunk = pending.pop()) {
      const live = this.#chunks.get(chunk.id);
      if (live) {
        live.uses++;
        continue;
      }
      const pack = packOf(chunk.id);
      this.#chunks.set(chunk.id, { chunk, pack, uses: 1 });
      this.#count(pack, chunk.ownBytes);
      added.push(chunk.id);
      for (const part of chunk.parts) pending.push(part);
    }
    return added;
  }

  #drop(root: Chunk): void {
    const pending = [root];
    for (let chunk = pending.pop(); chunk !== undefined; chunk = pending.pop()) {
      const live = this.#chunks.get(chunk.id) as LiveChunk;
      live.uses--;
      if (live.uses > 0) continue;
      this.#chunks.delete(chunk.id);
      this.#count(live.pack, -live.chunk.ownBytes);
      for (const part of live.chunk.parts) pending.push(part);
    }
  }

  #count(pack: number, bytes: number): void {
    const left = (this.#packs.get(pack) ?? 0) + bytes;
    if (left > 0) this.#packs.set(pack, left);
    else this.#packs.delete(pack);
  }
}
