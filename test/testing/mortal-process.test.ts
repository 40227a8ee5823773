import { describe, expect, test } from 'vitest';
import { ConflictError } from '../../src/storage/adapter.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { WorldLedger } from '../../src/testing/crash/crash-world.js';
import { MortalProcess } from '../../src/testing/crash/mortal-process.js';
import { mortalStorage } from '../../src/testing/crash/mortal-storage.js';
import { ProcessClock } from '../../src/testing/crash/process-clock.js';
import type { StepContext } from '../../src/transactions/transaction.js';

const born = (diesAt?: number) => new MortalProcess({ number: 1, startMs: 0, diesAt, patienceMs: 1_000 });

const value = Buffer.from('a');

const step = (key: string): StepContext => {
  const { signal } = new AbortController();
  return { transaction: 'one', step: 'flight', key, fence: 1, attempt: 1, operationId: key, signal };
};

describe('a process that dies', () => {
  test('before a write has not written, and is not answered', async () => {
    const [store, process] = [memoryStorage(), born(1)];
    const storage = mortalStorage(store, process);
    expect(await process.lives(() => storage.put('a', value))).toBeUndefined();
    expect([process.isDead, process.lastMoment]).toEqual([true, 'before put of a']);
    expect(await store.get('a')).toBeUndefined();
  });

  test('after a write has written, and is not answered', async () => {
    const [store, process] = [memoryStorage(), born(2)];
    const storage = mortalStorage(store, process);
    expect(await process.lives(() => storage.put('a', value))).toBeUndefined();
    expect(process.lastMoment).toBe('after put of a');
    expect(await store.get('a')).toBeDefined();
  });

  test('reaches the store no more, by any method', async () => {
    const [store, process] = [memoryStorage(), born()];
    const storage = mortalStorage(store, process);
    await store.put('kept', value);
    process.die();
    const answers = await Promise.all([
      process.lives(() => storage.put('a', value)),
      process.lives(() => storage.delete('kept')),
      process.lives(() => storage.get('kept')),
      process.lives(() => storage.list('')),
      process.lives(async () => storage.batch?.([{ type: 'put', key: 'b', value }])),
    ]);
    expect(answers).toEqual([undefined, undefined, undefined, undefined, undefined]);
    expect((await store.list('')).entries.map(({ key }) => key)).toEqual(['kept']);
  });

  test('does not hear the answer to what was under way', async () => {
    const process = born(1);
    let answer = (_: string) => {};
    const asked = process.ask(() => new Promise<string>((resolve) => (answer = resolve)));
    let heard: unknown = 'nothing';
    void asked.then((text) => (heard = text));
    const dying = process.lives(() => process.change('world', () => {}));
    answer('too late');
    await dying;
    expect([process.isDead, heard]).toEqual([true, 'nothing']);
  });

  test('does nothing more to the world, and sleeps for ever', async () => {
    const [ledger, process] = [new WorldLedger(), born()];
    const world = ledger.seenBy(process);
    process.die();
    expect(await process.lives(() => world.act(step('a')))).toBeUndefined();
    expect(await process.lives(() => process.clock.sleep(1))).toBeUndefined();
    expect([...ledger.calls, ...ledger.events]).toEqual([]);
  });
});

describe('a process that lives', () => {
  test('hears what the store refuses, and has no moment after it', async () => {
    const [store, process] = [memoryStorage(), born()];
    const storage = mortalStorage(store, process);
    await store.put('a', value);
    const answer = await process.lives(() => storage.put('a', value, { ifVersion: null }));
    expect(answer).toMatchObject({ status: 'rejected', reason: expect.any(ConflictError) });
    expect(process.moments).toBe(1);
  });

  test('may use the buffer of a write again at once', async () => {
    const [store, process] = [memoryStorage(), born()];
    const storage = mortalStorage(store, process);
    const [one, two] = [Buffer.from('a'), Buffer.from('b')];
    await process.lives(async () => {
      const writes = [storage.put('one', one), storage.batch?.([{ type: 'put', key: 'two', value: two }])];
      one.fill('x');
      two.fill('x');
      await Promise.all(writes);
    });
    const stored = await Promise.all(['one', 'two'].map(async (key) => (await store.get(key))?.value));
    expect(stored.map((bytes) => Buffer.from(bytes ?? []).toString())).toEqual(['a', 'b']);
  });

  test('that throws at once has failed', async () => {
    const failure = () => {
      throw new Error('at once');
    };
    expect(await born().lives(failure)).toMatchObject({ status: 'rejected', reason: new Error('at once') });
  });

  test('does what goes on behind its answer before it is left alone', async () => {
    const [store, process] = [memoryStorage(), born()];
    const storage = mortalStorage(store, process);
    await process.lives(async () => {
      void storage.put('first', value).then(() => storage.get('first'));
      await process.clock.sleep(2);
    });
    expect(await store.get('first')).toBeDefined();
  });
});

describe('its clock', () => {
  test('wakes sleepers in the order of their time, then of their coming, and tells when nobody is left', async () => {
    const clock = new ProcessClock(100);
    const woken: string[] = [];
    const sleep = (name: string, ms: number) => clock.sleep(ms).then(() => woken.push(`${name} ${clock.now()}`));
    const all = [sleep('late', 9), sleep('first', 5), sleep('second', 5), sleep('none', 0)];
    expect([clock.wakeNext(), clock.wakeNext(), clock.wakeNext(), clock.wakeNext()]).toEqual([true, true, true, false]);
    await Promise.all(all);
    expect(woken.map((line) => line.split(' ')[0])).toEqual(['none', 'first', 'second', 'late']);
    expect([clock.now(), clock.monotonicMs()]).toEqual([109, 109]);
  });

  test('rejects a sleeper whose signal aborts, before it sleeps and while it does', async () => {
    const clock = new ProcessClock(0);
    const controller = new AbortController();
    const sleeping = clock.sleep(5, { signal: controller.signal });
    controller.abort(new Error('enough'));
    await expect(sleeping).rejects.toThrow('enough');
    await expect(clock.sleep(5, { signal: controller.signal })).rejects.toThrow('enough');
    expect(clock.wakeNext()).toBe(false);
  });

  test('that is stopped wakes nobody, and no abort reaches a sleeper', async () => {
    const clock = new ProcessClock(0);
    const controller = new AbortController();
    let ended = 0;
    const end = () => ended++;
    clock.sleep(5, { signal: controller.signal }).then(end, end);
    clock.stop();
    clock.sleep(0).then(end, end);
    controller.abort();
    expect(clock.wakeNext()).toBe(false);
    await new Promise((resolve) => setImmediate(resolve));
    expect(ended).toBe(0);
  });
});
