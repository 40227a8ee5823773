import { expect, test } from 'vitest';
import { CorruptionError } from '../../src/base/errors.js';
import { openHeader, openRecord, sealRecord } from '../../src/records/envelope.js';

const isMeta = (meta: unknown): meta is { n: number } => typeof (meta as { n?: unknown })?.n === 'number';
const header = { key: 'k/1', id: 'one', parent: null, meta: { n: 1 } };
const body = Buffer.from('{"state":true}');

function reseal(text: string): Buffer {
  return sealRecordText(Buffer.from(text));
}

/** A record with any header text under a valid hash: what a forger could write. */
function sealRecordText(text: Buffer): Buffer {
  const { bytes } = sealRecord(header, Buffer.alloc(0));
  const front = Buffer.concat([bytes.subarray(0, 40), text]);
  front.writeUInt32LE(text.length, 36);
  const { createHash } = process.getBuiltinModule('node:crypto');
  createHash('sha256').update(front.subarray(36)).digest().copy(front, 4);
  return front;
}

test('a body in pieces of bytes and of text is the same record as the body in one', () => {
  const pieces = [Buffer.from([0, 1, 255]), 'plain', '', 'grüße 🙂', Buffer.alloc(0), '\u0000"}}'];
  const whole = Buffer.concat(pieces.map((piece) => Buffer.from(piece as string)));
  const meta = { says: 'grüße 🙂"}}' };
  const sealed = sealRecord({ ...header, meta }, { sizeBytes: whole.length, pieces });
  const same = sealRecord({ ...header, meta }, whole);
  expect(sealed).toEqual(same);
  const opened = openRecord(header.key, sealed.bytes, (found): found is unknown => found !== undefined);
  expect(opened.header).toEqual(sealed.header);
  expect(opened.body.equals(whole)).toBe(true);
});

test('a record gives back its header and body, and a name that changes with either', () => {
  const sealed = sealRecord(header, body);
  const opened = openRecord('k/1', sealed.bytes, isMeta);
  expect(opened.body).toEqual(body);
  expect(opened.header).toEqual(sealed.header);
  expect(opened.recordHash).toBe(sealed.recordHash);
  expect(sealRecord({ ...header, id: 'two' }, body).recordHash).not.toBe(sealed.recordHash);
  expect(sealRecord(header, Buffer.from('{}')).recordHash).not.toBe(sealed.recordHash);
});

test('every flipped bit and every cut of a record is found', () => {
  const { bytes } = sealRecord(header, body);
  for (let at = 0; at < bytes.length; at++) {
    for (const mask of [0x01, 0x80]) {
      const flipped = Buffer.from(bytes);
      flipped[at] = (bytes[at] as number) ^ mask;
      expect(() => openRecord('k/1', flipped, isMeta)).toThrow(CorruptionError);
    }
    expect(() => openRecord('k/1', bytes.subarray(0, at), isMeta)).toThrow(CorruptionError);
  }
  expect(() => openRecord('k/1', Buffer.concat([bytes, Buffer.from('x')]), isMeta)).toThrow(/body has/);
});

test('a record that was copied to another key is refused', () => {
  const { bytes } = sealRecord(header, body);
  expect(() => openRecord('k/2', bytes, isMeta)).toThrow(/was written as "k\/1"/);
});

test('a header is proved and read while the body is damaged', () => {
  const { bytes } = sealRecord(header, body);
  bytes[bytes.length - 1] = 0;
  expect(openHeader('k/1', bytes, isMeta).header.meta).toEqual({ n: 1 });
  expect(() => openRecord('k/1', bytes, isMeta)).toThrow(/does not match its SHA-256/);
});

test('a later format is told from bytes that are no record at all', () => {
  const { bytes } = sealRecord(header, body);
  bytes.write('HFR2', 0, 'latin1');
  expect(() => openRecord('k/1', bytes, isMeta)).toThrow(/newer holdfast/);
  bytes.write('JUNK', 0, 'latin1');
  expect(() => openRecord('k/1', bytes, isMeta)).toThrow(/does not begin like a record/);
});

test('a header of the wrong shape is refused although its hash is right', () => {
  const good = { ...header, body: { sizeBytes: 0, sha256: 'x' } };
  const wrong = ['null', '[]', '{', '{}', JSON.stringify({ ...good, parent: 1 }), JSON.stringify({ ...good, key: 1 })];
  const wrongBody = [
    JSON.stringify({ ...good, body: {} }),
    JSON.stringify({ ...good, body: { sizeBytes: 1.5, sha256: 'x' } }),
  ];
  const wrongMeta = [JSON.stringify({ ...good, meta: {} }), JSON.stringify({ ...good, body: { sizeBytes: 0 } })];
  for (const text of [...wrong, ...wrongBody, ...wrongMeta]) {
    expect(() => openRecord('k/1', reseal(text), isMeta)).toThrow(CorruptionError);
  }
});
