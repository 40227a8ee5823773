import type { CodecSettings } from '../../records/codec.js';
import { tooLarge } from '../../records/codec-limits.js';
import { walkCanonically } from '../../records/encode.js';
import type { ChunkId } from './chunk.js';
import type { SizedChunk } from './chunk-part.js';
import { Chunker, type FreshChunk } from './chunker.js';
import { FixedValues } from './fixed-values.js';
import { SeenValues } from './seen-values.js';

/** A state as chunks, taken at one moment: nothing can change it any more. */
export interface EncodedState {
  readonly root: SizedChunk;
  /** Chunks that were not stored when it was taken, with their bytes, until they are gathered into a pack. */
  readonly fresh: Map<ChunkId, FreshChunk>;
}

/** Turns states into chunks, and remembers parts of them: how those stood that may change, and those that never can. */
export class StateEncoder {
  readonly #settings: CodecSettings;
  readonly #fixed = new FixedValues();
  readonly #seen = new SeenValues();

  constructor(settings: CodecSettings) {
    this.#settings = settings;
  }

  /**
   * `isStored`: chunks that are there with all they refer to, so that their bytes are not needed.
   * @throws UnserializableError, LimitError as `encodeValue`.
   */
  encode(state: unknown, isStored: (id: ChunkId) => boolean): EncodedState {
    return walkCanonically(this.#settings, (walk) => {
      const chunker = new Chunker(walk, { isStored, fixed: this.#fixed, seen: this.#seen });
      const root = chunker.root(state);
      if (root.sizeBytes > this.#settings.maxBytes) throw tooLarge(this.#settings.maxBytes);
      return { root, fresh: chunker.fresh };
    });
  }
}
