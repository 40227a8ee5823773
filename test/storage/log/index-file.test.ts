import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { expect, test } from 'vitest';
import { type LogFileSystem, nodeFileSystem } from '../../../src/storage/log/file-system.js';
import { sealPut } from '../../../src/storage/log/frame.js';
import { indexPieces, loadIndex } from '../../../src/storage/log/index-file.js';
import { LogStore } from '../../../src/storage/log/log-store.js';
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

/** With a folder of its own. */
async function inFolder(play: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-index-'));
  try {
    await play(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

const settings = { isSyncing: true, verifyAtOpen: false, compactAtBytes: 1e9, sink: undefined };

async function putAll(store: LogStore, keys: readonly string[]): Promise<void> {
  const puts = keys.map((key) => sealPut(key, Buffer.from('x'), undefined));
  const operations = puts.map(({ operation }) => operation);
  await store.queue.submit({ operations, values: puts.map(({ bytes }) => bytes) });
}

test('a store that is there is opened with two looks into its folder, and its index is read once', () =>
  inFolder(async (folder) => {
    const first = await LogStore.open(folder, nodeFileSystem, settings);
    await putAll(first, ['a', 'b']);
    await first.close();
    const calls: string[] = [];
    const told =
      <Answer>(call: string, act: (path: string) => Promise<Answer>) =>
      (path: string) => {
        calls.push(`${call} ${basename(path).replace(/-.*/, '')}`);
        return act(path);
      };
    const fs: LogFileSystem = {
      ...nodeFileSystem,
      list: told('list', nodeFileSystem.list),
      readFile: told('read', nodeFileSystem.readFile),
      openLog: told('open', nodeFileSystem.openLog),
    };
    const again = await LogStore.open(folder, fs, settings);
    expect(calls).toEqual(['list holdfast', 'read FORMAT.json', 'list holdfast', 'open log', 'read index']);
    expect((await again.get('b'))?.value.toString()).toBe('x');
    await again.close();
  }));

test('an index file that another process replaced in this moment is done without', () =>
  inFolder(async (folder) => {
    const first = await LogStore.open(folder, nodeFileSystem, settings);
    await putAll(first, ['a', 'b']);
    await first.close();
    const fs: LogFileSystem = {
      ...nodeFileSystem,
      async readFile(path) {
        if (basename(path).startsWith('index')) await nodeFileSystem.remove(path);
        return nodeFileSystem.readFile(path);
      },
    };
    const again = await LogStore.open(folder, fs, settings);
    expect((await nodeFileSystem.list(folder)).filter((name) => name.startsWith('index'))).toEqual([]);
    expect((await again.get('b'))?.value.toString()).toBe('x');
    await again.close();
  }));

test('index files of a store with many small values take less than its log does', () =>
  inFolder(async (folder) => {
    let indexBytes = 0;
    const fs: LogFileSystem = {
      ...nodeFileSystem,
      async createLog(path) {
        const file = await nodeFileSystem.createLog(path);
        const append = file.append.bind(file);
        return Object.assign(file, {
          append: (chunks: readonly Uint8Array[]) => {
            indexBytes += chunks.reduce((sum, { byteLength }) => sum + byteLength, 0);
            return append(chunks);
          },
        });
      },
    };
    const store = await LogStore.open(folder, fs, settings);
    const stem = 'k'.repeat(200);
    let logBytes = 0;
    for (let at = 0; logBytes < 80 * 1024 * 1024; at++) {
      await putAll(
        store,
        Array.from({ length: 1_000 }, (_, n) => `${stem}/${at}/${n}`),
      );
      logBytes = (await store.readable()).appliedTo;
    }
    expect(indexBytes).toBeGreaterThan(0);
    expect(indexBytes).toBeLessThan(logBytes);
    await store.close();
  }));
