import { describe, expect, test } from 'vitest';
import {
  AuditLog,
  CheckpointManager,
  compressed,
  EventLog,
  encrypted,
  memoryStorage,
  observed,
  prefixed,
  replicated,
  restoreFromBackups,
  SessionRegistry,
  type StorageAdapter,
  TransactionManager,
} from '../../src/index.js';
import { ModelFileSystem } from '../support/model-file-system.js';
import { edited, modelStore, ROOT } from '../support/model-store.js';
import { suspectStore } from '../support/suspect-store.js';

const LOST = { code: 'HOLDFAST_CORRUPTION', message: expect.stringContaining('cannot tell which keys were there') };
const KEYRING = { current: 'new', keys: { new: new Uint8Array(32) } };

/** A file store of which all that was ever written is lost in one damaged frame. */
async function damagedStore() {
  const { fs, storage } = modelStore();
  await storage.open();
  const at = fs.image().get(`${ROOT}/log-00000001`)?.length as number;
  await storage.put('hidden', Buffer.from('all there was'));
  await storage.close();
  const image = edited(fs.image(), 'log-00000001', (bytes) => {
    bytes.write('!', at + 30);
    return bytes;
  });
  return modelStore(new ModelFileSystem(image)).storage;
}

async function all<Item>(items: AsyncIterable<Item>): Promise<readonly Item[]> {
  const gathered: Item[] = [];
  for await (const item of items) gathered.push(item);
  return gathered;
}

const sessionsIn = (storage: StorageAdapter) =>
  new SessionRegistry({ storage, checkpoints: new CheckpointManager({ storage }) });

const LISTS: Readonly<Record<string, (storage: StorageAdapter) => Promise<unknown>>> = {
  'sessions.list': async (storage) => all(sessionsIn(storage).list()),
  'sessions.interrupted': async (storage) => sessionsIn(storage).interrupted(),
  'transactions.list': async (storage) => all(new TransactionManager({ storage }).list()),
  'checkpoints.sessions': async (storage) => all(new CheckpointManager({ storage }).sessions()),
  'checkpoints.list': async (storage) => all(new CheckpointManager({ storage }).list('a')),
  'checkpoints.restore': async (storage) => new CheckpointManager({ storage }).restore('a'),
  'checkpoints.restore by label': async (storage) => new CheckpointManager({ storage }).restore('a', { label: 'b' }),
  'checkpoints.verify': async (storage) => new CheckpointManager({ storage }).verify('a'),
  'checkpoints.prune': async (storage) => new CheckpointManager({ storage }).prune('a', { keepLast: 1 }),
  'events.sessions': async (storage) =>
    all(new EventLog({ storage, checkpoints: new CheckpointManager({ storage }) }).sessions()),
  'audit.list': async (storage) => all(new AuditLog({ storage }).list()),
  'audit.head': async (storage) => new AuditLog({ storage }).head(),
};

describe('a file store that cannot tell which keys it lost', () => {
  test('says so with every page of its list, until its repair', async () => {
    const storage = await damagedStore();
    expect(await storage.list('')).toMatchObject({ suspect: true });
    expect(await storage.list('none/')).toEqual({ entries: [], suspect: true });
    await storage.repair();
    expect(await storage.list('none/')).toEqual({ entries: [] });
  });

  test.each(Object.keys(LISTS))('is no empty one to %s', async (name) => {
    const list = LISTS[name] as (typeof LISTS)[string];
    await expect(list(await damagedStore())).rejects.toMatchObject(LOST);
    await expect(list(memoryStorage()), 'an empty one').resolves.not.toThrow();
  });

  test('is none without transactions to recover', async () => {
    const { failed } = await new TransactionManager({ storage: await damagedStore() }).recover();
    expect(failed).toMatchObject([{ id: 'transactions/open/', error: LOST }]);
  });

  test('is no intact audit log', async () => {
    const { isIntact, firstBad } = await new AuditLog({ storage: await damagedStore() }).verify();
    expect(isIntact).toBe(false);
    expect(firstBad?.why).toContain('cannot tell which keys were there');
  });

  test('is not rekeyed to its end', async () => {
    expect(await encrypted(await damagedStore(), KEYRING).rekey()).toMatchObject({ rekeyed: 0, isSuspect: true });
    expect(await encrypted(memoryStorage(), KEYRING).rekey()).toMatchObject({ isSuspect: false });
  });

  test('is named by a comparison, as primary and as backup, and by a restore from it', async () => {
    const suspect = await damagedStore();
    const { name } = suspect;
    expect(await replicated([suspect, memoryStorage()]).compare()).toMatchObject({ suspect: [name] });
    expect(await replicated([memoryStorage(), suspect]).compare()).toMatchObject({ suspect: [name], unreachable: [] });
    expect(await restoreFromBackups([suspect], memoryStorage())).toMatchObject({ suspect: [name] });
  });

  test.each([
    ['prefixed', (storage: StorageAdapter) => prefixed(storage, 'room')],
    ['observed', (storage: StorageAdapter) => observed(storage, () => {})],
    ['compressed', (storage: StorageAdapter) => compressed(storage)],
    ['encrypted', (storage: StorageAdapter) => encrypted(storage, KEYRING)],
    ['replicated', (storage: StorageAdapter) => replicated([storage, memoryStorage()])],
  ])('says so through %s', async (_, wrapped) => {
    expect(await wrapped(suspectStore(memoryStorage())).list('')).toEqual({ entries: [], suspect: true });
  });
});

test('what is there is listed before it is said that keys may be missing', async () => {
  const inner = memoryStorage();
  const checkpoints = new CheckpointManager<number>({ storage: inner });
  for (const state of [1, 2]) await checkpoints.save('a', state);
  const damaged = new CheckpointManager<number>({ storage: suspectStore(inner) });
  const seen: number[] = [];
  const list = async () => {
    for await (const { sequence } of damaged.list('a')) seen.push(sequence);
  };
  await expect(list()).rejects.toMatchObject(LOST);
  expect(seen).toEqual([2, 1]);
  expect(await damaged.restore('a')).toMatchObject({ state: 2 });
});
