import type { CanonicalWalk } from '../../records/canonical-walk.js';
import type { CopiedPart, CopyTaker, StandIn } from '../../records/copy-taker.js';
import { isSorted, type JsonObject, setOwn, sortKeys } from '../../records/json-object.js';
import { PartGiver } from '../../records/part-giver.js';
import { roomAfter } from '../../records/weight.js';
import { type ChunkContent, type ChunkId, chunkIdOf, REFERENCE_BYTES, STRING_PIECE, WHOLE_VALUE } from './chunk.js';
import {
  ChunkReference,
  contentOf,
  FixedValue,
  fingerprintOf,
  KnownPart,
  type KnownRun,
  lengthOf,
  MixedPart,
  type Part,
  type Piece,
  SeenValue,
  type SizedChunk,
  type WrittenPart,
  WrittenValue,
} from './chunk-part.js';
import type { FixedValues } from './fixed-values.js';
import type { SeenValues } from './seen-values.js';
import { cutText } from './text-cutter.js';

/** What is no heavier than this stays in one piece. */
const WHOLE_WEIGHT = 4 * 1024;
/** A part of something heavier becomes a chunk of its own from this length on: changing it leaves its neighbours alone. */
const OWN_CHUNK_LENGTH = 512;
/** A longer list of parts is cut into runs. */
const LONG_LIST = 2 * 1024;
/** A longer string is cut, too. */
const LONG_STRING = 16 * 1024;
/** A run of parts has at least this length, ends after one in so many characters more, and at the latest here. */
const MIN_RUN = 512;
const MEAN_RUN = 1536;
const MAX_RUN = 8 * 1024;

/** A chunk that the store may lack, with what is in it. */
export interface FreshChunk {
  readonly chunk: SizedChunk;
  readonly content: ChunkContent;
}

/** What a chunker asks about what it met before. */
export interface ChunkerMemory {
  /** The chunk is there already, and all that it refers to. */
  isStored(id: ChunkId): boolean;
  readonly fixed: FixedValues;
  readonly seen: SeenValues;
}

/** Neighbouring parts of one container or one string. */
interface PartList {
  readonly parts: readonly Part[];
  /** What stands before each part: the names of an object's members. */
  readonly names?: readonly string[] | undefined;
  /** What stands between them: a comma, or nothing between pieces of a string. */
  readonly separator: ',' | '';
}

/**
 * Cuts one canonical copy into chunks. Where the cuts are depends on what the state holds and on nothing else: not on the
 * order of its keys, not on what was saved before, not on the process. So equal states have equal chunks, and a state
 * that was changed in one place shares all but the chunks around that place and on the way up from there.
 *
 * Up to some 4 KiB a value is in one piece. Of anything larger, parts above 512 bytes are chunks of their own, and a long list
 * of parts is cut into runs, the list of these runs again, and so on: a tree whose every node has some 2 KiB.
 */
export class Chunker implements CopyTaker {
  readonly wholeWeight = WHOLE_WEIGHT;
  /** Chunks made so far that are not stored. */
  readonly fresh = new Map<ChunkId, FreshChunk>();
  readonly #walk: CanonicalWalk;
  readonly #memory: ChunkerMemory;
  readonly #giver = new PartGiver(this);

  constructor(walk: CanonicalWalk, memory: ChunkerMemory) {
    this.#walk = walk;
    this.#memory = memory;
  }

  /** The chunk of a whole state, which proves all the others. */
  root(state: unknown): SizedChunk {
    const copy = this.#walk.copy(state, this.#giver);
    const { whole } = this.#giver;
    const pieces = this.#piecesOf(this.#member(whole?.isFixed ? this.take(whole) : copy));
    const [only] = pieces;
    const isWhole = pieces.length === 1 && only instanceof ChunkReference && only.items === WHOLE_VALUE;
    return (isWhole ? only : this.#chunk(pieces, WHOLE_VALUE)).chunk;
  }

  find(source: object): FixedValue | undefined {
    return this.#memory.fixed.find(source);
  }

  isFixed(source: object): boolean {
    return this.#memory.fixed.isFixed(source);
  }

  take(part: CopiedPart): StandIn {
    const { copy, source, isFixed, weight } = part;
    const { fixed, seen } = this.#memory;
    const isWhole = weight <= WHOLE_WEIGHT; // Of what is not in one piece, the parts are remembered.
    const known = isWhole && !isFixed && source !== undefined ? seen.find(source, copy) : undefined;
    if (known) return known;
    const container = this.#container(copy);
    const member = this.#written(container);
    if (source !== undefined && isFixed) return fixed.remember(new FixedValue(source, part, member));
    const remembered = source && isWhole ? seen.remember(source, part, member) : undefined;
    return remembered ?? new WrittenValue(member, weight);
  }

  /** A value in a copy as a part of something larger. */
  #member(value: unknown): Part {
    if (typeof value !== 'object' || value === null) return this.#written(this.#primitive(value));
    if (value instanceof FixedValue || value instanceof SeenValue) return value;
    if (value instanceof WrittenValue) return value.part;
    const part = this.#giver.inMarker(value);
    return part ? this.#member(this.take(part)) : this.#written(this.#container(value));
  }

  /** A long part as a chunk of its own. */
  #written(part: WrittenPart): WrittenPart {
    const isOwn = lengthOf(part) >= OWN_CHUNK_LENGTH && !(part instanceof ChunkReference);
    return isOwn ? this.#chunk(this.#piecesOf(part), WHOLE_VALUE) : part;
  }

  #primitive(value: unknown): WrittenPart {
    const text = JSON.stringify(value);
    return text.length > LONG_STRING ? this.#mixed(this.#cut({ parts: cutText(text), separator: '' })) : text;
  }

  #container(value: object): WrittenPart {
    if (roomAfter(value, WHOLE_WEIGHT) >= 0) {
      return this.#walk.stringify(this.#walk.hasKnown ? this.#withoutFixed(value) : value);
    }
    const parts: Part[] = []; // By loops: states may be nested as deep as the stack allows.
    if (Array.isArray(value)) {
      for (const item of value) parts.push(this.#member(item));
      return this.#mixed(this.#cut({ parts, separator: ',' }), '[', ']');
    }
    const keys = canonicalKeys(value);
    for (const key of keys) parts.push(this.#member((value as JsonObject)[key]));
    const names = keys.map((key) => `${JSON.stringify(key)}:`);
    return this.#mixed(this.#cut({ parts, names, separator: ',' }), '{', '}');
  }

  /** A small part of the copy with known values as what they are; there are few in it. */
  #withoutFixed(value: unknown): unknown {
    if (value instanceof FixedValue) return this.#walk.copyKnown(value.source);
    if (typeof value !== 'object' || value === null) return value;
    for (const [step, part] of Object.entries(value)) {
      if (typeof part === 'object' && part !== null) setOwn(value as JsonObject, step, this.#withoutFixed(part));
    }
    return value;
  }

  /** A list short enough to stand in its container: as it is, or as runs, or as runs of runs. */
  #cut(list: PartList): PartList {
    let shorter = list;
    while (isLong(shorter)) shorter = this.#cutOnce(shorter);
    return shorter;
  }

  #cutOnce(list: PartList): PartList {
    const { parts, names, separator } = list;
    const runs: ChunkReference[] = [];
    for (let from = 0; from < parts.length; ) {
      const known = this.#knownRun(list, from);
      const to = known ? from + known.parts.length : endOfRun(list, from);
      if (known) runs.push(known.reference);
      else {
        const run = { parts: parts.slice(from, to), names: names?.slice(from, to), separator };
        runs.push(this.#run(run, to === parts.length));
      }
      from = to;
    }
    return { parts: runs, separator };
  }

  /** The run that begins here, if it is one that was cut before: the same parts by identity, and the same end. */
  #knownRun({ parts, names }: PartList, from: number): KnownRun | undefined {
    const first = parts[from];
    const run = first instanceof KnownPart || first instanceof ChunkReference ? first.run : undefined;
    if (run === undefined || !this.#isThere(run.reference.id)) return undefined;
    const to = from + run.parts.length;
    if (run.isLast ? to !== parts.length : to > parts.length) return undefined;
    for (let at = from; at < to; at++) {
      if (parts[at] !== run.parts[at - from] || names?.[at] !== run.names?.[at - from]) return undefined;
    }
    return run;
  }

  #run(list: PartList, isLast: boolean): ChunkReference {
    const items = list.separator === '' ? STRING_PIECE : list.parts.reduce((sum, part) => sum + itemsOf(part), 0);
    const reference = this.#chunk(this.#mixed(list).pieces, items);
    const [first] = list.parts;
    if (first instanceof KnownPart || first instanceof ChunkReference) first.run = { ...list, reference, isLast };
    return reference;
  }

  /** Parts one behind the other, with what stands around and between them. */
  #mixed({ parts, names, separator }: PartList, open = '', close = ''): MixedPart {
    const pieces: Piece[] = [];
    let text = open;
    let length = 0;
    for (const [at, part] of parts.entries()) {
      if (at > 0) text += separator;
      if (names !== undefined) text += names[at];
      for (const piece of this.#piecesOf(part)) {
        if (typeof piece === 'string') text += piece;
        else {
          pieces.push(text, piece);
          length += text.length + REFERENCE_BYTES;
          text = '';
        }
      }
    }
    text += close;
    pieces.push(text);
    return new MixedPart(pieces, length + text.length);
  }

  #piecesOf(part: Part): readonly Piece[] {
    if (part instanceof MixedPart) return part.pieces;
    if (!(part instanceof KnownPart)) return [part];
    const copy = () => (part instanceof SeenValue ? part.copy : this.#walk.copyKnown(part.source));
    if (part.part === undefined) return [this.#walk.stringify(copy())];
    const pieces = this.#piecesOf(part.part);
    const isThere = pieces.every((piece) => typeof piece === 'string' || this.#isThere(piece.id));
    // It was cut for another session, or for a state before the newest: the same chunks again, with their bytes.
    if (!isThere) this.#member(copy());
    return pieces;
  }

  #chunk(pieces: readonly Piece[], items: number): ChunkReference {
    const content = contentOf(pieces);
    const id = chunkIdOf(content);
    const known = this.fresh.get(id);
    if (known) return new ChunkReference(known.chunk, items);
    const ownBytes = Buffer.byteLength(content);
    const parts = pieces.filter((piece) => typeof piece !== 'string').map(({ chunk }) => chunk);
    const sizeBytes = parts.reduce((sum, part) => sum + part.sizeBytes - REFERENCE_BYTES, ownBytes);
    const chunk: SizedChunk = { id, ownBytes, parts, sizeBytes };
    if (!this.#memory.isStored(id)) this.fresh.set(id, { chunk, content });
    return new ChunkReference(chunk, items);
  }

  #isThere(id: ChunkId): boolean {
    return this.#memory.isStored(id) || this.fresh.has(id);
  }
}

function canonicalKeys(value: object): string[] {
  const keys = Object.keys(value);
  return isSorted(keys) ? keys : sortKeys(keys);
}

/** By chance, but by a chance that is thrown by the parts themselves: the same part ends a run wherever it stands. */
function endOfRun(list: PartList, from: number): number {
  let length = 0;
  for (let at = from; at < list.parts.length; at++) {
    const partLength = lengthAt(list, at);
    length += partLength;
    if (length < MIN_RUN) continue;
    const chance = partLength / MEAN_RUN;
    if (length >= MAX_RUN || fingerprintOf(list.parts[at] as Part) < chance * 0x1_0000_0000) return at + 1;
  }
  return list.parts.length;
}

/** Of a part with what stands before and behind it. */
function lengthAt({ parts, names }: PartList, at: number): number {
  return lengthOf(parts[at] as Part) + (names?.[at]?.length ?? 0) + 1;
}

function isLong(list: PartList): boolean {
  let length = 0;
  for (let at = 0; at < list.parts.length && length <= LONG_LIST; at++) length += lengthAt(list, at);
  return length > LONG_LIST;
}

function itemsOf(part: Part): number {
  return part instanceof ChunkReference && part.items !== WHOLE_VALUE ? part.items : 1;
}
