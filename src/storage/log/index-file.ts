import { createHash } from 'node:crypto';
import { sha256Hex } from '../../base/digest.js';
import type { IndexEntry, Replay } from './replay.js';

/*
 * A copy of the index on disk, so that opening need not walk the whole log. It is a cache and nothing more: written
 * only for what is synced, proved by its SHA-256 before use, and made again when it is missing. One line of JSON, then
 * one line per key: key, version, offset, length, SHA-256 of the value, marks; last, the sum of all that. It is ASCII.
 */
const HAS_ZEROS = 'z';
const IS_BAD = 'b';
const SUM_LENGTH = 64;

/** Keys put into bytes at once: between two pieces the event loop goes on. */
const PIECE_KEYS = 4_096;

/**
 * The pieces of an index file for everything in `segment` up to `appliedTo`, as it is at this moment: an entry that came
 * later may not be on disk yet, and must not be remembered as if it were.
 */
export function indexPieces(segment: number, appliedTo: number, replay: Replay): Iterable<Buffer> {
  return piecesOf({ segment, appliedTo }, [...replay.index]);
}

function* piecesOf(header: object, entries: readonly (readonly [string, IndexEntry])[]): Generator<Buffer> {
  const sum = createHash('sha256');
  const piece = (text: string): Buffer => {
    const bytes = Buffer.from(text, 'latin1');
    sum.update(bytes);
    return bytes;
  };
  yield piece(`${JSON.stringify(header)}\n`);
  for (let at = 0; at < entries.length; at += PIECE_KEYS) {
    yield piece(
      entries
        .slice(at, at + PIECE_KEYS)
        .map(lineOf)
        .join(''),
    );
  }
  yield Buffer.from(sum.digest('hex'));
}

/** Fill `replay` from an index file of its segment; the offset to go on reading the log from, 0 if it cannot be used. */
export function loadIndex(bytes: Buffer, segment: number, replay: Replay): number {
  const sumAt = bytes.length - SUM_LENGTH;
  if (sumAt <= 0 || bytes.toString('latin1', sumAt) !== sha256Hex(bytes.subarray(0, sumAt))) return 0;
  const [first = '', ...lines] = bytes.toString('latin1', 0, sumAt).split('\n');
  const header = JSON.parse(first) as { readonly segment: number; readonly appliedTo: number };
  if (header.segment !== segment) return 0;
  for (const line of lines) {
    const [key, version, offset, length, digest, marks] = line.split('\t');
    if (!key || !version || !digest) continue; // The last line is empty.
    const isBad = marks?.includes(IS_BAD) === true;
    const hasZeros = marks?.includes(HAS_ZEROS) === true;
    replay.load(key, { version, offset: Number(offset), length: Number(length), digest, hasZeros, isBad });
  }
  replay.isReady = true;
  replay.durableTo = header.appliedTo;
  return header.appliedTo;
}

function lineOf([key, entry]: readonly [string, IndexEntry]): string {
  const { version, offset, length, digest, hasZeros, isBad } = entry;
  return `${key}\t${version}\t${offset}\t${length}\t${digest}\t${hasZeros ? HAS_ZEROS : ''}${isBad ? IS_BAD : ''}\n`;
}
