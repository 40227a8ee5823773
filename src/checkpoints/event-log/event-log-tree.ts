import { sha256Hex } from '../../base/digest.js';
import { CorruptionError } from '../../base/errors.js';
import { openRecord, sealRecord } from '../../records/envelope.js';
import type { StoredEntry } from '../../storage/adapter.js';
import {
  eventLogKeys,
  type LinkParts,
  type LogHead,
  linkOf,
  partsOf,
  type RangeLink,
  refuseSuspect,
} from './event-log-head.js';

/**
 * How long a tail may get, in bytes, before it is moved into a range. Each append writes all of the tail, and each range
 * is a key: events that come one at a time want it short, a million of them want it long.
 */
const SPLIT_BYTES = 16 * 1024;

/** Links in a range above level 0. The head has fewer of each level. */
const FAN_OUT = 16;
const POSITION_DIGITS = 16;
const LINE_END = Buffer.from('\n');

/** A range that is to be written. */
export interface RangeRecord {
  readonly key: string;
  readonly bytes: Buffer;
  readonly link: RangeLink;
}

/** What a log becomes, and the ranges that have to be there before its head is. */
export interface GrownLog {
  readonly head: LogHead;
  readonly ranges: readonly RangeRecord[];
}

/** What the header of a range says: nothing that would differ if it were made again. */
interface RangeMeta {
  readonly log: string;
  readonly from: number;
  readonly to: number;
}

/** `head` with `lines` behind it. Nothing is written. */
export function grown(head: LogHead, lines: readonly Buffer[]): GrownLog {
  const ranges: RangeRecord[] = [];
  let next = head;
  for (const piece of pieces(lines)) {
    const added = Buffer.concat(piece.flatMap((line) => [line, LINE_END]));
    if (next.tail.length > 0 && next.tail.length + added.length > SPLIT_BYTES) next = withTailMoved(next, ranges);
    next = { ...next, position: next.position + piece.length, tail: Buffer.concat([next.tail, added]) };
  }
  return { head: next, ranges };
}

/** Where the range stands that `link` leads to. */
export function rangeKey({ session, log }: LogHead, level: number, { from, sha256 }: RangeLink): string {
  // Of the log, too: what is left of one that was deleted is never taken for a part of the next.
  const mark = sha256Hex(`${log} ${sha256}`).slice(0, 16);
  return `${eventLogKeys(session).ranges}${level}-${String(from).padStart(POSITION_DIGITS, '0')}-${mark}`;
}

/**
 * The body of the range that `link` leads to: lines at level 0, else links.
 * @throws CorruptionError if the record is not that very range.
 */
export function openRange(entry: StoredEntry, link: RangeLink): Buffer {
  refuseSuspect(entry);
  const { header, body } = openRecord(entry.key, entry.value, isRangeMeta);
  if (header.body.sha256 === link.sha256) return body;
  throw new CorruptionError(`The record "${entry.key}" is not the part of the log that was written there.`, entry.key);
}

/** The links in the body of a range that `openRange` has proved. */
export function linksIn(body: Buffer): readonly RangeLink[] {
  return (JSON.parse(body.toString('utf8')) as readonly LinkParts[]).map(linkOf);
}

/** As when one is added to a number: what is full is carried to the level above. */
function withTailMoved(head: LogHead, ranges: RangeRecord[]): LogHead {
  const levels = [...head.levels];
  let range = sealRange(head, { level: 0, from: head.tailFrom }, head.tail);
  ranges.push(range);
  for (let level = 0; ; level++) {
    const links = [...(levels[level] ?? []), range.link];
    if (links.length < FAN_OUT) {
      levels[level] = links;
      return { ...head, levels, tailFrom: head.position + 1, tail: Buffer.alloc(0) };
    }
    levels[level] = [];
    const [{ from }] = links as [RangeLink];
    range = sealRange(head, { level: level + 1, from }, Buffer.from(JSON.stringify(links.map(partsOf))));
    ranges.push(range);
  }
}

/** From `from` to the end of the log. */
function sealRange(
  head: LogHead,
  { level, from }: { readonly level: number; readonly from: number },
  body: Buffer,
): RangeRecord {
  const { log, position: to } = head;
  const link = { from, to, sha256: sha256Hex(body) };
  const key = rangeKey(head, level, link);
  const meta: RangeMeta = { log, from, to };
  // An id that is not random: two writers that make the same range write the same record.
  return { key, link, bytes: sealRecord({ key, id: 'range', parent: null, meta }, body).bytes };
}

/** Lines in groups that fill a range each; the last may be short. A line that is longer has a group for itself. */
function* pieces(lines: readonly Buffer[]): Generator<readonly Buffer[]> {
  let start = 0;
  let sizeBytes = 0;
  for (const [at, { length }] of lines.entries()) {
    if (at > start && sizeBytes + length + 1 > SPLIT_BYTES) {
      yield lines.slice(start, at);
      start = at;
      sizeBytes = 0;
    }
    sizeBytes += length + 1;
  }
  yield lines.slice(start);
}

function isRangeMeta(meta: unknown): meta is RangeMeta {
  return typeof (meta as Partial<RangeMeta> | null)?.log === 'string';
}
