import { describe, expect, test } from 'vitest';
import { type Copy, copyBytes, looksLikeCopy, readCopy } from '../../src/storage/replicated/copy-format.js';
import { KeyTurns } from '../../src/storage/replicated/key-turns.js';
import { bytes } from '../../src/testing/contract/entries.js';
import { seededRandom } from '../../src/testing/seeded-random.js';
import { deferred } from '../support/deferred.js';

const COPIES: readonly Copy[] = [
  { kind: 'place' },
  { kind: 'value', version: '7', isOrdered: true, value: bytes('value') },
  { kind: 'value', version: 'é'.repeat(256), isOrdered: false, value: new Uint8Array(0) },
  { kind: 'value', version: '0', isOrdered: false, value: new Uint8Array(3_000).fill(7) },
];

describe('the bytes of a copy', () => {
  test.each(COPIES)('give back what was put in: %#', (copy) => {
    expect(readCopy('key', copyBytes('key', copy))).toEqual(copy);
  });

  test('are for ever those of format 1', () => {
    const copy: Copy = { kind: 'value', version: 'v1', isOrdered: true, value: bytes('value') };
    expect(Buffer.from(copyBytes('runs/1', copy)).toString('hex')).toBe(GOLDEN);
    expect(readCopy('runs/1', Buffer.from(GOLDEN, 'hex'))).toEqual(copy);
  });

  test('with any bit flipped, cut anywhere or made longer are damage', () => {
    const random = seededRandom('flips');
    const whole = copyBytes('key', COPIES[1] as Copy);
    const damaged = (changed: Uint8Array) =>
      expect(() => readCopy('key', changed), Buffer.from(changed).toString('hex')).toThrow(
        expect.objectContaining({ code: 'HOLDFAST_CORRUPTION', key: 'key' }),
      );
    for (let bit = 0; bit < whole.length * 8; bit++) {
      damaged(whole.map((byte, at) => (at === bit >> 3 ? byte ^ (1 << (bit & 7)) : byte)));
    }
    for (let length = 0; length < whole.length; length++) damaged(whole.subarray(0, length));
    damaged(Buffer.concat([whole, Buffer.from([0])]));
    for (let round = 0; round < 1_000; round++)
      damaged(Buffer.from(Array.from({ length: 60 }, () => random.integer(256))));
  });

  test('are damage under another key', () => {
    const whole = copyBytes('key', COPIES[1] as Copy);
    expect(() => readCopy('key2', whole)).toThrow(expect.objectContaining({ code: 'HOLDFAST_CORRUPTION' }));
  });

  test('of a newer format are no damage: they are refused as such', () => {
    expect(() => readCopy('runs/1', Buffer.from(NEWER, 'hex'))).toThrow(
      expect.objectContaining({ code: 'HOLDFAST_STORAGE', message: expect.stringContaining('newer version') }),
    );
  });

  test('can be told from other bytes by how they begin', () => {
    expect(COPIES.map((copy) => looksLikeCopy(copyBytes('key', copy)))).toEqual([true, true, true, true]);
    expect([bytes(''), bytes('HFCOP'), bytes('value')].map(looksLikeCopy)).toEqual([false, false, false]);
  });

  test('do not belong to a larger buffer: the value is a copy of its own', () => {
    const whole = copyBytes('key', COPIES[1] as Copy);
    const copy = readCopy('key', whole);
    whole.fill(0);
    expect(copy).toEqual(COPIES[1]);
  });
});

describe('turns', () => {
  test('acts on one key run one after the other, also behind one that failed; others at once', async () => {
    const turns = new KeyTurns();
    const first = deferred();
    const order: string[] = [];
    const acts = [
      turns.take(['a'], async () => {
        await first.promise;
        order.push('a');
        throw new Error('failed');
      }),
      turns.take(['a', 'b'], async () => order.push('a and b')),
      turns.take(['b'], async () => order.push('b')),
      turns.take(['c'], async () => order.push('c')),
    ];
    await acts[3];
    expect(order).toEqual(['c']);
    first.resolve();
    await Promise.allSettled(acts);
    expect(order).toEqual(['c', 'a', 'a and b', 'b']);
    await expect(acts[0]).rejects.toThrow('failed');
    await turns.idle();
    await turns.settled('a');
  });

  test('idle waits for acts that come while it waits', async () => {
    const turns = new KeyTurns();
    const done: string[] = [];
    const act = turns.take(['a'], async () => void done.push('first'));
    void act.then(() => turns.take(['a'], async () => void done.push('second')));
    await turns.idle();
    await turns.idle();
    expect(done).toEqual(['first', 'second']);
  });
});

/** `runs/1` = `value` under version `v1`, ordered. Never changed: copies of the first version are read for ever. */
const GOLDEN = '4846434f5059010200027631d6f44eea8c085f9a2489af854ac327e01ec6840d2c29d9fac547345eb361085476616c7565';
/** The same, written by a format 2 that hashes as format 1 does. */
const NEWER = '4846434f5059020200027631741ff92700f7e59703d20911d0abffb920e32e11d172704d26b8b2e2e34c95b476616c7565';
