import { sha256Hex } from '../base/digest.js';
import { CorruptionError } from '../base/errors.js';
import { uniqueId } from '../base/unique-id.js';
import type { StoredEntry, Version } from '../storage/adapter.js';
import { openRecord, type SealedRecord, sealRecord } from './envelope.js';

/*
 * A journal is a list of lines that only grows, under one key that is changed by compare-and-swap: its head. The head
 * holds the newest lines, the tail. When the tail gets long it is moved into a segment, a record that never changes:
 *
 *   head { newest: segment 2, tail }  ->  segment 2 { previous: segment 1 }  ->  segment 1
 *
 * Every link is a key with the hash of the record there, so what proves the head proves the whole journal. A segment is
 * written before the head that names it: a crash in between leaves one that nobody names, and the same move, done again,
 * gives the same key and the same bytes.
 */

const LINE_END = 10;

/** A segment, as the record after it names it. */
export interface SegmentLink {
  readonly part: number;
  readonly key: string;
  readonly recordHash: string;
}

/** What a journal's head holds. `about` is the owner's: what can be known of the journal without reading it. */
export interface JournalHead<About> {
  /** Unique, for life: a journal that is begun again under the key of one that was deleted is another. */
  readonly journal: string;
  readonly about: About;
  readonly newest: SegmentLink | null;
  /** The lines behind the newest segment, each ended by a line feed. */
  readonly tail: Buffer;
}

/** One write of a head. */
interface HeadWrite<About> {
  readonly key: string;
  readonly head: JournalHead<About>;
  /** Unique: tells its writer, after an unknown outcome, that it happened. */
  readonly id: string;
  /** The holder's newest write that is in it: `id`, unless this is an amendment by somebody else. */
  readonly heldId: string;
}

/** A head as it stands in a storage, proved. */
export interface StoredHead<About> extends HeadWrite<About> {
  readonly version: Version;
}

/** A head ready to be stored. */
export interface SealedHead<About> extends HeadWrite<About> {
  readonly bytes: Buffer;
}

/** What the header of a head says. Short, because each write has it. */
interface HeadMeta<About> {
  readonly journal: string;
  readonly part: number;
  /** Key of the newest segment; its hash is the record's `parent`. */
  readonly previous: string | null;
  readonly amends?: string | undefined;
  readonly about: About;
}

/** What the header of a segment says: nothing that would differ if the same move were done again. */
export interface SegmentMeta {
  readonly journal: string;
  readonly part: number;
  readonly previous: string | null;
}

/** A journal that nothing was written to yet. */
export function newJournal<About>(about: About): JournalHead<About> {
  return { journal: uniqueId(), about, newest: null, tail: Buffer.alloc(0) };
}

/** The head with `lines` behind its tail. A line never has a line feed in it. */
export function extended<About>(head: JournalHead<About>, lines: readonly Buffer[], about: About): JournalHead<About> {
  const { journal, newest } = head;
  let end = head.tail.length;
  const tail = Buffer.allocUnsafe(lines.reduce((sizeBytes, { length }) => sizeBytes + length + 1, end));
  tail.set(head.tail);
  for (const line of lines) {
    tail.set(line, end);
    end += line.length + 1;
    tail[end - 1] = LINE_END;
  }
  return { journal, about, newest, tail };
}

/** The lines of a tail or of the body of a segment. */
export function linesOf(body: Buffer): Buffer[] {
  const lines: Buffer[] = [];
  for (let start = 0, end = body.indexOf(LINE_END); end !== -1; end = body.indexOf(LINE_END, start)) {
    lines.push(body.subarray(start, end));
    start = end + 1;
  }
  return lines;
}

/** The head as a record under `key`. `amends`: the `heldId` of the write that somebody who is not the holder changes. */
export function sealHead<About>(key: string, head: JournalHead<About>, amends?: string): SealedHead<About> {
  const id = uniqueId();
  const { journal, about, newest, tail } = head;
  const meta: HeadMeta<About> = { journal, part: newest?.part ?? 0, previous: newest?.key ?? null, amends, about };
  const { bytes } = sealRecord({ key, id, parent: newest?.recordHash ?? null, meta }, tail);
  return { key, head, id, heldId: amends ?? id, bytes };
}

/**
 * Proves and reads a head.
 * @throws CorruptionError if it is not what was written under its key, or may not be the newest that was written.
 */
export function openHead<About>(entry: StoredEntry, isAbout: (about: unknown) => about is About): StoredHead<About> {
  const { key, value, version } = entry;
  refuseSuspect(entry);
  const isHeadMeta = (meta: unknown): meta is HeadMeta<About> =>
    isSegmentMeta(meta) && isAmends((meta as HeadMeta<About>).amends) && isAbout((meta as HeadMeta<About>).about);
  const { header, body } = openRecord(key, value, isHeadMeta);
  const { journal, part, previous, amends, about } = header.meta;
  const newest = linkOf({ part, previous }, header.parent);
  return { key, version, id: header.id, heldId: amends ?? header.id, head: { journal, about, newest, tail: body } };
}

/** The tail of `head` as a segment; `prefix` is what the keys of the journal's segments begin with. */
export function sealSegment<About>(
  prefix: string,
  { journal, newest, tail }: JournalHead<About>,
): { readonly record: SealedRecord<SegmentMeta>; readonly link: SegmentLink } {
  const part = (newest?.part ?? 0) + 1;
  const parent = newest?.recordHash ?? null;
  // Not the record's own hash, which covers the key. This covers all else: equal keys have equal bytes.
  const mark = sha256Hex(`${journal} ${parent} ${sha256Hex(tail)}`).slice(0, 16);
  const name = `${String(part).padStart(8, '0')}-${mark}`;
  const key = `${prefix}${name}`;
  const meta: SegmentMeta = { journal, part, previous: newest?.key ?? null };
  const record = sealRecord({ key, id: name, parent, meta }, tail);
  return { record, link: { part, key, recordHash: record.recordHash } };
}

/**
 * Proves and reads the segment that `link` names: its lines, and the segment before it.
 * @throws CorruptionError if it is not that very segment.
 */
export function openSegment(
  entry: StoredEntry,
  link: SegmentLink,
): { readonly body: Buffer; readonly before: SegmentLink | null } {
  refuseSuspect(entry);
  const { header, recordHash, body } = openRecord(entry.key, entry.value, isSegmentMeta);
  if (recordHash !== link.recordHash) {
    throw new CorruptionError(
      `The record "${entry.key}" is not the part of the journal that was written there.`,
      entry.key,
    );
  }
  const { part, previous } = header.meta;
  return { body, before: linkOf({ part: part - 1, previous }, header.parent) };
}

function linkOf(
  { part, previous }: { readonly part: number; readonly previous: string | null },
  recordHash: string | null,
): SegmentLink | null {
  return previous === null || recordHash === null ? null : { part, key: previous, recordHash };
}

function refuseSuspect({ key, suspect }: StoredEntry): void {
  if (suspect !== true) return;
  const message = `The store is damaged: "${key}" may not be the newest that was written. Nothing goes on from it: look at the store with its repair.`;
  throw new CorruptionError(message, key);
}

function isSegmentMeta(meta: unknown): meta is SegmentMeta {
  if (typeof meta !== 'object' || meta === null) return false;
  const { journal, part, previous } = meta as Partial<Record<keyof SegmentMeta, unknown>>;
  return (
    typeof journal === 'string' && Number.isSafeInteger(part) && (previous === null || typeof previous === 'string')
  );
}

function isAmends(amends: unknown): boolean {
  return amends === undefined || typeof amends === 'string';
}
