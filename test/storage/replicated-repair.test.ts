import { describe, expect, test } from 'vitest';
import { sha256HexOfPieces } from '../../src/base/digest.js';
import { type StorageAdapter, StorageError } from '../../src/storage/adapter.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { copyBytes } from '../../src/storage/replicated/copy-format.js';
import { replicated } from '../../src/storage/replicated/replicated.js';
import { restoreFromBackups } from '../../src/storage/replicated/restore-from-backups.js';
import { bytes, keysOf, putAll, textAt } from '../../src/testing/contract/entries.js';
import { filesIn, overFiles } from './inner-stores.js';
import { copiesIn, copyOf, damageKey, damageLog, down, named, scene, valuesIn } from './replicated-scene.js';

const DOWN = new StorageError('down');
const NOTHING = { differing: 0, differences: [], unreachable: [], suspect: [] };

/** Makes a store answer again, with what it had. */
function revive({ faults }: { faults: Partial<StorageAdapter> }): void {
  for (const method of Object.keys(faults)) delete faults[method as keyof StorageAdapter];
}

/** A primary and a backup that differ in every way: each key is named after its own. */
async function differing() {
  const parts = scene();
  const { store, primary, backup } = parts;
  await putAll(store, ['damaged-here', 'damaged-there', 'damaged-extra', 'equal', 'extra', 'stale']);
  Object.assign(backup.faults, down(DOWN));
  await putAll(store, ['missing']);
  await store.put('stale', bytes('younger'));
  await store.delete('extra');
  await store.delete('damaged-extra');
  revive(backup);
  await backup.store.put('newer', copyOf('newer', 'from later', '9999999999999999'));
  await primary.store.put('newer', bytes('from before'));
  await backup.store.put('damaged-there', bytes('no copy at all'));
  await backup.store.put('damaged-extra', copyOf('equal', 'copied from another key'));
  await backup.store.put('place', copyBytes('place', { kind: 'place' }));
  damageKey(primary, 'damaged-here');
  return parts;
}

const inBackup = (key: string, kind: string) => ({ key, store: 'backup 1', kind });

describe('compare', () => {
  test('finds nothing where all is well', async () => {
    const { store } = scene({}, 2);
    await putAll(store, ['a', 'b', 'c']);
    expect(await store.compare()).toEqual({ ...NOTHING, keys: 3 });
  });

  test('names each difference by its kind, in key order, and changes nothing', async () => {
    const { store, primary, backup } = await differing();
    const before = await Promise.all([primary.store.list(''), backup.store.list('')]);
    expect(await store.compare()).toEqual({
      keys: 9,
      differing: 7,
      unreachable: [],
      suspect: [],
      differences: [
        inBackup('damaged-extra', 'damaged'),
        { key: 'damaged-here', store: 'primary', kind: 'damaged', recoverable: 'same' },
        inBackup('damaged-there', 'damaged'),
        inBackup('extra', 'extra'),
        inBackup('missing', 'missing'),
        inBackup('newer', 'newer'),
        inBackup('stale', 'stale'),
      ],
    });
    expect(await Promise.all([primary.store.list(''), backup.store.list('')])).toEqual(before);
  });

  test('goes on without a backup that does not answer, and says so', async () => {
    const { store, backups } = scene({}, 2);
    await store.put('key', bytes('value'));
    Object.assign(backups[0]?.faults ?? {}, down(DOWN));
    expect(await store.compare()).toEqual({ ...NOTHING, keys: 1, unreachable: ['backup 1'] });
    revive(backups[0] as (typeof backups)[0]);
    Object.assign(backups[1]?.faults ?? {}, { get: down(DOWN).get });
    expect(await store.compare()).toEqual({ ...NOTHING, keys: 1, unreachable: ['backup 2'] });
  });

  test('rejects with what the primary threw', async () => {
    const { store, primary } = scene();
    await store.put('key', bytes('value'));
    primary.faults.get = down(DOWN).get as StorageAdapter['get'];
    await expect(store.compare()).rejects.toBe(DOWN);
    Object.assign(primary.faults, down(DOWN));
    await expect(store.compare()).rejects.toBe(DOWN);
  });

  test('takes no copy of its own that is under way for a difference', async () => {
    const { store, backup } = scene({ backups: 'follow' });
    await store.put('key', bytes('one'));
    const comparison = store.compare();
    await store.put('key', bytes('two'));
    expect(await comparison).toEqual({ ...NOTHING, keys: 1 });
    expect(await copiesIn(backup.store)).toEqual({ key: 'two' });
  });

  test('counts all differences and names the first thousand', async () => {
    const { store, backup } = scene();
    Object.assign(backup.faults, down(DOWN));
    const keys = Array.from({ length: 1_003 }, (_, at) => `key-${String(at).padStart(4, '0')}`);
    await putAll(store, keys);
    revive(backup);
    const { differing, differences } = await store.compare();
    expect(differing).toBe(1_003);
    expect(differences.map(({ key }) => key)).toEqual(keys.slice(0, 1_000));
  });

  test('ends with the reason of its signal, and refuses unknown options', async () => {
    const { store } = scene();
    await store.put('key', bytes('value'));
    const reason = new Error('enough');
    await expect(store.compare({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const invalid = { code: 'HOLDFAST_INVALID_INPUT' };
    await expect(store.compare({ prefix: 'a' } as object)).rejects.toMatchObject(invalid);
    await expect(store.repair({ believe: 'me' as 'nobody' })).rejects.toMatchObject(invalid);
  });
});

describe('repair', () => {
  test('mends what is sure and leaves the rest, named', async () => {
    const { store, primary, backup, events } = await differing();
    const report = await store.repair();
    expect(report).toEqual({
      keys: 9,
      copied: 4, // damaged-here, damaged-there, missing, stale
      broughtBack: [{ key: 'damaged-here', backup: 'backup 1', isSame: true }],
      differing: 3,
      differences: [inBackup('damaged-extra', 'damaged'), inBackup('extra', 'extra'), inBackup('newer', 'newer')],
      unreachable: [],
      suspect: [],
    });
    expect(events.at(-1)).toEqual({
      type: 'primary.brought-back',
      store: 'primary',
      key: 'damaged-here',
      backup: 'backup 1',
      isSame: true,
    });
    expect(await textAt(store, 'damaged-here')).toBe('damaged-here');
    expect(await textAt(primary.store, 'newer')).toBe('from before');
    expect(await keysOf(backup.store, '')).not.toContain('place');
    expect(await store.compare()).toMatchObject({ differing: 3 });
  });

  test('believing the primary makes the backups like it', async () => {
    const { store, primary, backup } = await differing();
    expect(await store.repair({ believe: 'primary' })).toMatchObject({ copied: 7, ...NOTHING });
    expect(await copiesIn(backup.store)).toEqual(await valuesIn(primary.store));
    expect(await textAt(primary.store, 'newer')).toBe('from before');
    expect(await store.compare()).toMatchObject(NOTHING);
  });

  test('believing the backups brings back what only they have', async () => {
    const { store, primary } = await differing();
    const report = await store.repair({ believe: 'backups' });
    expect(report).toMatchObject({ differing: 1, differences: [inBackup('damaged-extra', 'damaged')] });
    expect(report.broughtBack).toEqual([
      { key: 'damaged-here', backup: 'backup 1', isSame: true },
      { key: 'extra', backup: 'backup 1', isSame: false },
      { key: 'newer', backup: 'backup 1', isSame: false },
    ]);
    expect(await textAt(primary.store, 'newer')).toBe('from later');
    expect(await textAt(primary.store, 'extra')).toBe('extra');
  });

  test('a damaged key that a backup has only an older value of stays damaged until the backups are believed', async () => {
    const { store, primary, backup } = scene();
    await store.put('key', bytes('old'));
    Object.assign(backup.faults, down(DOWN));
    await store.put('key', bytes('new'));
    revive(backup);
    damageKey(primary, 'key');
    const damaged = { key: 'key', store: 'primary', kind: 'damaged', recoverable: 'other' };
    expect(await store.repair()).toMatchObject({ broughtBack: [], differences: [damaged] });
    expect(await store.repair({ believe: 'primary' })).toMatchObject({ broughtBack: [], differences: [damaged] });
    await expect(store.get('key')).rejects.toMatchObject({ code: 'HOLDFAST_CORRUPTION' });
    const broughtBack = [{ key: 'key', backup: 'backup 1', isSame: false }];
    expect(await store.repair({ believe: 'backups' })).toMatchObject({ broughtBack, differences: [] });
    expect(await textAt(store, 'key')).toBe('old');
  });

  test('a damaged key that no backup has is left, whoever is believed', async () => {
    const { store, primary, backup } = scene();
    await store.put('key', bytes('value'));
    await backup.store.delete('key');
    damageKey(primary, 'key');
    for (const believe of ['nobody', 'primary', 'backups'] as const) {
      const { differences } = await store.repair({ believe });
      expect(differences).toEqual([{ key: 'key', store: 'primary', kind: 'damaged' }]);
    }
  });

  test('the very bytes are taken from the backup that has them, and go to the one that has not', async () => {
    const { store, primary, backups } = scene({}, 2);
    await store.put('key', bytes('old'));
    Object.assign(backups[0]?.faults ?? {}, down(DOWN));
    await store.put('key', bytes('new'));
    revive(backups[0] as (typeof backups)[0]);
    damageKey(primary, 'key');
    const { broughtBack } = await store.repair();
    expect(broughtBack).toEqual([{ key: 'key', backup: 'backup 2', isSame: true }]);
    for (const { store } of backups) expect(await copiesIn(store)).toEqual({ key: 'new' });
  });

  test('of several backups that only have a key the latest value is believed', async () => {
    const { store, primary, backups } = scene({}, 3);
    for (const [at, version] of ['3', '7', '5'].entries()) {
      await backups[at]?.store.put('key', copyOf('key', `version ${version}`, version));
    }
    expect(await store.repair({ believe: 'backups' })).toMatchObject({ broughtBack: [{ backup: 'backup 2' }] });
    expect(await textAt(primary.store, 'key')).toBe('version 7');
  });

  test('of several whose versions say nothing the first backup is believed', async () => {
    const { store, primary, backups } = scene({}, 2);
    for (const [at, { store }] of backups.entries()) {
      const copy = { kind: 'value', isOrdered: false, version: `${at}`, value: bytes(`of backup ${at + 1}`) } as const;
      await store.put('key', copyBytes('key', copy));
    }
    await store.repair({ believe: 'backups' });
    expect(await textAt(primary.store, 'key')).toBe('of backup 1');
  });

  test('a write that comes between looking and bringing back stands', async () => {
    const { store, primary, backup } = scene();
    await backup.store.put('key', copyOf('key', 'only in the backup'));
    primary.faults.put = async (key, value, options) => {
      revive(primary);
      await primary.store.put('key', bytes('written meanwhile'));
      return primary.store.put(key, value, options);
    };
    expect(await store.repair({ believe: 'backups' })).toMatchObject({ broughtBack: [], ...NOTHING });
    expect(await textAt(store, 'key')).toBe('written meanwhile');
    expect(await copiesIn(backup.store)).toEqual({ key: 'written meanwhile' });
  });

  test('what the primary refuses to take is not passed over', async () => {
    const { store, primary, backup } = scene();
    await backup.store.put('key', copyOf('key', 'only in the backup'));
    primary.faults.put = down(DOWN).put as StorageAdapter['put'];
    await expect(store.repair({ believe: 'backups' })).rejects.toBe(DOWN);
  });

  test('a backup that takes nothing is left as it is, named and counted; one that comes through is no longer counted', async () => {
    const { store, backup } = scene();
    Object.assign(backup.faults, down(DOWN));
    await putAll(store, ['a', 'b']);
    revive(backup);
    backup.faults.put = down(DOWN).put as StorageAdapter['put'];
    const missing = [inBackup('a', 'missing'), inBackup('b', 'missing')];
    expect(await store.repair()).toMatchObject({ copied: 0, differences: missing });
    expect(store.divergence()).toMatchObject([{ failed: 4 }]);
    revive(backup);
    expect(await store.repair()).toMatchObject({ copied: 2, ...NOTHING });
    expect(store.divergence()).toMatchObject([{ failed: 0 }]);
  });

  test('a copy that fails after its key was brought back is named', async () => {
    const { store, primary, backup } = scene();
    await store.put('key', bytes('value'));
    damageKey(primary, 'key');
    backup.faults.put = down(DOWN).put as StorageAdapter['put'];
    expect(await store.repair()).toMatchObject({ differences: [inBackup('key', 'stale')] });
    revive(backup);
    expect(await store.repair()).toMatchObject({ copied: 1, ...NOTHING });
  });

  test('what the primary calls suspect overrules no backup and is not copied', async () => {
    const { store, primary, backup, events } = scene();
    await store.put('key', bytes('old'));
    await backup.store.put('key', copyOf('key', 'newest', '0000000000000000'));
    primary.faults.get = async (key) =>
      ({ ...((await primary.store.get(key)) as never as object), suspect: true }) as never;
    expect(await store.repair()).toMatchObject({ copied: 0, differences: [inBackup('key', 'newer')] });
    expect(await store.repair({ believe: 'primary' })).toMatchObject({ differences: [inBackup('key', 'newer')] });
    expect(events.at(-1)).toMatchObject({ type: 'backup.copy-failed', error: expect.stringContaining('not copied') });
    await store.repair({ believe: 'backups' });
    expect(await textAt(primary.store, 'key')).toBe('newest');
  });

  test('a value under the primary’s version with other bytes is replaced', async () => {
    const { store, backup } = scene();
    const version = await store.put('key', bytes('right'));
    await backup.store.put('key', copyOf('key', 'wrong', version));
    expect(await store.repair()).toMatchObject({ copied: 1 });
    expect(await copiesIn(backup.store)).toEqual({ key: 'right' });
  });

  test('a copy of a newer program is neither overwritten nor taken for lost', async () => {
    const { store, backup } = scene();
    await store.put('key', bytes('value'));
    const header = Buffer.concat([Buffer.from('HFCOPY'), Buffer.from([2, 1, 0, 1]), Buffer.from('7')]);
    const proof = Buffer.from(sha256HexOfPieces([header, Buffer.from('key\0'), bytes('newer')]), 'hex');
    const newer = Buffer.concat([header, proof, bytes('newer')]);
    await backup.store.put('key', newer);
    expect(await store.repair()).toMatchObject({ copied: 0, unreachable: ['backup 1'] });
    expect((await backup.store.get('key'))?.value).toEqual(new Uint8Array(newer));
    await expect(restoreFromBackups([backup.store], memoryStorage())).rejects.toThrow('newer version');
  });

  test('the same bytes under the version of another primary are only given the new version', async () => {
    const { store, backup } = scene();
    await store.put('key', bytes('value'));
    await backup.store.put('key', copyOf('key', 'value', '9999999999999999'));
    expect(await store.compare()).toMatchObject({ differences: [inBackup('key', 'stale')] });
    expect(await store.repair()).toMatchObject({ copied: 1, ...NOTHING });
    expect(await store.compare()).toMatchObject(NOTHING);
  });

  test('without ordered versions another version in a backup is the older one', async () => {
    const primary = memoryStorage();
    const backup = memoryStorage();
    const capabilities = { ...primary.capabilities, monotonicVersions: false };
    const store = replicated([{ ...primary, capabilities }, backup]);
    await store.put('key', bytes('right'));
    const value = bytes('other');
    await backup.put('key', copyBytes('key', { kind: 'value', isOrdered: false, version: 'z', value }));
    expect(await store.repair()).toMatchObject({ copied: 1, ...NOTHING });
  });
});

describe('files', () => {
  test('a value with a flipped bit is refused, then put back by repair with the very bytes', async () => {
    const { open, destroy } = await overFiles((folder) => {
      folders.push(folder);
      return replicated([filesIn(folder, 'primary'), filesIn(folder, 'backup')]);
    });
    const store = (await open()) as ReturnType<typeof replicated>;
    await putAll(store, ['before', 'precious-value', 'behind']);
    damageLog(`${folders[0]}/primary`, 'precious-value');
    await expect(store.get('precious-value')).rejects.toThrow('repair() puts them back');
    const same = [{ key: 'precious-value', backup: expect.stringContaining('backup'), isSame: true }];
    expect(await store.repair()).toMatchObject({ broughtBack: same, ...NOTHING });
    expect(await textAt(store, 'precious-value')).toBe('precious-value');
    expect(await store.compare()).toEqual({ ...NOTHING, keys: 3 });
    await store.close();
    await destroy?.();
  });

  test('a log damaged where keys cannot be told is repaired by itself first, then from the backups', async () => {
    const { open, destroy } = await overFiles((folder) => {
      folders.push(folder);
      return replicated([filesIn(folder, 'primary'), filesIn(folder, 'backup')]);
    });
    const first = (await open()) as ReturnType<typeof replicated>;
    for (const key of ['a', 'lost', 'z']) await first.put(key, bytes(key)); // Each in a frame of its own.
    await first.close();
    const folder = folders.at(-1) as string;
    damageLog(`${folder}/primary`, '"k":"lost"');
    const primary = filesIn(folder, 'primary') as ReturnType<typeof import('../../src/storage/file.js').fileStorage>;
    const store = replicated([primary, filesIn(folder, 'backup')]);
    await expect(store.repair({ believe: 'backups' })).rejects.toMatchObject({ code: 'HOLDFAST_CORRUPTION' });
    await primary.repair();
    const left = [{ key: 'lost', kind: 'extra', store: expect.stringContaining('backup') }];
    expect(await store.repair()).toMatchObject({ differences: left });
    expect(await store.repair({ believe: 'backups' })).toMatchObject({ broughtBack: [{ key: 'lost' }], ...NOTHING });
    expect(await valuesIn(store)).toEqual({ a: 'a', lost: 'lost', z: 'z' });
    await store.close();
    await destroy?.();
  });
});

const folders: string[] = [];

describe('restoreFromBackups', () => {
  test('fills an empty store with the values, not with the copies', async () => {
    const { store, backup } = scene();
    await putAll(store, ['a', 'b', 'c']);
    await store.delete('b');
    await backup.store.put('place', copyBytes('place', { kind: 'place' }));
    const target = memoryStorage();
    expect(await restoreFromBackups([backup.store], target)).toMatchObject({
      restored: 2,
      alreadyThere: 0,
      conflicting: [],
      damaged: [],
      disagreed: [],
    });
    expect(await valuesIn(target)).toEqual({ a: 'a', c: 'c' });
  });

  test('can be run again after it was broken off, and overwrites nothing', async () => {
    const { store, backup } = scene();
    await putAll(store, ['a', 'b', 'c']);
    const target = memoryStorage();
    await target.put('a', bytes('a'));
    await target.put('b', bytes('somebody else'));
    expect(await restoreFromBackups([backup.store], target)).toMatchObject({
      restored: 1,
      alreadyThere: 1,
      conflicting: ['b'],
    });
    expect(await valuesIn(target)).toEqual({ a: 'a', b: 'somebody else', c: 'c' });
  });

  test('takes what is intact from any backup, the latest where they disagree, and names what is lost', async () => {
    const [one, two] = [memoryStorage(), memoryStorage()];
    await one.put('both', copyOf('both', 'old', '1'));
    await two.put('both', copyOf('both', 'new', '2'));
    await one.put('damaged-in-one', bytes('no copy'));
    await two.put('damaged-in-one', copyOf('damaged-in-one', 'intact'));
    await one.put('lost', copyOf('another key', 'moved here'));
    await two.put('only-in-two', copyOf('only-in-two', 'there'));
    const target = memoryStorage();
    expect(await restoreFromBackups([one, two], target)).toMatchObject({
      restored: 3,
      damaged: ['lost'],
      disagreed: ['both', 'damaged-in-one', 'only-in-two'],
    });
    expect(await valuesIn(target)).toEqual({ both: 'new', 'damaged-in-one': 'intact', 'only-in-two': 'there' });
  });

  test('after it and a repair the restored store is a primary like any other', async () => {
    const { store, backup } = scene();
    await putAll(store, ['a', 'b', 'c']);
    await store.put('a', bytes('newer'));
    const target = memoryStorage();
    await restoreFromBackups([backup.store], target);
    const next = replicated([target, backup.store]);
    await next.repair({ believe: 'primary' });
    expect(await next.compare()).toEqual({ ...NOTHING, keys: 3 });
    expect(await textAt(next, 'a')).toBe('newer');
  });

  test('without backups, from a store that is none, or from one that fails it rejects', async () => {
    const invalid = { code: 'HOLDFAST_INVALID_INPUT', path: 'backups' };
    await expect(restoreFromBackups([], memoryStorage())).rejects.toMatchObject(invalid);
    await expect(restoreFromBackups(memoryStorage() as never, memoryStorage())).rejects.toMatchObject(invalid);
    const plain = memoryStorage();
    await plain.put('key', bytes('no copy'));
    await expect(restoreFromBackups([plain], memoryStorage())).rejects.toThrow('no copies');
    const failing = { ...named('failing'), ...down(DOWN) };
    await expect(restoreFromBackups([failing], memoryStorage())).rejects.toBe(DOWN);
    const target = { ...named('full'), put: async () => Promise.reject(DOWN) };
    const { store, backup } = scene();
    await store.put('key', bytes('value'));
    await expect(restoreFromBackups([backup.store], target)).rejects.toBe(DOWN);
    const reason = new Error('enough');
    const { signal } = { signal: AbortSignal.abort(reason) };
    await expect(restoreFromBackups([backup.store], memoryStorage(), { signal })).rejects.toBe(reason);
  });
});
