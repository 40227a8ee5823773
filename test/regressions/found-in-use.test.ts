import { mkdtemp, readdir, rm, stat, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { CheckpointManager, EventLog, fileStorage, memoryStorage, ReplayError } from '../../src/index.js';

test('what Immer does to maps and sets to freeze them is no reason to refuse a state', async () => {
  const refuse = () => {
    throw new Error('frozen');
  };
  const hidden = { value: refuse, enumerable: false };
  const seen = Object.freeze(Object.defineProperties(new Set(['a']), { add: hidden, delete: hidden, clear: hidden }));
  const ages = Object.freeze(Object.defineProperties(new Map([['b', 1]]), { set: hidden }));
  const checkpoints = new CheckpointManager({ storage: memoryStorage() });
  await checkpoints.save('agent', { seen, ages });
  const restored = await checkpoints.restore('agent');
  expect(restored?.state).toEqual({ seen: new Set(['a']), ages: new Map([['b', 1]]) });
  await expect(checkpoints.save('agent', Object.assign(new Set(), { note: 'lost' }))).rejects.toThrow(/note/);
  const withData = Object.defineProperty(new Set(), 'note', { value: 'lost' });
  await expect(checkpoints.save('agent', withData)).rejects.toThrow(/note/);
});

test('a reducer that forgets to return the state stops the replay instead of losing it', async () => {
  const storage = memoryStorage();
  const checkpoints = new CheckpointManager<number>({ storage });
  const events = new EventLog<{ id: string }, number>({ storage, checkpoints });
  await events.appendAll('sum', [{ id: 'a' }, { id: 'b' }]);
  const forgetful = () => undefined as unknown as number;
  await expect(events.replay('sum', forgetful, { initial: 0, saveEvery: 1 })).rejects.toThrow(ReplayError);
  expect(await checkpoints.restore('sum')).toBeUndefined();
});

test.each([1, 100, 1_000, 5_000])(
  'a log that lost its last %i bytes after a clean close can be repaired',
  async (cut) => {
    const folder = await mkdtemp(join(tmpdir(), 'holdfast-cut-'));
    const storage = fileStorage(folder);
    for (let step = 1; step <= 8; step++) {
      await new CheckpointManager({ storage }).save('agent', { step, text: String(step).repeat(3_000) });
    }
    await storage.close();
    const log = join(folder, (await readdir(folder)).find((name) => name.startsWith('log-')) as string);
    await truncate(log, (await stat(log)).size - cut);
    const open = fileStorage(folder);
    const checkpoints = new CheckpointManager<{ step: number }>({ storage: open });
    await expect(checkpoints.save('agent', { step: 9 })).rejects.toThrow(/repair/);
    await open.repair();
    await checkpoints.restore('agent'); // What was lost was the newest: the caller decides to go on from an older one.
    const { sequence } = await checkpoints.save('agent', { step: 9 });
    expect((await checkpoints.restore('agent'))?.checkpoint.sequence).toBe(sequence);
    await open.close();
    await rm(folder, { recursive: true });
  },
);
