import { CorruptionError } from '../../base/errors.js';
import { decodeValue } from '../../records/decode.js';
import type { CheckpointRecords, StoredCheckpoint } from '../checkpoint-records.js';
import { idFromHex, REFERENCE_BYTES, REFERENCE_MARK, WHOLE_VALUE, writeReference } from '../packs/chunk.js';
import type { SessionChunks } from '../packs/session-chunks.js';
import { requireAllowedSize } from '../packs/state-reader.js';
import { asReference, itemsOf, type ListPart, splitList } from './diff-list.js';

/** Passes over a state, each of which opens a chunk once wherever it stands. */
const PASSES = 4;

/** The state of one checkpoint, opened chunk by chunk where it is looked at. */
export class OpenState {
  /** All of it. */
  readonly text: Buffer;
  readonly #records: CheckpointRecords;
  readonly #checkpoint: StoredCheckpoint;
  readonly #chunks: SessionChunks;
  /** A chunk may stand in many places, so a small record may claim to be an endless state. */
  #opensLeft: number;
  #bytesLeft: number;

  /** @throws LimitError if the state is larger than this program allows. */
  constructor(records: CheckpointRecords, checkpoint: StoredCheckpoint, chunks: SessionChunks) {
    requireAllowedSize(records, checkpoint);
    const { root, sizeBytes } = checkpoint.meta;
    this.#records = records;
    this.#checkpoint = checkpoint;
    this.#chunks = chunks;
    this.#opensLeft = PASSES * sizeBytes;
    this.#bytesLeft = sizeBytes;
    this.text = Buffer.alloc(REFERENCE_BYTES);
    writeReference(this.text, 0, { id: idFromHex(root), items: WHOLE_VALUE });
  }

  /** The text of a value, which may itself be a reference to it. */
  async open(value: Buffer): Promise<Buffer> {
    let text = value;
    for (let { id, items } = referenceOf(text); items === WHOLE_VALUE; { id, items } = referenceOf(text)) {
      text = await this.#chunk(id);
    }
    return text;
  }

  /** What is in an array or object; if that is a single run, what is in the run. */
  async parts(container: Buffer, isObject: boolean): Promise<ListPart[]> {
    let parts = this.#split(container.subarray(1, -1), isObject);
    for (let [first] = parts; parts.length === 1 && first?.isRun; [first] = parts) {
      parts = await this.run(first, isObject);
    }
    return parts;
  }

  /** What is in a run. */
  async run({ text, items }: ListPart, isObject: boolean): Promise<ListPart[]> {
    const parts = this.#split(await this.#chunk(referenceOf(text).id), isObject);
    if (itemsOf(parts) !== items) throw this.#damaged('a run in it is not as long as it was');
    return parts;
  }

  /** Canonical JSON of a value, every reference replaced. */
  async json(value: Buffer): Promise<Buffer> {
    const pieces: Buffer[] = [];
    const open = [{ text: value, at: 0 }];
    for (let top = open.at(-1); top !== undefined; top = open.at(-1)) {
      const { text, at } = top;
      const mark = text.indexOf(REFERENCE_MARK, at);
      const piece = text.subarray(at, mark === -1 ? text.length : mark);
      pieces.push(piece);
      this.#bytesLeft -= piece.length;
      if (this.#bytesLeft < 0) throw this.#damaged('it has not the size it had');
      if (mark === -1) open.pop();
      else {
        top.at = mark + REFERENCE_BYTES;
        open.push({ text: await this.#chunk(referenceOf(text.subarray(mark, top.at)).id), at: 0 });
      }
    }
    return Buffer.concat(pieces);
  }

  /** The value with this JSON. @throws CorruptionError, UnknownCodecError, LimitError */
  decode(json: Buffer): unknown {
    return decodeValue(json, this.#records.codec, this.#key);
  }

  #split(list: Buffer, isObject: boolean): ListPart[] {
    const parts = splitList(list, isObject);
    if (parts === undefined) throw this.#damaged('a chunk of it is not one that this library writes');
    return parts;
  }

  async #chunk(id: string): Promise<Buffer> {
    if (--this.#opensLeft < 0) throw this.#damaged('it has not the size it had');
    return this.#chunks.get(id, this.#checkpoint);
  }

  get #key(): string {
    const { session, sequence } = this.#checkpoint.meta;
    return this.#records.key(session, sequence);
  }

  #damaged(what: string): CorruptionError {
    const { session, sequence } = this.#checkpoint.meta;
    return new CorruptionError(`The state of checkpoint ${sequence} of "${session}" is damaged: ${what}.`, this.#key);
  }
}

const NONE = { id: '', items: undefined };

function referenceOf(text: Buffer): { readonly id: string; readonly items: number | undefined } {
  return asReference(text) ?? NONE;
}
