import { createHash } from 'node:crypto';
import type * as z from 'zod';
import { InvalidInputError, isHoldfastError, LimitError } from '../../base/errors.js';
import { parseOptions } from '../../base/options.js';
import type { CodecSettings } from '../../records/codec.js';
import { encodeId } from '../../records/keys.js';
import { MAX_METADATA_BYTES } from '../options.js';
import { type ChunkId, chunkIdOf, idFromHex, REFERENCE_BYTES } from '../packs/chunk.js';
import { assemble, type OpenChunk } from '../packs/state-reader.js';
import { ImportError } from './import-error.js';
import { decodeCanonical } from './import-state.js';
import {
  bytesOf,
  type CheckpointLine,
  checkpointLineSchema,
  chunkLineSchema,
  EXPORT_KIND,
  EXPORT_VERSION,
  endLineSchema,
  type HeadLine,
  headLineSchema,
} from './transfer-format.js';

/** Where an export comes from: its lines, one by one, each with or without its line end. */
export type ExportedLines = AsyncIterable<string> | Iterable<string>;

/** A chunk that came in an export, proved. */
export interface ImportedChunk extends OpenChunk {
  /** Once it is in a record, the same bytes there: none is in memory twice. */
  bytes: Buffer;
  readonly parts: ImportedChunk[];
  /** Bytes of the stretch of a state that it stands for. */
  readonly sizeBytes: number;
}

/** A checkpoint that came in an export, proved. */
type ImportedCheckpoint = Omit<CheckpointLine['checkpoint'], 'root'> & { readonly root: ImportedChunk };

/** All that came in an export, proved. */
export interface ImportedSession {
  readonly session: string;
  /** Oldest first. */
  readonly checkpoints: readonly ImportedCheckpoint[];
  readonly chunks: ReadonlyMap<ChunkId, ImportedChunk>;
}

/** What to do about it, where nothing better can be said. */
const REMEDY = 'Import another copy, or export the session again.';

/**
 * Reads a whole export and proves every byte of it.
 * @throws ImportError with the line; LimitError for a state that this program would not read; InvalidInputError if
 * these are not lines. What the source itself throws.
 */
export async function readExport(lines: ExportedLines, codec: CodecSettings): Promise<ImportedSession> {
  const reader = new ExportReader(codec);
  for await (const line of requireLines(lines)) reader.read(line);
  return reader.finish();
}

function requireLines(lines: ExportedLines): ExportedLines {
  const isObject = typeof lines === 'object' && lines !== null;
  if (isObject && (Symbol.asyncIterator in lines || Symbol.iterator in lines)) return lines;
  throw new InvalidInputError('lines: must be an iterable of lines, like `readLines()` of an open file.', 'lines');
}

/** Takes lines and believes nothing that they say. */
class ExportReader {
  readonly #codec: CodecSettings;
  readonly #sum = createHash('sha256');
  #line = 0;
  #head: HeadLine | undefined;
  #isAtEnd = false;
  readonly #chunks = new Map<ChunkId, ImportedChunk>();
  /** Chunks that no checkpoint has needed so far. */
  readonly #unclaimed = new Set<ImportedChunk>();
  /** What states begin with that were proved already. */
  readonly #proved = new Set<ImportedChunk>();
  readonly #checkpoints: ImportedCheckpoint[] = [];

  constructor(codec: CodecSettings) {
    this.#codec = codec;
  }

  read(text: string): void {
    this.#line++;
    if (typeof text !== 'string') throw new InvalidInputError('lines: each must be a string.', 'lines');
    const line = text.replace(/\r?\n?$/, '');
    if (this.#isAtEnd) {
      if (line === '') return;
      throw this.#error(`stands behind the last one. ${REMEDY}`);
    }
    const content = this.#parse(line);
    if (this.#head === undefined) this.#head = this.#readHead(content);
    else if ('chunk' in content) this.#readChunk(content);
    else if ('checkpoint' in content) this.#readCheckpoint(content);
    else this.#readEnd(content, this.#head);
    this.#sum.update(line).update('\n');
  }

  finish(): ImportedSession {
    if (this.#head && this.#isAtEnd) {
      return { session: this.#head.session, checkpoints: this.#checkpoints, chunks: this.#chunks };
    }
    this.#line++;
    throw this.#error(`is missing: the export was cut. ${REMEDY}`);
  }

  #parse(line: string): object {
    if (line.includes('\n')) throw this.#error('is several lines. Give one at a time, like `readLines()` of a file.');
    try {
      const content: unknown = JSON.parse(line);
      if (typeof content === 'object' && content !== null) return content;
    } catch (cause) {
      throw this.#error(`is not JSON. ${REMEDY}`, cause);
    }
    throw this.#error(`is not a JSON object. ${REMEDY}`);
  }

  #readHead(content: object): HeadLine {
    const { holdfast, version } = content as Partial<Record<keyof HeadLine, unknown>>;
    if (holdfast !== EXPORT_KIND) throw this.#error('is not one that an export of checkpoints begins with.');
    if (version !== EXPORT_VERSION && Number.isSafeInteger(version)) {
      throw this.#error(`says format ${version}; this holdfast reads ${EXPORT_VERSION}. Import it with a newer one.`);
    }
    const head = this.#check(headLineSchema, content);
    try {
      encodeId(head.session, 'session');
    } catch (cause) {
      throw this.#error(`names a session that cannot be. ${REMEDY}`, cause);
    }
    return head;
  }

  #readChunk(content: object): void {
    const { chunk, text } = this.#check(chunkLineSchema, content);
    const id = idFromHex(chunk);
    const bytes = bytesOf(text);
    if (bytes === undefined || bytes.length === 0 || chunkIdOf(bytes) !== id) {
      throw this.#error(`has a text that does not match its SHA-256. ${REMEDY}`);
    }
    if (this.#chunks.has(id)) throw this.#error(`has a chunk that a line before it has. ${REMEDY}`);
    const parts: ImportedChunk[] = [];
    for (const piece of text) if (typeof piece !== 'string') parts.push(this.#known(piece.ref));
    const sizeBytes = parts.reduce((sum, part) => sum + part.sizeBytes - REFERENCE_BYTES, bytes.length);
    const imported: ImportedChunk = { id, ownBytes: bytes.length, bytes, parts, sizeBytes };
    this.#chunks.set(id, imported);
    this.#unclaimed.add(imported);
  }

  #readCheckpoint(content: object): void {
    const { checkpoint } = this.#check(checkpointLineSchema, content);
    const { sequence, parent, sizeBytes } = checkpoint;
    const { maxBytes } = this.#codec;
    if (sequence <= (this.#checkpoints.at(-1)?.sequence ?? 0)) {
      throw this.#error(`has checkpoint ${sequence}, which is not newer than the one before it. ${REMEDY}`);
    }
    if (parent !== null && parent >= sequence) {
      throw this.#error(`has checkpoint ${sequence}, which was not made from ${parent}. ${REMEDY}`);
    }
    if (sizeBytes > maxBytes) {
      const message = `Checkpoint ${sequence} of the export is larger than maxBytes (${maxBytes}). Raise the limit to import it. Nothing was imported.`;
      throw new LimitError(message, 'maxBytes', maxBytes);
    }
    const root = this.#known(checkpoint.root);
    this.#proveState(root, sizeBytes);
    this.#proveMetadata(checkpoint.metadata);
    this.#claim(root);
    if (this.#unclaimed.size > 0) {
      throw this.#error(`does not need ${this.#unclaimed.size} of the chunks before it. ${REMEDY}`);
    }
    this.#checkpoints.push({ ...checkpoint, root });
  }

  #readEnd(content: object, head: HeadLine): void {
    const { lines, sha256 } = this.#check(endLineSchema, content);
    const before = this.#line - 1;
    if (lines !== before) throw this.#error(`says that ${lines} are before it, not ${before}. ${REMEDY}`);
    if (this.#sum.copy().digest('hex') !== sha256) {
      throw this.#error(`has not the SHA-256 of those before it: one of them was changed or moved. ${REMEDY}`);
    }
    if (this.#checkpoints.length !== head.checkpoints || this.#unclaimed.size > 0) {
      throw this.#error(`comes before the ${head.checkpoints} checkpoints that the first promises. ${REMEDY}`);
    }
    this.#isAtEnd = true;
  }

  /** A chunk of an earlier line: a state can always be put together from what came before it, and never goes in circles. */
  #known(hex: string): ImportedChunk {
    const chunk = this.#chunks.get(idFromHex(hex));
    if (chunk === undefined) throw this.#error(`needs chunk ${hex}, which no line before it has. ${REMEDY}`);
    return chunk;
  }

  #proveState(root: ImportedChunk, sizeBytes: number): void {
    if (root.sizeBytes !== sizeBytes) {
      throw this.#error(`says that the state has ${sizeBytes} bytes, which it has not. ${REMEDY}`);
    }
    if (this.#proved.has(root)) return;
    const bytes = assemble(root, sizeBytes);
    if (bytes === undefined) throw this.#error(`has a state of more references than bytes. ${REMEDY}`);
    this.#prove(bytes, 'state');
    this.#proved.add(root);
  }

  #proveMetadata(metadata: string | undefined): void {
    if (metadata === undefined) return;
    const bytes = Buffer.from(metadata);
    if (bytes.length > MAX_METADATA_BYTES) {
      throw this.#error(`has ${bytes.length} bytes of metadata; ${MAX_METADATA_BYTES} are allowed. ${REMEDY}`);
    }
    const value = this.#prove(bytes, 'metadata');
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw this.#error(`has metadata that is not an object. ${REMEDY}`);
    }
  }

  #prove(bytes: Buffer, what: string): unknown {
    try {
      return decodeCanonical(bytes, this.#codec);
    } catch (cause) {
      if (!isHoldfastError(cause) || cause.code !== 'HOLDFAST_CORRUPTION') throw cause;
      throw this.#error(`has a ${what} that holdfast cannot have written. ${REMEDY}`, cause);
    }
  }

  #claim(root: ImportedChunk): void {
    const pending = [root];
    for (let chunk = pending.pop(); chunk !== undefined; chunk = pending.pop()) {
      if (!this.#unclaimed.delete(chunk)) continue; // With it all below it were claimed before.
      for (const part of chunk.parts) pending.push(part);
    }
  }

  #check<Content>(schema: z.ZodType<Content>, content: object): Content {
    try {
      return parseOptions(schema, content, 'line');
    } catch (cause) {
      throw this.#error(`is not one that holdfast writes: ${(cause as Error).message} ${REMEDY}`, cause);
    }
  }

  #error(problem: string, cause?: unknown): ImportError {
    return new ImportError(this.#line, problem, cause === undefined ? {} : { cause });
  }
}
