import { describe, expect, test } from 'vitest';
import { type StoreProcess, startStoreProcess } from '../../src/testing/contract/store-process.js';

/** Starts a process whose store is made by this text: a function of the argument. */
function start(makeStore: string): Promise<StoreProcess> {
  const source = `export default ${makeStore}`;
  return startStoreProcess({ module: `data:text/javascript,${encodeURIComponent(source)}`, argument: 'the argument' });
}

const CAPABILITIES = `{ durability: 'none', scope: 'process', atomicBatch: true, monotonicVersions: false, watch: true }`;

/** A store with these methods. */
const storeWith = (methods: string) => `async (argument) => ({
  name: 'a store of ' + argument, capabilities: ${CAPABILITIES},
  async get() {}, async put() {}, async delete() {}, async list() {}, async batch() {}, ${methods}
})`;

/** Does something with the process, and ends it. */
async function withProcess<Result>(methods: string, act: (process: StoreProcess) => Promise<Result>): Promise<Result> {
  const process = await start(storeWith(methods));
  try {
    return await act(process);
  } finally {
    await process.kill();
  }
}

describe('a store in a process of its own', () => {
  test('is made of the argument, and has the capabilities of the other one but for watch', async () => {
    const store = await withProcess('', async ({ store }) => store);
    expect(store.name).toBe('a store of the argument in another process');
    expect(store.capabilities).toMatchObject({ durability: 'none', atomicBatch: true, watch: false });
  });

  test('gets bytes and conditions as they were given, and gives back what the other one gives', async () => {
    const methods = `
      async put(key, value, options) { return JSON.stringify([key, [...value], options]); },
      async get(key) { return { key, value: new Uint8Array([0, 255, 10]), version: 'v' }; },
      async delete(key, options) { return options.ifVersion === 'v'; },
      async list(prefix, options) { return { entries: [], next: prefix + options.after }; },
      async batch(operations) { return operations.map(({ type }) => type).join(); }`;
    await withProcess(methods, async ({ store }) => {
      const signal = new AbortController().signal;
      const bytes = new Uint8Array([0, 1, 254]);
      await expect(store.put('key', bytes, { ifVersion: null, signal })).resolves.toBe(
        '["key",[0,1,254],{"ifVersion":null}]',
      );
      expect(Array.from((await store.get('key', { signal }))?.value ?? [])).toEqual([0, 255, 10]);
      await expect(store.delete('key', { ifVersion: 'v', signal })).resolves.toBe(true);
      await expect(store.list('a', { after: 'b', signal })).resolves.toEqual({ entries: [], next: 'ab' });
      await expect(store.batch?.([{ type: 'delete', key: 'key' }])).resolves.toBe('delete');
    });
  });

  test('keeps code and fields of errors of holdfast, and makes StorageErrors of others', async () => {
    const methods = `
      async put(key) { throw Object.assign(new Error('met'), { code: 'HOLDFAST_CONFLICT', key, currentVersion: 'v7' }); },
      async get() { throw Object.assign(new Error('disk on fire'), { code: 'EIO' }); },
      async delete() { throw 'no error'; }`;
    await withProcess(methods, async ({ store }) => {
      const conflict = { code: 'HOLDFAST_CONFLICT', key: 'key', currentVersion: 'v7', message: 'met' };
      await expect(store.put('key', new Uint8Array())).rejects.toMatchObject(conflict);
      const failure = { code: 'HOLDFAST_STORAGE', message: expect.stringContaining('disk on fire') };
      await expect(store.get('key')).rejects.toMatchObject(failure);
      await expect(store.delete('key')).rejects.toMatchObject({ message: expect.stringContaining('no error') });
    });
  });

  test('rejects what was not answered when it is killed, and everything after', async () => {
    const process = await start(storeWith('get: () => new Promise(() => {})'));
    const unanswered = process.store.get('key').catch((error) => error);
    await process.kill();
    expect((await unanswered).message).toContain('ended before it had answered');
    await expect(process.store.list('')).rejects.toThrow('The process has ended');
    await expect(process.end()).resolves.toBeUndefined();
  });

  test('is closed before it ends, and says so if that fails', async () => {
    const process = await start(storeWith(`async close() { throw new Error('still busy'); }`));
    await expect(process.end()).rejects.toThrow('still busy');
    await expect(process.store.get('key')).rejects.toThrow('The process has ended');
  });

  test.each([
    ['throws', `() => { throw new Error('no such database'); }`, 'no such database'],
    ['is no function', `'a store'`, 'no default export that makes a store'],
    ['does not compile', `(`, 'Unexpected end of input'],
    ['cannot open its store', storeWith(`async open() { throw new Error('wrong password'); }`), 'wrong password'],
    ['ends the process', `() => { console.error('out of luck'); process.exit(3); }`, 'out of luck'],
  ])('is refused, saying why, when its module %s', async (_, makeStore, why) => {
    const refusal = await start(makeStore).catch((error) => error);
    expect(refusal).toMatchObject({
      code: 'HOLDFAST_STORAGE',
      message: expect.stringMatching(/data:text\/javascript/),
    });
    expect(refusal.message).toContain(why);
  });

  test('is found by a path as by a URL', async () => {
    const starting = startStoreProcess({ module: 'test/testing/not-there.mjs' });
    await expect(starting).rejects.toThrow(/Cannot find module .*test.testing.not-there/);
  });
});
