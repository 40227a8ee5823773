import { expect, test } from 'vitest';
import { ClosedError, CorruptionError, InvalidInputError } from '../../../src/base/errors.js';
import { ConflictError, NoSpaceError, OutcomeUnknownError, StorageError } from '../../../src/storage/adapter.js';
import { fileStorage } from '../../../src/storage/file.js';
import { encodeFrame, frameStart, saltOf } from '../../../src/storage/log/frame.js';
import { ModelFileSystem } from '../../support/model-file-system.js';
import { edited, GatedFileSystem, gate, modelStore, ROOT, textOf, withBadSector } from '../../support/model-store.js';

const text = (value: string) => Buffer.from(value);

/** Fail one kind of call from now on, or for so many times. */
function fail(fs: ModelFileSystem, call: string, code: string, count = Number.POSITIVE_INFINITY): void {
  let left = count;
  fs.beforeCall = (name) => {
    if (name === call && left-- > 0) throw Object.assign(new Error(`${code}: ${call}`), { code });
  };
}

test('options are checked when the store is made, not when it is first used', () => {
  expect(() => fileStorage('')).toThrow(InvalidInputError);
  expect(() => fileStorage('/x', { durabilty: 'disk' } as never)).toThrow(/durabilty/);
  expect(() => fileStorage('/x', { compactAtBytes: 1 })).toThrow(/options\.compactAtBytes/);
});

test('compaction keeps what is in use, with its versions, and drops the rest', async () => {
  const { fs, storage, events } = modelStore(undefined, { compactAtBytes: 8_192 });
  const kept = await storage.put('kept', text('old but in use'));
  for (let round = 0; round < 40; round++) await storage.put('busy', Buffer.alloc(500, round));
  await storage.delete('busy');
  await storage.repair();
  expect(events.some(({ type }) => type === 'storage.compacted')).toBe(true);
  expect([...fs.image().values()].reduce((sum, bytes) => sum + bytes.length, 0)).toBeLessThan(16_384);
  await storage.put('kept', text('conditions made before still hold'), { ifVersion: kept });
  const again = modelStore(new ModelFileSystem(fs.image())).storage;
  expect(await textOf(again, 'kept')).toBe('conditions made before still hold');
  expect(await again.get('busy')).toBeUndefined();
});

test('a write that raced with the seal of another process is written again, once', async () => {
  const fs = new ModelFileSystem();
  const [one, two] = [modelStore(fs).storage, modelStore(fs).storage];
  await one.put('count', text('0'));
  await two.open();
  const racing = [...Array(10).keys()].map((n) => two.put(`raced/${n}`, text(`${n}`), { ifVersion: null }));
  await Promise.all([one.repair(), ...racing, two.repair(), one.put('last', text('1'), { ifVersion: null })]);
  for (const store of [one, two]) {
    expect((await store.list('raced/')).entries).toHaveLength(10);
    expect(await textOf(store, 'last')).toBe('1');
  }
});

test('after a failed fsync the group is acknowledged from a new segment, and that file is never synced again', async () => {
  const { fs, storage, events } = modelStore();
  await storage.put('before', text('1'));
  const synced: string[] = [];
  let failures = 1;
  fs.beforeCall = (call, path) => {
    if (call !== 'sync') return;
    if (failures-- > 0) throw Object.assign(new Error('EIO'), { code: 'EIO' });
    synced.push(path);
  };
  await storage.put('during', text('2'));
  await storage.put('after', text('3'));
  expect(events.find(({ type }) => type === 'storage.sync-failed')).toMatchObject({ segment: 1, reason: 'EIO' });
  expect(synced).not.toContain(`${ROOT}/log-00000001`);
  const afterCut = modelStore(new ModelFileSystem(fs.powerCut(() => 'lost'))).storage;
  expect([await textOf(afterCut, 'before'), await textOf(afterCut, 'during'), await textOf(afterCut, 'after')]).toEqual(
    ['1', '2', '3'],
  );
});

test('when not even a new segment can be made, the outcome is unknown, and the store recovers with the disk', async () => {
  const { fs, storage } = modelStore();
  await storage.put('before', text('1'));
  fail(fs, 'sync', 'EIO');
  await expect(storage.put('during', text('2'))).rejects.toThrow(OutcomeUnknownError);
  await expect(storage.put('also', text('3'))).rejects.toThrow(StorageError);
  expect(await textOf(storage, 'before')).toBe('1');
  fs.beforeCall = () => {};
  await storage.put('later', text('4'));
  expect(await textOf(modelStore(new ModelFileSystem(fs.powerCut(() => 'lost'))).storage, 'later')).toBe('4');
});

test('a full disk is NoSpaceError for writers while readers go on, and the next write after it works', async () => {
  const { fs, storage } = modelStore();
  await storage.put('before', text('1'));
  fs.roomBytes = 100;
  await expect(storage.put('large', Buffer.alloc(4_096))).rejects.toThrow(NoSpaceError);
  await expect(storage.put('none', text('2'))).rejects.toThrow(NoSpaceError);
  expect(await textOf(storage, 'before')).toBe('1');
  expect(await storage.get('large')).toBeUndefined();
  fs.roomBytes = Number.POSITIVE_INFINITY;
  await storage.put('after', text('3'));
  const again = modelStore(new ModelFileSystem(fs.image()));
  expect(await textOf(again.storage, 'after')).toBe('3');
  expect(again.events).toEqual([]);
});

test('a compaction that finds no room leaves the log as it is and says so', async () => {
  const { fs, storage, events } = modelStore(undefined, { compactAtBytes: 4_096 });
  await storage.put('busy', Buffer.alloc(3_000, 1));
  fail(fs, 'create', 'ENOSPC');
  for (let round = 0; round < 3; round++) await storage.put('busy', Buffer.alloc(3_000, round));
  await storage.get('busy');
  expect(events).toContainEqual(
    expect.objectContaining({ type: 'storage.compaction-failed', reason: 'ENOSPC: create' }),
  );
  fs.beforeCall = () => {};
  for (let round = 0; round < 4; round++) await storage.put('busy', Buffer.alloc(3_000, round));
  await storage.close();
  expect(events.at(-1)?.type).toBe('storage.compacted');
});

test('a damaged value costs its own key and no other, also after compaction, until repair drops it by name', async () => {
  const { fs, storage } = modelStore();
  await storage.batch([
    { type: 'put', key: 'bad', value: text('the value to be damaged') },
    { type: 'put', key: 'good', value: text('its neighbour in the same frame') },
  ]);
  await storage.close();
  const image = edited(fs.image(), 'log-00000001', (bytes) => {
    bytes.write('X', bytes.indexOf('the value'));
    return bytes;
  });
  const again = modelStore(new ModelFileSystem(image), { verify: 'open', compactAtBytes: 4_096 });
  await expect(again.storage.get('bad')).rejects.toThrow(CorruptionError);
  expect(await textOf(again.storage, 'good')).toBe('its neighbour in the same frame');
  expect(again.events).toContainEqual({ type: 'storage.damaged', store: ROOT, segment: 1, places: 1 });
  for (let round = 0; round < 12; round++) await again.storage.put('busy', Buffer.alloc(1_000, round));
  expect(again.events.some(({ type }) => type === 'storage.compacted')).toBe(true);
  await expect(again.storage.get('bad')).rejects.toThrow(CorruptionError);
  const report = await again.storage.repair();
  expect(report).toMatchObject({ kept: 2, dropped: ['bad'], unknownPlaces: 0 });
  expect(report.damagedFile).toMatch(/damaged-log-/);
  expect(await again.storage.get('bad')).toBeUndefined();
  expect(await textOf(again.storage, 'good')).toBe('its neighbour in the same frame');
});

test('a damaged value is given to a caller who proves it, until it is known to be damaged', async () => {
  const { fs, storage } = modelStore();
  await storage.put('bad', text('the value to be damaged'));
  await storage.close();
  const image = edited(fs.image(), 'log-00000001', (bytes) => {
    bytes.write('X', bytes.indexOf('the value'));
    return bytes;
  });
  const again = modelStore(new ModelFileSystem(image), { compactAtBytes: 4_096 });
  const given = await again.storage.get('bad', { callerProves: true });
  expect(Buffer.from(given?.value as Uint8Array).toString()).toBe('Xhe value to be damaged');
  await expect(again.storage.get('bad', { callerProves: false })).rejects.toThrow(CorruptionError);
  for (let round = 0; round < 12; round++) await again.storage.put('busy', Buffer.alloc(1_000, round));
  expect(again.events.some(({ type }) => type === 'storage.compacted')).toBe(true);
  await expect(again.storage.get('bad', { callerProves: true })).rejects.toThrow(CorruptionError);
});

test('a store that is only read syncs nothing; the first write makes sure of the name it goes to', async () => {
  const { fs, storage } = modelStore();
  await storage.put('key', text('1'));
  await storage.close();
  const calls: string[] = [];
  const reader = modelStore(fs).storage;
  fs.beforeCall = (call) => calls.push(call);
  expect(await textOf(reader, 'key')).toBe('1');
  expect(calls.filter((call) => call.startsWith('sync'))).toEqual([]);
  for (const value of ['2', '3']) await reader.put('key', text(value));
  expect(calls.filter((call) => call.startsWith('sync'))).toEqual(['syncDirectory', 'sync', 'sync']);
});

test('damage that hides its keys makes older values suspect and refuses writes and absent keys until repair', async () => {
  const { fs, storage } = modelStore();
  await storage.put('older', text('1'));
  const at = fs.image().get(`${ROOT}/log-00000001`)?.length as number;
  await storage.put('hidden', text('2'));
  await storage.put('newer', text('3'));
  await storage.close();
  const image = edited(fs.image(), 'log-00000001', (bytes) => {
    bytes.write('!', at + 30);
    return bytes;
  });
  const damaged = modelStore(new ModelFileSystem(image));
  expect(await damaged.storage.get('older')).toMatchObject({ suspect: true });
  expect(await damaged.storage.get('newer')).not.toHaveProperty('suspect');
  await expect(damaged.storage.get('hidden')).rejects.toThrow(/repair/);
  await expect(damaged.storage.put('x', text('4'))).rejects.toThrow(CorruptionError);
  await expect(damaged.storage.delete('hidden')).rejects.toThrow(CorruptionError);
  expect(damaged.events).toContainEqual({ type: 'storage.damaged', store: ROOT, segment: 1, places: 1 });
  expect(await damaged.storage.repair()).toMatchObject({ kept: 2, dropped: [], unknownPlaces: 1 });
  expect(await damaged.storage.get('older')).not.toHaveProperty('suspect');
  expect(await damaged.storage.get('hidden')).toBeUndefined();
  await damaged.storage.put('x', text('4'));
  expect([...damaged.fs.image().keys()]).toContain(`${ROOT}/damaged-log-00000001`);
});

test('damage of unknown keys is remembered when another process moves to the next segment', async () => {
  const fs = new ModelFileSystem();
  const living = modelStore(fs).storage;
  await living.put('older', text('1'));
  await living.put('hidden', text('2'));
  const at = (fs.image().get(`${ROOT}/log-00000001`) as Buffer).lastIndexOf('HFL1');
  (fs.image().get(`${ROOT}/log-00000001`) as Buffer).write('!', at + 30);
  const late = modelStore(fs);
  expect(await late.storage.get('older')).toMatchObject({ suspect: true });
  fail(fs, 'sync', 'EIO', 1);
  await expect(late.storage.put('x', text('3'))).rejects.toThrow(CorruptionError);
  fs.beforeCall = () => {};
  // The one that had read the frame in time carries its value over: nothing is lost then.
  expect(await living.repair()).toMatchObject({ kept: 2, unknownPlaces: 0 });
  expect(await textOf(late.storage, 'hidden')).toBe('2');
});

test('nothing is acknowledged into a segment whose name may still be lost', async () => {
  const fs = new GatedFileSystem();
  const [one, two] = [modelStore(fs).storage, modelStore(fs).storage];
  await one.put('first', text('1'));
  await two.open();
  const held = gate();
  fs.hold = held.opened;
  const moving = one.repair();
  while (!fs.image().has(`${ROOT}/log-00000002`)) await Promise.resolve();
  let isAcknowledged = false;
  const writing = two.put('second', text('2')).then(() => {
    isAcknowledged = true;
  });
  for (let turn = 0; turn < 1_000; turn++) await Promise.resolve();
  expect(isAcknowledged).toBe(false);
  held.open();
  await Promise.all([moving, writing]);
  expect(await textOf(modelStore(new ModelFileSystem(fs.powerCut(() => 'lost'))).storage, 'second')).toBe('2');
});

test('a log that is kept as a value in another log is never replayed, not even when its frame is damaged', async () => {
  const inner = modelStore();
  await inner.storage.put('secret', text('of another store'));
  const outer = modelStore();
  await outer.storage.put('backup', inner.fs.image().get(`${ROOT}/log-00000001`) as Buffer);
  await outer.storage.put('next', text('1'));
  await outer.storage.close();
  const at = outer.fs.image().get(`${ROOT}/log-00000001`)?.indexOf('"k":"backup"') as number;
  const image = edited(outer.fs.image(), 'log-00000001', (bytes) => {
    bytes.write('X', at);
    return bytes;
  });
  const { storage } = modelStore(new ModelFileSystem(image));
  expect((await storage.list('')).entries.map(({ key }) => key)).toEqual(['next']);
});

test.each([90, 400])('a frame cut at %i bytes that others were appended behind hides none of theirs', async (room) => {
  const { fs, storage } = modelStore();
  await storage.put('first', text('1'));
  fs.roomBytes = room;
  await expect(storage.put('cut', Buffer.alloc(2_000, 'c'))).rejects.toThrow(NoSpaceError);
  fs.roomBytes = Number.POSITIVE_INFINITY;
  for (let n = 0; n < 20; n++) await storage.put(`behind/${n}`, text('x'));
  await storage.close();
  const again = modelStore(new ModelFileSystem(fs.image()));
  expect((await again.storage.list('behind/')).entries).toHaveLength(20);
  expect(await again.storage.get('cut')).toBeUndefined();
  expect(again.events).toEqual([]);
});

test('a torn tail is reported with its length, and the older value is served', async () => {
  const { fs, storage } = modelStore();
  await storage.put('key', text('acknowledged'));
  await storage.put('key', text('begun'));
  const image = edited(fs.image(), 'log-00000001', (bytes) => bytes.subarray(0, bytes.length - 10));
  const again = modelStore(new ModelFileSystem(image));
  expect(await textOf(again.storage, 'key')).toBe('acknowledged');
  expect(again.events).toEqual([{ type: 'storage.torn', store: ROOT, segment: 1, sizeBytes: expect.any(Number) }]);
});

test('a frame under a valid hash whose head makes no sense is damage, never a crash', async () => {
  const { fs, storage } = modelStore();
  await storage.put('key', text('1'));
  await storage.close();
  const format = JSON.parse((fs.image().get(`${ROOT}/FORMAT.json`) as Buffer).toString()) as { storeId: string };
  const start = frameStart(saltOf(format.storeId));
  const heads: unknown[] = [null, 1, { i: 1 }, { i: 'x', o: 1 }, { i: 'x', o: [null] }, { i: 'x', o: [[{ k: 1 }]] }];
  heads.push(
    { i: 'x', o: [[{ k: 'a', n: -1, h: '' }]] },
    { i: 'x', o: [[{ k: 'a', n: 9, h: 'y' }]] },
    { i: 'x', d: 'far' },
  );
  heads.push(
    { i: 'x', torn: [[1]] },
    { i: 'x', segment: {} },
    { i: 'x', segment: null },
    { i: 'x', o: [[{ k: 'a', x: 1 }]] },
  );
  heads.push({ i: 'x', o: [[{ k: 'a', n: 0, h: 'y', v: 1 }]] });
  for (const head of heads) {
    const forged = Buffer.concat(encodeFrame(start, head as never).chunks);
    const image = edited(fs.image(), 'log-00000001', (bytes) => Buffer.concat([bytes, forged]));
    const again = modelStore(new ModelFileSystem(image));
    expect(await again.storage.get('key'), JSON.stringify(head)).toMatchObject({ suspect: true });
  }
});

test('conditions of a batch are decided together, in the log as before it', async () => {
  const { storage } = modelStore();
  const version = await storage.put('a', text('1'));
  await expect(
    storage.batch([
      { type: 'put', key: 'b', value: text('2') },
      { type: 'check', key: 'a', ifVersion: null },
    ]),
  ).rejects.toMatchObject({ key: 'a', currentVersion: version });
  expect(await storage.get('b')).toBeUndefined();
  // Submitted together: the second is decided by the first, in the order of the log.
  const [won, lost] = await Promise.allSettled([
    storage.batch([{ type: 'put', key: 'a', value: text('2'), ifVersion: version }]),
    storage.batch([{ type: 'delete', key: 'a', ifVersion: version }]),
  ]);
  expect(won.status).toBe('fulfilled');
  expect(lost).toMatchObject({ status: 'rejected', reason: expect.any(ConflictError) });
});

test('a write that is aborted while it waits is not written', async () => {
  const { storage } = modelStore();
  await storage.open();
  const controller = new AbortController();
  const writing = storage.put('key', text('1'), { signal: controller.signal });
  controller.abort(new Error('changed my mind'));
  await expect(writing).rejects.toThrow('changed my mind');
  expect(await storage.get('key')).toBeUndefined();
});

test('close waits for what is being written, may be called twice, and ends everything', async () => {
  const { fs, storage } = modelStore();
  const writing = storage.put('key', text('1'));
  await Promise.all([storage.close(), writing, storage.close()]);
  await expect(storage.get('key')).rejects.toThrow(ClosedError);
  await expect(storage.put('key', text('2'))).rejects.toThrow(ClosedError);
  await expect(storage.repair()).rejects.toThrow(ClosedError);
  expect(await textOf(modelStore(fs).storage, 'key')).toBe('1');
  const unused = modelStore().storage;
  await unused.close();
  await expect(unused.open()).rejects.toThrow(ClosedError);
});

test('a store that failed to open is tried again by the next call', async () => {
  const { fs, storage } = modelStore();
  fail(fs, 'create', 'EACCES', 1);
  await expect(storage.get('key')).rejects.toThrow(/may not read and write/);
  expect(await storage.get('key')).toBeUndefined();
});

test('a sector that cannot be read is damage of its key alone', async () => {
  const { fs, storage } = modelStore();
  await storage.put('bad', text('unreadable'));
  await storage.put('good', text('a sound value'));
  await storage.close(); // What it leaves behind spares the next opening the reading of the log.
  const again = modelStore(withBadSector(fs, 'unreadable')).storage;
  await expect(again.get('bad')).rejects.toThrow(CorruptionError);
  expect(await textOf(again, 'good')).toBe('a sound value');
  expect(await again.repair()).toMatchObject({ dropped: ['bad'] });
});

test('large values and batches larger than a reading window survive reopening', async () => {
  const { fs, storage } = modelStore();
  const keys = Array.from({ length: 4_000 }, (_, n) => `many/${String(n).padStart(100, '0')}`);
  await storage.batch(keys.map((key) => ({ type: 'put' as const, key, value: text(key) })));
  await storage.put('large', Buffer.alloc(300_000, 7));
  await storage.put('last', text('1'));
  const again = modelStore(new ModelFileSystem(fs.image())).storage;
  expect((await again.list('many/', { limit: 10_000 })).entries).toHaveLength(4_000);
  expect(await textOf(again, keys[3_999] as string)).toBe(keys[3_999]);
  expect((await again.get('large'))?.value.byteLength).toBe(300_000);
});

test('a compaction under way when the store is closed is given up, and leaves nothing behind', async () => {
  const { fs, storage, events } = modelStore(undefined, { compactAtBytes: 4_096 });
  const values = () => ['a', 'b', 'c'].map((key) => storage.put(key, Buffer.alloc(700_000, 1)));
  await Promise.all(values());
  await Promise.all(values());
  await storage.close();
  expect([...fs.image().keys()].filter((name) => name.includes('draft'))).toEqual([]);
  expect(events).toEqual([]);
  expect((await modelStore(fs).storage.list('')).entries).toHaveLength(3);
});

test('a FORMAT.json that died with its process is made again, a damaged one is named, a newer one refused', async () => {
  const { fs, storage } = modelStore();
  await storage.put('key', text('1'));
  await storage.close();
  const format = `${ROOT}/FORMAT.json`;
  const image = new Map(fs.image());
  const opened = (content: string | undefined) => {
    if (content === undefined) image.delete(format);
    else image.set(format, Buffer.from(content));
    return textOf(modelStore(new ModelFileSystem(image)).storage, 'key');
  };
  expect(await opened(undefined)).toBe('1');
  for (const bad of ['', 'null', '{}', '{"version":1,"storeId":"x","sum":"y"}'])
    await expect(opened(bad)).rejects.toThrow(/Remove it/);
  image.set(`${ROOT}/log-00000001`, Buffer.from('nothing'));
  await expect(opened(undefined)).rejects.toThrow(/none of them begins intact/);
});

test('a draft of a process that is gone is swept, one of a living process stays', async () => {
  const { fs, storage } = modelStore();
  await storage.put('key', text('1'));
  await storage.close();
  const names = [
    `${ROOT}/draft-${process.pid}-000000000000-a`,
    `${ROOT}/draft-99-000000000000-b`,
    `${ROOT}/draft-98-000000000000-c`,
  ];
  const again = new ModelFileSystem(
    new Map([...fs.image(), ...names.map((name) => [name, Buffer.from('x')] as const)]),
  );
  again.isRunning = (pid?: number) => pid === 98;
  await modelStore(again).storage.open();
  expect([...again.image().keys()].filter((name) => name.includes('draft'))).toEqual([names[2]]);
});

test('a read is repeated on the next segment when the log moves on while it was waiting', async () => {
  const fs = new ModelFileSystem();
  const [one, two] = [modelStore(fs).storage, modelStore(fs).storage];
  await one.put('key', text('1'));
  await two.open();
  const moving = one.repair().then(() => one.repair());
  const reading = Array.from({ length: 200 }, async (_, turn) => {
    for (let at = 0; at < turn; at++) await Promise.resolve();
    return Promise.all([textOf(one, 'key'), textOf(two, 'key')]);
  });
  expect(new Set((await Promise.all(reading)).flat())).toEqual(new Set(['1']));
  await moving;
});

test('an index file left by a clean close spares reading the log, heals damaged heads, and shows a log that was cut', async () => {
  const { fs, storage } = modelStore();
  for (let n = 0; n < 50; n++) await storage.put(`key/${n}`, text(`value ${n}`));
  await storage.close();
  const log = `${ROOT}/log-00000001`;
  const image = fs.image();
  const headless = new Map(image).set(log, Buffer.from(image.get(log) as Buffer));
  (headless.get(log) as Buffer).write('!!', 400);
  const healed = modelStore(new ModelFileSystem(headless));
  expect(await textOf(healed.storage, 'key/49')).toBe('value 49');
  expect(healed.events).toEqual([]);
  const end = (image.get(log) as Buffer).lastIndexOf('HFL1');
  const cut = modelStore(new ModelFileSystem(new Map(image).set(log, (image.get(log) as Buffer).subarray(0, end))));
  await expect(cut.storage.put('x', text('1'))).rejects.toThrow(CorruptionError);
  expect(cut.events).toContainEqual({ type: 'storage.damaged', store: ROOT, segment: 1, places: 1 });
});

test('an index file that is damaged, of another segment or cut is passed over', async () => {
  const { fs, storage } = modelStore();
  await storage.put('key', text('1'));
  await storage.close();
  const [name] = [...fs.image().keys()].filter((file) => file.includes('/index-')) as [string];
  const good = fs.image().get(name) as Buffer;
  const other = Buffer.from(good.toString().replace('"segment":1', '"segment":2'));
  const sum = process.getBuiltinModule('node:crypto').createHash('sha256').update(other.subarray(0, -64)).digest('hex');
  other.write(sum, other.length - 64);
  for (const bytes of [Buffer.alloc(0), good.subarray(1), good.subarray(0, 80), Buffer.alloc(200), other]) {
    const again = modelStore(new ModelFileSystem(new Map(fs.image()).set(name, bytes)));
    expect(await textOf(again.storage, 'key')).toBe('1');
    await again.storage.put('key', text('2'));
    await again.storage.close();
    expect([...again.fs.image().keys()].filter((file) => file.includes('/index-'))).toHaveLength(1);
  }
});

test('after a clean close zeros in the last write are damage, not a torn tail', async () => {
  const { fs, storage } = modelStore();
  await storage.put('key', text('old'));
  await storage.put('key', text('n'.repeat(100)));
  await storage.close();
  const image = edited(fs.image(), 'log-00000001', (bytes) =>
    bytes.fill(0, bytes.indexOf('nnnn'), bytes.indexOf('nnnn') + 40),
  );
  await expect(modelStore(new ModelFileSystem(image)).storage.get('key')).rejects.toThrow(CorruptionError);
});

test('nothing is acknowledged into a log whose files were removed', async () => {
  const { fs, storage } = modelStore();
  await storage.put('key', text('1'));
  for (const name of fs.image().keys()) await fs.remove(name);
  await expect(storage.put('key', text('2'))).rejects.toThrow(/was removed while it was open/);
});

test('a batch with more values than one system write takes is one frame that nobody can come between', async () => {
  const { fs, storage } = modelStore();
  const other = modelStore(fs).storage;
  const many = Array.from({ length: 3_000 }, (_, n) => ({
    type: 'put' as const,
    key: `many/${n}`,
    value: text(`${n}`),
  }));
  let pieces = 0;
  const openLog = fs.openLog.bind(fs);
  fs.openLog = async (path) => {
    const file = await openLog(path);
    const append = (chunks: readonly Uint8Array[]) => {
      pieces = Math.max(pieces, chunks.length);
      return file.append(chunks);
    };
    return { ...file, append };
  };
  await Promise.all([
    storage.batch(many),
    other.put('x', text('1')),
    ...many.slice(0, 900).map(({ value }, n) => other.put(`o/${n}`, value)),
  ]);
  expect(pieces).toBeLessThan(1_024);
  expect((await other.list('many/', { limit: 10_000 })).entries).toHaveLength(3_000);
});

test('a batch too large for one frame is refused before anything is written', async () => {
  const { storage } = modelStore();
  const key = (n: number) => `${'k'.repeat(490)}/${n}`;
  const many = Array.from({ length: 100_000 }, (_, n) => ({ type: 'put' as const, key: key(n), value: text('1') }));
  await expect(storage.batch(many)).rejects.toMatchObject({ code: 'HOLDFAST_LIMIT', limit: 'batchOperations' });
  expect((await storage.list('')).entries).toEqual([]);
});

test('a read that comes while an append is under way waits for it, and counts neither its frames nor others twice', async () => {
  const fs = new ModelFileSystem();
  const [one, two] = [modelStore(fs).storage, modelStore(fs).storage];
  await Promise.all([one.put('one', text('0')), two.put('two', text('0'))]);
  const openLog = fs.openLog.bind(fs);
  const reading: Promise<string | undefined>[] = [];
  fs.openLog = async (path) => {
    const file = await openLog(path);
    const append = async (chunks: readonly Uint8Array[]) => {
      const written = await file.append(chunks);
      reading.push(textOf(reader, 'one')); // The frame is in the file ...
      await two.put('two', text('1')); // ... and another of the same length follows before the append is reported.
      return written;
    };
    return { ...file, append };
  };
  const reader = modelStore(fs).storage;
  const version = await reader.put('one', text('1'), { ifVersion: (await one.get('one'))?.version as string });
  expect(await Promise.all(reading)).toEqual(['1']);
  expect([await textOf(reader, 'one'), await textOf(reader, 'two')]).toEqual(['1', '1']);
  expect((await one.get('one'))?.version).toBe(version);
});

test('a read that comes while an append is under way reads no frame back from the file', async () => {
  const { fs, storage } = modelStore();
  const openLog = fs.openLog.bind(fs);
  const appended = gate();
  let reads = 0;
  fs.openLog = async (path) => {
    const file = await openLog(path);
    const append = async (chunks: readonly Uint8Array[]) => {
      const written = await file.append(chunks);
      await appended.opened;
      return written;
    };
    const read = (position: number, length: number) => {
      reads++;
      return file.read(position, length);
    };
    return { ...file, append, read };
  };
  await storage.open();
  const readsOfOpening = reads;
  const writing = storage.put('key', text('1'));
  const listing = (async () => {
    for (let turn = 0; turn < 100; turn++) await Promise.resolve();
    return storage.list('');
  })();
  for (let turn = 0; turn < 300; turn++) await Promise.resolve();
  appended.open();
  await writing;
  expect((await listing).entries.map(({ key }) => key)).toEqual(['key']);
  expect(reads).toBe(readsOfOpening);
});
