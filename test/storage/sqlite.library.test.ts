import { expect, test } from 'vitest';
import { CheckpointManager } from '../../src/checkpoints/checkpoint-manager.js';
import { sqliteStorage } from '../../src/storage/sqlite.js';
import { inSqliteFolder, type SqliteFolder } from '../support/sqlite-folder.js';
import { TransactionWorld } from '../support/transaction-world.js';

const scene = (play: (scene: SqliteFolder) => Promise<void>) => () => inSqliteFolder(play);

test(
  'a checkpoint that was saved is restored by another process of the host',
  scene(async ({ handle }) => {
    const state = { step: 7, found: new Map([['a', [1n, undefined]]]) };
    const saved = await new CheckpointManager({ storage: sqliteStorage(handle()) }).save('run', state);
    const restored = await new CheckpointManager({ storage: sqliteStorage(handle()) }).restore('run');
    expect(restored).toMatchObject({ state, degraded: false, checkpoint: { checksum: saved.checksum } });
  }),
);

test(
  'a checkpoint in which SQLite noticed nothing wrong is noticed, and the one before it restored',
  scene(async ({ handle }) => {
    const storage = sqliteStorage(handle());
    const checkpoints = new CheckpointManager<string>({ storage });
    await checkpoints.save('run', 'first');
    const { sequence } = await checkpoints.save('run', 'second');
    const damaged = handle().prepare(
      "UPDATE holdfast SET value = CAST(replace(value, 'second', 'sEcond') AS BLOB) WHERE instr(value, 'second') > 0",
    );
    expect(damaged.run()).toMatchObject({ changes: 1 });
    await expect(checkpoints.restore('run')).resolves.toMatchObject({
      state: 'first',
      degraded: true,
      skipped: [{ sequence, reason: 'corrupt' }],
    });
  }),
);

test(
  'a transaction whose process died half-way is finished by the next one, and no step is done twice',
  scene(async ({ handle }) => {
    const world = new TransactionWorld(sqliteStorage(handle()));
    await world.firstLife(async (tx) => {
      await tx.step('book', () => world.effect('book'));
      await tx.step('pay', () => new Promise(() => {}));
    });
    const { report } = await world.nextLife(async (tx) => {
      await tx.step('book', () => world.effect('book again'));
      await tx.step('pay', () => world.effect('pay'));
    });
    expect(report.resumed).toEqual(['1']);
    expect(world.did).toEqual(['book', 'pay']);
    expect((await world.view()).status).toBe('done');
  }),
);
