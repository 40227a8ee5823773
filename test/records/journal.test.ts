import { describe, expect, test } from 'vitest';
import { CorruptionError } from '../../src/base/errors.js';
import { sealRecord } from '../../src/records/envelope.js';
import {
  extended,
  type JournalHead,
  linesOf,
  newJournal,
  openHead,
  openSegment,
  sealHead,
  sealSegment,
} from '../../src/records/journal.js';
import { isFull, moveTail, readLines, SPLIT_BYTES } from '../../src/records/journal-segments.js';
import { ConflictError } from '../../src/storage/adapter.js';
import { memoryStorage } from '../../src/storage/memory.js';

const isText = (about: unknown): about is string => typeof about === 'string';
const bytes = (...texts: string[]) => texts.map((text) => Buffer.from(text));
const head = (...texts: string[]): JournalHead<string> => extended(newJournal('x'), bytes(...texts), 'x');
const entry = (key: string, value: Uint8Array) => ({ key, value, version: '1' });
const texts = (lines: readonly Buffer[]) => lines.map(String);

describe('lines', () => {
  test.each([[[]], [['a']], [['']], [['a', '', 'b', '']], [['{"ü":1}', '€']]])('%j come back as they were', (given) => {
    expect(texts(linesOf(head(...given).tail))).toEqual(given);
  });

  test('are added behind those that are there', () => {
    const before = head('a');
    const after = extended(before, bytes('b', 'c'), 'y');
    expect(texts(linesOf(after.tail))).toEqual(['a', 'b', 'c']);
    expect(after.about).toBe('y');
    expect(texts(linesOf(before.tail))).toEqual(['a']);
  });
});

describe('a head', () => {
  test('comes back as it was written, with a name for the write', () => {
    const sealed = sealHead('k', head('a'));
    const opened = openHead(entry('k', sealed.bytes), isText);
    expect(opened).toEqual({ key: 'k', version: '1', id: sealed.id, heldId: sealed.id, head: sealed.head });
  });

  test('that somebody else amends still names the write of its holder', () => {
    const amendment = sealHead('k', head('a'), 'held');
    expect(openHead(entry('k', amendment.bytes), isText)).toMatchObject({ id: amendment.id, heldId: 'held' });
    expect(amendment.id).not.toBe('held');
  });

  test.each([
    ['nothing', null],
    ['a journal without a name', { journal: 7, part: 0, previous: null, about: 'x' }],
    ['a part that is no number', { journal: 'j', part: '0', previous: null, about: 'x' }],
    ['a key that is none', { journal: 'j', part: 0, previous: 7, about: 'x' }],
    ['an amended write without a name', { journal: 'j', part: 0, previous: null, amends: 7, about: 'x' }],
    ['what its owner does not know', { journal: 'j', part: 0, previous: null, about: 7 }],
  ])('that says %s is refused', (_name, meta) => {
    const record = sealRecord({ key: 'k', id: 'i', parent: null, meta }, Buffer.from('a\n'));
    expect(() => openHead(entry('k', record.bytes), isText)).toThrow(CorruptionError);
  });

  test('that may not be the newest is refused', () => {
    const { bytes: value } = sealHead('k', head('a'));
    expect(() => openHead({ ...entry('k', value), suspect: true }, isText)).toThrow(CorruptionError);
  });
});

describe('a segment', () => {
  test('of the same lines in the same place has the same key and the same bytes', () => {
    const before = head('a', 'b');
    const [one, other] = [sealSegment('p/', before), sealSegment('p/', { ...before, about: 'y' })];
    expect(one.link).toEqual(other.link);
    expect(one.record.bytes.equals(other.record.bytes)).toBe(true);
    expect(one.link.key).toMatch(/^p\/00000001-[0-9a-f]{16}$/);
  });

  test.each([
    ['other lines', (one: JournalHead<string>) => ({ ...one, tail: Buffer.from('z\n') })],
    ['another journal', (one: JournalHead<string>) => ({ ...one, journal: 'another' })],
    ['another place', (one: JournalHead<string>) => ({ ...one, newest: sealSegment('p/', one).link })],
  ])('of %s has another key', (_name, changed) => {
    const before = head('a');
    expect(sealSegment('p/', changed(before)).link.key).not.toBe(sealSegment('p/', before).link.key);
  });

  test('is refused under the hash of another', () => {
    const { record, link } = sealSegment('p/', head('a'));
    expect(openSegment(entry(link.key, record.bytes), link).before).toBeNull();
    const another = { ...link, recordHash: 'f'.repeat(64) };
    expect(() => openSegment(entry(link.key, record.bytes), another)).toThrow(CorruptionError);
  });
});

describe('a tail', () => {
  test('is full when the next lines would make it longer than it may get, never when it is empty', () => {
    const room = SPLIT_BYTES - 2;
    expect(isFull(head('a'), [Buffer.alloc(room - 1)])).toBe(false);
    expect(isFull(head('a'), [Buffer.alloc(room)])).toBe(true);
    expect(isFull(head(), [Buffer.alloc(2 * SPLIT_BYTES)])).toBe(false);
  });

  test('is moved once, however often that is done', async () => {
    const storage = memoryStorage();
    const before = head('a', 'b');
    const moved = await moveTail(storage, 'p/', before);
    expect(await moveTail(storage, 'p/', before)).toEqual(moved);
    expect((await storage.list('')).entries).toHaveLength(1);
    expect(texts(await readLines(storage, extended(moved, bytes('c'), 'x')))).toEqual(['a', 'b', 'c']);
  });

  test('is not moved over something else that stands in its place', async () => {
    const storage = memoryStorage();
    const before = head('a');
    await storage.put(sealSegment('p/', before).link.key, Buffer.from('something'));
    await expect(moveTail(storage, 'p/', before)).rejects.toBeInstanceOf(CorruptionError);
  });

  test('whose segment is deleted while it is moved is not moved', async () => {
    const conflict = new ConflictError('p/1', 'x');
    const storage = { ...memoryStorage(), put: () => Promise.reject(conflict) };
    await expect(moveTail(storage, 'p/', head('a'))).rejects.toBe(conflict);
  });
});
