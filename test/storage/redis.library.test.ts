import { describe, expect, test } from 'vitest';
import { CheckpointManager } from '../../src/checkpoints/checkpoint-manager.js';
import { redisStorage } from '../../src/storage/redis.js';
import { TransactionManager } from '../../src/transactions/transaction-manager.js';
import { rejectionOf } from '../support/deferred.js';
import { atEnd, clientOf, endAfterEach, eventually, startServer } from '../support/redis-scene.js';

endAfterEach();

describe('checkpoints on Redis', () => {
  test('come back as they were saved, by another process', async () => {
    const server = await startServer();
    const checkpoints = new CheckpointManager<{ step: number }>({ storage: redisStorage(clientOf(server)) });
    for (let step = 1; step <= 5; step++) await checkpoints.save('run', { step });
    const later = new CheckpointManager<{ step: number }>({ storage: redisStorage(clientOf(server)) });
    await expect(later.restore('run')).resolves.toMatchObject({ state: { step: 5 }, degraded: false });
  });

  test('fall back past one whose bytes were damaged, and say so', async () => {
    const server = await startServer();
    const admin = clientOf(server);
    const storage = redisStorage(clientOf(server));
    const checkpoints = new CheckpointManager<{ step: number }>({ storage });
    for (let step = 1; step <= 3; step++) await checkpoints.save('run', { step });
    const newest = (await storage.list('', { reverse: true })).entries.find(({ key }) => key.includes('3'));
    await admin.setrange(`{holdfast}:entry:${newest?.key}`, 60, 'damaged');
    const later = new CheckpointManager<{ step: number }>({ storage: redisStorage(clientOf(server)) });
    await expect(later.restore('run')).resolves.toMatchObject({ state: { step: 2 }, degraded: true });
  });
});

describe('transactions on Redis', () => {
  test('of an owner whose connection died are finished by another', async () => {
    const server = await startServer();
    const dying = clientOf(server);
    const first = new TransactionManager({ storage: redisStorage(dying, { timeoutMs: 200 }), leaseMs: 300 });
    let isPaying = false;
    const trip = first.define('trip', async (tx) => {
      await tx.step('book', () => 'booked');
      await tx.step('pay', () => {
        isPaying = true;
        return new Promise(() => {});
      });
    });
    void rejectionOf(trip('1'));
    await eventually(() => isPaying);
    dying.disconnect(); // Its heartbeats end here.
    const second = new TransactionManager({ storage: redisStorage(clientOf(server)), leaseMs: 300 });
    atEnd(() => second.close());
    const did: string[] = [];
    second.define('trip', async (tx) => {
      await tx.step('book', () => did.push('book'));
      await tx.step('pay', () => did.push('pay'));
    });
    await expect(second.recover({ waitMs: 5_000 })).resolves.toMatchObject({ resumed: ['1'] });
    expect(did).toEqual(['pay']);
  });
});
