import { CorruptionError } from '../base/errors.js';
import { ConflictError, type StorageAdapter } from '../storage/adapter.js';
import { type JournalHead, linesOf, openSegment, sealSegment } from './journal.js';

/** How long a tail may get, in bytes, before it is moved into a segment: each write of the head writes all of it. */
export const SPLIT_BYTES = 8 * 1024;

/** Whether a head should move its tail into a segment before `lines` are put behind it. */
export function isFull<About>({ tail }: JournalHead<About>, lines: readonly Buffer[]): boolean {
  return tail.length > 0 && lines.reduce((sizeBytes, { length }) => sizeBytes + length + 1, tail.length) > SPLIT_BYTES;
}

/**
 * Moves the tail of `head` into a segment under `prefix`, durable when this resolves, and returns the head without it. To
 * be done again after any error or crash: it is the same segment, and one that no head came to name harms nobody.
 * @throws CorruptionError if something else stands in its place.
 */
export async function moveTail<About>(
  storage: StorageAdapter,
  prefix: string,
  head: JournalHead<About>,
): Promise<JournalHead<About>> {
  const { record, link } = sealSegment(prefix, head);
  try {
    await storage.put(link.key, record.bytes, { ifVersion: null });
  } catch (error) {
    if (!(error instanceof ConflictError)) throw error;
    const entry = await storage.get(link.key);
    if (entry === undefined) throw error; // Deleted since. Whoever did that has deleted the head before.
    openSegment(entry, link);
  }
  return { ...head, newest: link, tail: Buffer.alloc(0) };
}

/**
 * All lines of a journal, from the first on. Every part is proved by the one behind it.
 * @throws CorruptionError if a part is missing or is not what was written.
 */
export async function readLines<About>(storage: StorageAdapter, head: JournalHead<About>): Promise<Buffer[]> {
  const bodies = [head.tail];
  for (let link = head.newest; link !== null; ) {
    const entry = await storage.get(link.key);
    if (entry === undefined) throw new CorruptionError(`The part "${link.key}" of a journal is missing.`, link.key);
    const { body, before } = openSegment(entry, link);
    bodies.push(body);
    link = before;
  }
  return bodies.reverse().flatMap(linesOf);
}
