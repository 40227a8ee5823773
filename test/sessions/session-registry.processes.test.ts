import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'esbuild';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { CheckpointManager } from '../../src/checkpoints/checkpoint-manager.js';
import { SessionRegistry } from '../../src/sessions/session-registry.js';
import { fileStorage } from '../../src/storage/log/file-storage.js';
import { Child } from '../faults/scene.js';

interface State {
  readonly count: number;
  readonly by: string;
}

const HELD = 10;
let bundleFolder = '';

beforeAll(async () => {
  bundleFolder = await mkdtemp(join(tmpdir(), 'holdfast-sessions-'));
  await build({
    entryPoints: [join(import.meta.dirname, 'session-program.ts')],
    outfile: join(bundleFolder, 'program.mjs'),
    bundle: true,
    platform: 'node',
    format: 'esm',
    // Some of what is bundled is CommonJS.
    banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" },
    logLevel: 'error',
  });
});

afterAll(() => rm(bundleFolder, { recursive: true, force: true }));

/** A folder with a store, this process's registry on it, and the means to start others. */
async function inWorld(leaseMs: number, play: (world: World) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-sessions-'));
  const world = new World(folder, leaseMs);
  try {
    await play(world);
  } finally {
    await world.end();
    await rm(folder, { recursive: true, force: true });
  }
}

class World {
  readonly storage;
  readonly checkpoints;
  readonly sessions;
  readonly #children: Child[] = [];

  constructor(
    readonly folder: string,
    readonly leaseMs: number,
  ) {
    this.storage = fileStorage(join(folder, 'store'));
    this.checkpoints = new CheckpointManager<State>({ storage: this.storage });
    this.sessions = new SessionRegistry({ storage: this.storage, checkpoints: this.checkpoints, leaseMs });
  }

  start(name: string, task: 'hold' | 'rescue', count: number): Child {
    const args = [this.folder, name, task, String(count), String(this.leaseMs)];
    const child = new Child(process.execPath, [join(bundleFolder, 'program.mjs'), ...args]);
    this.#children.push(child);
    return child;
  }

  async effects(): Promise<string[][]> {
    return (await readFile(join(this.folder, 'effects'), 'utf8'))
      .trim()
      .split('\n')
      .map((line) => line.split(' '));
  }

  async end(): Promise<void> {
    await Promise.all(this.#children.map((child) => child.kill()));
    await this.sessions.close();
    await this.storage.close();
  }
}

/** Steps that somebody did after another one with a higher fence had begun. */
function overlaps(effects: readonly (readonly string[])[]): string[] {
  const highest = new Map<string, number>();
  return effects.flatMap(([id = '', fence = '', name]) => {
    const before = highest.get(id) ?? 0;
    highest.set(id, Math.max(before, Number(fence)));
    return Number(fence) < before ? [`${name} acted for ${id} with fence ${fence} after fence ${before}`] : [];
  });
}

test('a session of a killed process is taken over within a poll on the same host, long before its lease is over', () =>
  inWorld(15_000, async (world) => {
    const holder = world.start('holder', 'hold', 1);
    expect(await holder.says(1)).toBe(true);
    const waiting = world.sessions.recover('session-0', { waitMs: 20_000 });
    await holder.kill();
    const killedMs = performance.now();
    const session = await waiting;
    const tookMs = performance.now() - killedMs;
    process.stdout.write(`taken over ${tookMs.toFixed(0)} ms after the kill\n`);
    expect(tookMs).toBeLessThan(1_000);
    expect(session.takeover?.evidence[0]).toMatch(/^its process \(\d+\) on this host has ended$/);
    expect((await session.restore())?.state).toMatchObject({ by: 'holder' });
  }));

test('a process that was stopped past its lease is told when it goes on, and overwrites nothing', () =>
  inWorld(400, async (world) => {
    const holder = world.start('holder', 'hold', HELD);
    expect(await holder.says(HELD)).toBe(true);
    await holder.freeze();
    const ids = Array.from({ length: HELD }, (_, at) => `session-${at}`);
    const taken = await Promise.all(ids.map((id) => world.sessions.recover(id, { waitMs: 10_000 })));
    await Promise.all(taken.map((session) => session.checkpoint({ count: 0, by: 'taker' })));
    holder.thaw();
    await holder.ended;
    expect(holder.lines.slice(HELD).sort()).toEqual(ids.map((id) => `stopped ${id} HOLDFAST_FENCED`));
    const states = await Promise.all(taken.map(async (session) => (await session.restore())?.state));
    expect(states).toEqual(ids.map(() => ({ count: 0, by: 'taker' })));
    const written = await Promise.all(ids.map((id) => world.checkpoints.verify(id, { depth: 'deep' })));
    expect(written.every(({ damaged }) => damaged.length === 0)).toBe(true);
  }));

test('100 sessions of a killed process, four rescuers, two of them killed: one acts for each at a time, all end', () =>
  inWorld(2_000, async (world) => {
    const holder = world.start('holder', 'hold', 100);
    expect(await holder.says(100)).toBe(true);
    await holder.kill();
    const rescuers = Array.from({ length: 4 }, (_, at) => world.start(`rescuer-${at}`, 'rescue', 0));
    await expect.poll(async () => (await world.effects().catch(() => [])).length > 40, { timeout: 15_000 }).toBe(true);
    await rescuers[0]?.kill();
    await expect.poll(async () => (await world.effects()).length > 120, { timeout: 15_000 }).toBe(true);
    await rescuers[1]?.kill();
    await Promise.all(rescuers.map(({ ended }) => ended));
    expect(overlaps(await world.effects())).toEqual([]);
    const statuses = [];
    for await (const { status } of world.sessions.list()) statuses.push(status);
    expect(statuses).toEqual(Array.from({ length: 100 }, () => 'completed'));
  }));
