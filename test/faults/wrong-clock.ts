import { isDeepStrictEqual } from 'node:util';
import type { Clock } from '../../src/base/clock.js';
import { CheckpointManager } from '../../src/checkpoints/checkpoint-manager.js';
import { fileStorage } from '../../src/storage/log/file-storage.js';
import type { FaultRow } from './row.js';
import { inScene, problems } from './scene.js';

const HOUR_MS = 3_600_000;
const TEN_YEARS_MS = 10 * 365.25 * 24 * HOUR_MS;
const START_MS = Date.UTC(2026, 0, 1);

/** A wall clock that jumps by the next of `jumpsMs` whenever it is read. */
class JumpingClock implements Clock {
  #nowMs = START_MS;
  #reads = 0;

  constructor(readonly jumpsMs: readonly number[]) {}

  now(): number {
    this.#nowMs += this.jumpsMs[this.#reads++ % this.jumpsMs.length] ?? 0;
    return this.#nowMs;
  }

  monotonicMs(): number {
    return 0;
  }

  sleep(): Promise<void> {
    return Promise.resolve();
  }
}

const CLOCKS: readonly (readonly [name: string, jumpsMs: readonly number[]])[] = [
  ['back 1 h at every save', [-HOUR_MS]],
  ['forward 10 y at every save', [TEN_YEARS_MS]],
  ['forward 10 y and back again', [TEN_YEARS_MS, -TEN_YEARS_MS]],
  ['stopped', [0]],
  ['before 1970', [-60 * TEN_YEARS_MS, HOUR_MS]],
];

/** All that a program can see of its checkpoints but `savedAtMs`, over two lives and a pruning. */
async function history(clock: Clock): Promise<unknown> {
  return inScene(async ({ folder }) => {
    const seen: unknown[] = [];
    for (let life = 0; life < 2; life++) {
      const storage = fileStorage(folder);
      const checkpoints = new CheckpointManager({ storage, clock });
      seen.push((await checkpoints.restore('run'))?.state);
      for (let step = 0; step < 5; step++) seen.push((await checkpoints.save('run', { life, step })).sequence);
      for await (const { sequence, parent, checksum } of checkpoints.list('run'))
        seen.push([sequence, parent, checksum]);
      seen.push(await checkpoints.restore('run').then((restored) => [restored?.state, restored?.degraded]));
      const { kept, removed } = await checkpoints.prune('run', { keepLast: 2 });
      seen.push(kept, removed, (await checkpoints.verify('run', { depth: 'deep' })).isIntact);
      await storage.close();
    }
    return seen;
  });
}

export const wrongClock: FaultRow = {
  fault: 'wall clock back 1 h, forward 10 y between saves',
  async run() {
    const expected = await history(new JumpingClock([1]));
    const bad: string[] = [];
    for (const [name, jumpsMs] of CLOCKS) {
      const found = await problems(`clock ${name}`, async () => {
        const seen = await history(new JumpingClock(jumpsMs));
        return isDeepStrictEqual(seen, expected)
          ? []
          : [`${JSON.stringify(seen)} instead of ${JSON.stringify(expected)}`];
      });
      bad.push(...found);
    }
    return { tried: CLOCKS.length, bad };
  },
};
