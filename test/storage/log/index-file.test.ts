import { expect, test } from 'vitest';
import { indexPieces, loadIndex } from '../../../src/storage/log/index-file.js';
import { Replay } from '../../../src/storage/log/replay.js';

const entry = (n: number) => ({
  version: `00000001.${String(n).padStart(15, '0')}`,
  offset: n,
  length: 1,
  digest: 'digest',
  hasZeros: n % 2 === 0,
  isBad: n % 3 === 0,
});

test('an index file gives back every entry, over as many pieces as it takes', () => {
  const replay = new Replay(7);
  for (let n = 0; n < 10_000; n++) replay.load(`key/${n}`, entry(n));
  const pieces = [...indexPieces(7, 1_234, replay)];
  const loaded = new Replay(7);
  expect(loadIndex(Buffer.concat(pieces), 7, loaded)).toBe(1_234);
  expect([...loaded.index]).toEqual([...replay.index]);
  expect(loaded).toMatchObject({ isReady: true, durableTo: 1_234, liveBytes: replay.liveBytes });
  expect(pieces.length).toBeGreaterThan(3);
});

test('what is written after an index was begun is not in it: it may not be on disk yet', () => {
  const replay = new Replay(1);
  replay.load('before', entry(1));
  const pieces = indexPieces(1, 100, replay);
  replay.load('after', entry(2));
  expect(Buffer.concat([...pieces]).toString()).not.toContain('after');
});
