import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createHoldfast } from '../../src/holdfast.js';
import { LeaseNode, type LeaseNodeOptions, type NodeEvent } from '../../src/records/node.js';
import { nodeKey, openNodeRecord } from '../../src/records/node-record.js';
import { runHeart } from '../../src/records/run-heart.js';
import { type FileStorage, fileStorage } from '../../src/storage/log/file-storage.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';
import { Child } from '../faults/scene.js';
import { bundle } from '../support/bundle.js';
import { rejectionOf } from '../support/deferred.js';
import type { Task } from './heart-thread.js';

const LEASE_MS = 1_500;
let bundles = '';

beforeAll(async () => {
  bundles = await mkdtemp(join(tmpdir(), 'holdfast-heart-'));
  const files = ['heart-program.ts', 'heart-thread.ts'].map((name) => join(import.meta.dirname, name));
  await Promise.all(files.map((file) => bundle(file, bundles)));
});

afterAll(() => rm(bundles, { recursive: true, force: true }));

/** A folder with a store, until the test is over. */
async function inFolder(play: (folder: string, storage: FileStorage) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-heart-'));
  const storage = fileStorage(folder);
  try {
    await play(folder, storage);
  } finally {
    await storage.close();
    await rm(folder, { recursive: true, force: true });
  }
}

describe('a process whose event loop is blocked for three leases', () => {
  /** What another process sees of its session meanwhile, and what it says itself. */
  async function watched(folder: string, storage: FileStorage, ...heart: string[]) {
    await using holdfast = createHoldfast<string>({ storage, leaseMs: LEASE_MS });
    const child = new Child(process.execPath, [
      join(bundles, 'heart-program.mjs'),
      folder,
      String(LEASE_MS),
      String(3 * LEASE_MS),
      ...heart,
    ]);
    expect(await child.says(1)).toBe(true);
    const startMs = performance.now();
    const isWorking = () => child.lines.length === 1;
    let found: Awaited<ReturnType<typeof holdfast.sessions.interrupted>>[number] | undefined;
    while (found === undefined && isWorking()) {
      await setImmediate(); // What is in memory already is answered in microtasks.
      [found] = await holdfast.sessions.interrupted();
    }
    const foundMs = performance.now() - startMs;
    const taken = found && (await holdfast.sessions.recover('long'));
    const ending = await child.ended;
    return { found, foundMs, state: (await taken?.restore())?.state, lines: child.lines, ending };
  }

  test('loses its session if it beats for itself', () =>
    inFolder(async (folder, storage) => {
      const { found, state, lines } = await watched(folder, storage);
      expect(found?.failure).toBe('crashed');
      expect(state).toBe('before');
      expect(lines).toEqual(['blocks', 'failed HOLDFAST_FENCED', 'closed']);
    }));

  test('keeps it if it has a heart, goes on, and ends by itself', () =>
    inFolder(async (folder, storage) => {
      const { found, lines, ending } = await watched(folder, storage, '60000');
      expect(found).toBeUndefined();
      expect(lines).toEqual(['blocks', 'saved', 'closed']);
      expect(ending).toMatchObject({ code: 0, errorText: '' });
    }));

  test('is found frozen, long before it goes on, if that is longer than it may', () =>
    inFolder(async (folder, storage) => {
      const { found, foundMs, state, lines } = await watched(folder, storage, '1500');
      expect(found?.failure).toBe('frozen');
      expect(found?.evidence[0]).toMatch(/^its event loop did not answer its heart thread for \d\.\d s$/);
      expect(foundMs).toBeLessThan(2.5 * LEASE_MS);
      expect(state).toBe('before');
      expect(lines).toEqual(['blocks', 'failed HOLDFAST_FENCED', 'closed']);
    }));
});

/** A node with a heart of its own, until the test is over. */
async function withHeart(
  task: Task,
  play: (world: HeartWorld) => Promise<void>,
  options: Partial<LeaseNodeOptions> = {},
): Promise<void> {
  await inFolder(async (folder, storage) => {
    const heart = new Worker(join(bundles, 'heart-thread.mjs'), { workerData: { folder, task } });
    const events: NodeEvent[] = [];
    const node = new LeaseNode({ storage, leaseMs: LEASE_MS, heart, emit: (event) => events.push(event), ...options });
    const record = async (id: string) => {
      const entry = await storage.get(nodeKey(id));
      return entry && openNodeRecord(entry);
    };
    try {
      await play({ node, heart, storage, events, record });
    } finally {
      await node.leave();
      await heart.terminate();
    }
  });
}

interface HeartWorld {
  readonly node: LeaseNode;
  readonly heart: Worker;
  readonly storage: FileStorage;
  readonly events: readonly NodeEvent[];
  readonly record: (id: string) => Promise<ReturnType<typeof openNodeRecord> | undefined>;
}

function block(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

const types = (events: readonly NodeEvent[]) => events.map(({ type }) => type);
const beaten = (node: LeaseNode) => new Promise<void>((resolve) => node.onBeat(resolve));

describe('a node with a heart', () => {
  test('joins, is told of each beat, hands its notes on, and leaves no record behind', () =>
    withHeart('beat', async ({ node, events, record }) => {
      node.addNotes(() => [{ key: 'sessions/a', quietMs: 5, mayBeQuietMs: 100 }]);
      const { id } = await node.tenure();
      expect((await record(id))?.process).toMatchObject({ pid: process.pid });
      await beaten(node);
      const { beat, notes } = (await record(id)) ?? {};
      expect(beat).toBe(1);
      expect(notes).toEqual([{ key: 'sessions/a', quietMs: expect.any(Number), mayBeQuietMs: 100 }]);
      expect(notes?.[0]?.quietMs).toBeGreaterThanOrEqual(5);
      expect(notes?.[0]?.quietMs).toBeLessThan(LEASE_MS / 3);
      await node.leave();
      expect(await record(id)).toBeUndefined();
      expect(types(events)).toEqual(['node.joined', 'node.left']);
    }));

  test('that was given up is over for this thread at once, long before its lease would be', () =>
    withHeart(
      'beat',
      async ({ node, record }) => {
        const tenure = await node.tenure();
        block(1.9 * LEASE_MS);
        expect(tenure.isValid()).toBe(false);
        expect((await record(tenure.id))?.frozenMs).toBeGreaterThanOrEqual(LEASE_MS);
        expect((await node.look(tenure.id)).proof).toBe('frozen');
        expect((await node.tenure()).isValid()).toBe(true);
      },
      { frozenAfterMs: LEASE_MS },
    ));

  test('has left for good: the thread does not beat again', () =>
    withHeart('beat', async ({ node, heart, storage, record }) => {
      const tenure = await node.tenure();
      await node.leave();
      expect(tenure.isValid()).toBe(false);
      const next = new LeaseNode({ storage, heart, leaseMs: LEASE_MS });
      await next.tenure();
      await beaten(next);
      expect(await record(tenure.id)).toBeUndefined();
      await next.leave();
    }));

  test('beats for itself after its thread has ended, in a new tenure', () =>
    withHeart('beat', async ({ node, heart, events }) => {
      const tenure = await node.tenure();
      const lost = new Promise<Error>((resolve) => tenure.onLost(resolve));
      await heart.terminate();
      expect(String((await lost).cause)).toContain('The heart thread has ended.');
      const next = await node.tenure();
      expect(next.id).not.toBe(tenure.id);
      await beaten(node);
      expect(next.isValid()).toBe(true);
      expect(types(events).toSorted()).toEqual(['node.heart-ended', 'node.joined', 'node.joined', 'node.lost']);
    }));

  test('reports heartbeats that fail in the thread, and loses its tenure for that reason', () =>
    withHeart('fail', async ({ node, events }) => {
      const tenure = await node.tenure();
      const lost = new Promise<Error>((resolve) => tenure.onLost(resolve));
      expect(String((await lost).cause)).toContain('the disk is gone');
      const failed = { type: 'node.heartbeat-failed', node: tenure.id };
      expect(events).toContainEqual({ ...failed, error: expect.stringContaining('the disk is gone') });
    }));

  test.each([
    ['throw', 'the heart broke'],
    ['end', 'it exited with code 0'],
  ] as const)('beats for itself, and says so, if all its thread does is to %s', (task, error) =>
    withHeart(task, async ({ node, events }) => {
      const warned = once(process, 'warning');
      expect((await node.tenure()).isValid()).toBe(true);
      const [warning] = await warned;
      expect(warning).toMatchObject({ code: 'HOLDFAST_HEART_ENDED', message: expect.stringContaining(error) });
      expect(events).toContainEqual({ type: 'node.heart-ended', error });
    }),
  );

  test('says after a while that its thread never calls runHeart', () =>
    withHeart('say nothing', async ({ node }) => {
      const error = await rejectionOf(node.tenure());
      expect(error).toMatchObject({ message: expect.stringContaining('does not call runHeart(storage)') });
    }));

  test('refuses a heart that writes to another storage', () =>
    withHeart(
      'beat',
      async ({ node }) => {
        const error = await rejectionOf(node.tenure());
        expect(error).toMatchObject({ code: 'HOLDFAST_INVALID_INPUT', path: 'options.heart' });
      },
      { storage: memoryStorage() },
    ));

  test.each([
    ['heart', { heart: {} as Worker }],
    ['frozenAfterMs', { frozenAfterMs: 100_000 }],
  ])('refuses an unfit %s', (option, options) => {
    const make = () => new LeaseNode({ storage: memoryStorage(), ...options });
    expect(make).toThrow(expect.objectContaining({ path: `options.${option}` }));
  });

  test('refuses to be frozen sooner than its lease is over, and a thread that has ended', () =>
    withHeart('say nothing', async ({ heart }) => {
      const make = (options: Partial<LeaseNodeOptions>) => () =>
        new LeaseNode({ storage: memoryStorage(), heart, leaseMs: LEASE_MS, ...options });
      const tooSoon = expect.objectContaining({ path: 'options.frozenAfterMs' });
      expect(make({ frozenAfterMs: LEASE_MS - 1 })).toThrow(tooSoon);
      await heart.terminate();
      expect(make({})).toThrow(expect.objectContaining({ path: 'options.heart' }));
    }));

  test('refuses another clock: the thread has only that of the machine', () =>
    withHeart('say nothing', async ({ heart }) => {
      const make = () => new LeaseNode({ storage: memoryStorage(), heart, clock: new VirtualClock() });
      expect(make).toThrow(expect.objectContaining({ path: 'options.clock' }));
    }));
});

test('runHeart is for worker threads', () => {
  expect(() => runHeart(memoryStorage())).toThrow(expect.objectContaining({ code: 'HOLDFAST_INVALID_INPUT' }));
});
