import { describe, expect, test } from 'vitest';
import type { StorageAdapter } from '../../src/storage/adapter.js';
import { memoryStorage } from '../../src/storage/memory.js';
import type { ChaosFaultKind, ChaosOptions } from '../../src/testing/chaos/chaos-options.js';
import { type ChaosStorage, chaosStorage } from '../../src/testing/chaos-storage.js';
import { storageContract } from '../../src/testing/storage-contract.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';

const NOTHING = { failBefore: 0, noSpace: 0, failUnknown: 0, failAfter: 0, delay: 0, duplicate: 0, tear: 0 };

/** A memory store below chaos that does one thing only, always. */
function only(fault: ChaosFaultKind, options: ChaosOptions = {}) {
  const inner = memoryStorage();
  return { inner, chaos: chaosStorage(inner, 1, { ...NOTHING, [fault]: 1, ...options }) };
}

const bytes = (text: string) => new TextEncoder().encode(text);

const put = (key: string, value = bytes('value')) => ({ type: 'put', key, value }) as const;

/** Forty calls of all kinds, one after the other; what each came to. */
async function someCalls(store: ChaosStorage): Promise<readonly string[]> {
  const outcomes: string[] = [];
  for (let at = 0; at < 10; at++) {
    const calls = [
      () => store.put(`key-${at}`, bytes('value')),
      () => store.get(`key-${at}`),
      () => store.list('key'),
      () => store.delete(`key-${at}`),
    ];
    for (const call of calls)
      outcomes.push(
        await call().then(
          () => 'done',
          (error) => error.code,
        ),
      );
  }
  return outcomes;
}

// What it does without being asked for more is what any store may do: the contract must hold for what gets through.
const LACKS = { lacks: ['watch', 'durability', 'reopen', 'processes', 'damage', 'interrupt'] } as const;
storageContract('memory below chaos that does nothing', () => chaosStorage(memoryStorage(), 1, NOTHING), LACKS);
storageContract(
  'memory below chaos that delays and doubles',
  () => chaosStorage(memoryStorage(), 1, { ...NOTHING, delay: 0.5, duplicate: 1 }),
  LACKS,
);

describe('chaos can be repeated', () => {
  test('the same seed and calls give the same faults and outcomes', async () => {
    const [one, other] = [chaosStorage(memoryStorage(), 'seed'), chaosStorage(memoryStorage(), 'seed')];
    expect(await someCalls(one)).toEqual(await someCalls(other));
    expect(one.faults).toEqual(other.faults);
    expect(one.faults.length).toBeGreaterThan(5);
  });

  test('another seed gives other faults', async () => {
    const [one, other] = [chaosStorage(memoryStorage(), 1), chaosStorage(memoryStorage(), 2)];
    await someCalls(one);
    await someCalls(other);
    expect(one.faults).not.toEqual(other.faults);
  });

  test('the order in which calls are made decides, not the order in which they end', async () => {
    const clock = new VirtualClock();
    const one = chaosStorage(memoryStorage(), 3, { ...NOTHING, delay: 0.5, clock });
    const other = chaosStorage(memoryStorage(), 3, { ...NOTHING, delay: 0.5 });
    const calls = (store: StorageAdapter) =>
      Promise.all(Array.from({ length: 20 }, (_, at) => store.put(`key-${at}`, bytes('v'))));
    const slow = calls(one);
    await clock.advance(100);
    await Promise.all([slow, calls(other)]);
    expect(one.faults).toEqual(other.faults);
  });

  test('calls made in the calm do not change what the next storm does', async () => {
    const [one, other] = [chaosStorage(memoryStorage(), 5), chaosStorage(memoryStorage(), 5)];
    one.calm();
    await someCalls(one);
    one.storm();
    expect(await someCalls(one)).toEqual(await someCalls(other));
  });
});

describe('calm and storm', () => {
  test('nothing goes wrong in the calm, and the log stays as it is', async () => {
    const { chaos } = only('failBefore');
    chaos.calm();
    expect(new Set(await someCalls(chaos))).toEqual(new Set(['done']));
    expect(chaos.faults).toEqual([]);
  });

  test('a storm begins again where it is asked to', async () => {
    const { chaos } = only('failBefore');
    chaos.calm();
    chaos.storm();
    await expect(chaos.get('key')).rejects.toMatchObject({ code: 'HOLDFAST_STORAGE' });
  });
});

describe('each fault', () => {
  test('failBefore rejects any call with StorageError and writes nothing', async () => {
    const { inner, chaos } = only('failBefore');
    const calls = [
      chaos.get('a'),
      chaos.put('b', bytes('1')),
      chaos.delete('c'),
      chaos.list('d'),
      chaos.batch?.([put('e')]),
    ];
    const codes = (await Promise.allSettled(calls)).map((call) => call.status === 'rejected' && call.reason.code);
    expect(new Set(codes)).toEqual(new Set(['HOLDFAST_STORAGE']));
    expect(await inner.list('')).toEqual({ entries: [] });
    expect(chaos.faults).toEqual([
      { operation: 'get', key: 'a', fault: 'failBefore' },
      { operation: 'put', key: 'b', fault: 'failBefore' },
      { operation: 'delete', key: 'c', fault: 'failBefore' },
      { operation: 'list', key: 'd', fault: 'failBefore' },
      { operation: 'batch', key: 'e', fault: 'failBefore' },
    ]);
  });

  test('noSpace rejects a put with NoSpaceError and writes nothing, and lets a delete make room', async () => {
    const { inner, chaos } = only('noSpace');
    await inner.put('old', bytes('old'));
    await expect(chaos.put('new', bytes('new'))).rejects.toMatchObject({ code: 'HOLDFAST_NO_SPACE', store: 'memory' });
    await expect(chaos.batch?.([put('new')])).rejects.toMatchObject({ code: 'HOLDFAST_NO_SPACE' });
    expect(await chaos.delete('old')).toBe(true);
    expect(await inner.list('')).toEqual({ entries: [] });
  });

  test('failUnknown rejects a write with OutcomeUnknownError and writes nothing', async () => {
    const { inner, chaos } = only('failUnknown');
    await expect(chaos.put('key', bytes('1'))).rejects.toMatchObject({ code: 'HOLDFAST_OUTCOME_UNKNOWN', key: 'key' });
    expect(await inner.get('key')).toBeUndefined();
  });

  test('failAfter rejects a write with OutcomeUnknownError although it happened', async () => {
    const { inner, chaos } = only('failAfter');
    await expect(chaos.put('key', bytes('1'))).rejects.toMatchObject({ code: 'HOLDFAST_OUTCOME_UNKNOWN', key: 'key' });
    expect((await inner.get('key'))?.value).toEqual(bytes('1'));
    await expect(chaos.delete('key')).rejects.toMatchObject({ code: 'HOLDFAST_OUTCOME_UNKNOWN' });
    expect(await inner.get('key')).toBeUndefined();
  });

  test('failAfter loses a conflict too, and keeps it as the cause', async () => {
    const { inner, chaos } = only('failAfter');
    await inner.put('key', bytes('1'));
    const refused = chaos.put('key', bytes('2'), { ifVersion: null });
    await expect(refused).rejects.toMatchObject({
      code: 'HOLDFAST_OUTCOME_UNKNOWN',
      cause: { code: 'HOLDFAST_CONFLICT' },
    });
  });

  test('reads know no unknown outcome', async () => {
    const { chaos } = only('failAfter', { failUnknown: 1, noSpace: 1 });
    expect(await chaos.get('key')).toBeUndefined();
    expect(await chaos.list('')).toEqual({ entries: [] });
    expect(chaos.faults).toEqual([]);
  });

  test('delay takes time of the given clock, and no more than maxDelayMs', async () => {
    const clock = new VirtualClock();
    const { chaos } = only('delay', { clock, maxDelayMs: 50 });
    const put = chaos.put('key', bytes('1')).then(() => clock.monotonicMs());
    await clock.advance(50);
    expect(await put).toBeGreaterThan(0);
  });

  test('delay lets later calls overtake earlier ones', async () => {
    const clock = new VirtualClock();
    const { inner, chaos } = only('delay', { clock });
    const puts = Array.from({ length: 20 }, (_, at) => chaos.put('key', bytes(String(at))));
    await clock.advance(100);
    await Promise.all(puts);
    expect((await inner.get('key'))?.value).not.toEqual(bytes('19'));
  });

  test('a delayed put takes its bytes at once', async () => {
    const { inner, chaos } = only('delay');
    const buffers = Array.from({ length: 20 }, () => bytes('before'));
    const puts = buffers.map((buffer, at) => chaos.put(`key-${at}`, buffer));
    for (const buffer of buffers) buffer.fill(0);
    await Promise.all(puts);
    const values = await Promise.all(buffers.map(async (_, at) => (await inner.get(`key-${at}`))?.value));
    expect(values).toEqual(buffers.map(() => bytes('before')));
  });

  test('an abort during a delay ends the call or lets it finish; it never does both', async () => {
    const clock = new VirtualClock();
    const { inner, chaos } = only('delay', { clock });
    const controller = new AbortController();
    const keys = Array.from({ length: 20 }, (_, at) => `key-${10 + at}`);
    const puts = Promise.allSettled(keys.map((key) => chaos.put(key, bytes('1'), { signal: controller.signal })));
    await clock.advance(0);
    controller.abort('enough');
    await clock.advance(100);
    const entries = await Promise.all(keys.map((key) => inner.get(key)));
    const outcomes = (await puts).map(({ status }) => status === 'fulfilled');
    expect(outcomes).toEqual(entries.map((entry) => entry !== undefined));
    expect(new Set(outcomes)).toEqual(new Set([true, false]));
    expect(clock.pending).toBe(0);
  });
});

describe('duplicate', () => {
  /** A store that counts the writes it was sent. */
  function counting() {
    const inner = memoryStorage();
    const sent: string[] = [];
    const counted: StorageAdapter = {
      ...inner,
      put: async (...call) => {
        sent.push('put');
        return inner.put(...call);
      },
      delete: async (...call) => {
        sent.push('delete');
        return inner.delete(...call);
      },
      batch: async (operations) => {
        sent.push('batch');
        return inner.batch?.(operations) ?? '';
      },
    };
    return { inner, sent, chaos: chaosStorage(counted, 1, { ...NOTHING, duplicate: 1 }) };
  }

  test('sends a write under a version twice; it happens once and is answered by the first', async () => {
    const { inner, sent, chaos } = counting();
    const first = await inner.put('key', bytes('1'));
    const second = await chaos.put('key', bytes('2'), { ifVersion: first });
    expect((await inner.get('key'))?.version).toBe(second);
    expect(await chaos.delete('key', { ifVersion: second })).toBe(true);
    expect(sent).toEqual(['put', 'put', 'delete', 'delete']);
  });

  test('sends a batch twice that changes a key under its version', async () => {
    const { inner, sent, chaos } = counting();
    const version = await inner.put('key', bytes('1'));
    const written = await chaos.batch?.([{ ...put('key'), ifVersion: version }, put('other')]);
    expect((await inner.get('other'))?.version).toBe(written);
    expect(sent).toEqual(['batch', 'batch']);
  });

  test('sends once what a second time could undo what another did in between', async () => {
    const { inner, sent, chaos } = counting();
    const lease = await inner.put('lease', bytes('mine'));
    await chaos.put('always', bytes('1'));
    await chaos.put('created', bytes('1'), { ifVersion: null });
    await chaos.delete('always');
    await chaos.batch?.([
      { type: 'check', key: 'lease', ifVersion: lease },
      put('checked'),
      { ...put('new'), ifVersion: null },
    ]);
    expect(sent).toEqual(['put', 'put', 'delete', 'batch']);
    expect(chaos.faults).toEqual([]);
  });

  test('reports a store that does the same conditional write twice', async () => {
    const careless = { ...memoryStorage(), put: async () => 'same-version' };
    const chaos = chaosStorage(careless, 1, { ...NOTHING, duplicate: 1 });
    await expect(chaos.put('key', bytes('1'), { ifVersion: 'v' })).rejects.toThrow('twice under one ifVersion');
  });
});

describe('tear', () => {
  test('stores other bytes than it was given, shorter or with one bit flipped, and acknowledges them', async () => {
    const { inner, chaos } = only('tear');
    const keys = Array.from({ length: 30 }, (_, at) => `key-${at}`);
    for (const key of keys) await chaos.put(key, bytes('0123456789'));
    const entries = await Promise.all(keys.map((key) => inner.get(key)));
    const lengths = new Set(entries.map((entry) => entry?.value.length));
    expect(entries.filter((entry) => Buffer.compare(entry?.value ?? bytes(''), bytes('0123456789')) === 0)).toEqual([]);
    expect(lengths).toContain(10);
    expect(lengths.size).toBeGreaterThan(3);
  });

  test('leaves the caller’s own bytes alone', async () => {
    const { chaos } = only('tear');
    const value = bytes('0123456789');
    for (let at = 0; at < 10; at++) await chaos.put('key', value);
    expect(value).toEqual(bytes('0123456789'));
  });

  test('damages one value of a batch', async () => {
    const { inner, chaos } = only('tear');
    await chaos.batch?.([put('a'), put('b'), { type: 'delete', key: 'c' }]);
    const values = await Promise.all(['a', 'b'].map(async (key) => (await inner.get(key))?.value));
    expect(values.filter((value) => Buffer.compare(value ?? bytes(''), bytes('value')) !== 0)).toHaveLength(1);
  });

  test('finds nothing to damage in an empty value or a delete', async () => {
    const { chaos } = only('tear');
    await chaos.put('key', new Uint8Array());
    await chaos.delete('key');
    expect(chaos.faults).toEqual([]);
  });

  test('does not happen unless asked for', async () => {
    const chaos = chaosStorage(memoryStorage(), 1);
    for (let at = 0; at < 500; at++) await chaos.put('key', bytes('value')).catch(() => undefined);
    expect(chaos.faults.filter(({ fault }) => fault === 'tear')).toEqual([]);
  });
});

describe('how it is made', () => {
  test('refuses an unknown option and a probability that is none', () => {
    const invalid = expect.objectContaining({ code: 'HOLDFAST_INVALID_INPUT' });
    expect(() => chaosStorage(memoryStorage(), 1, { failbefore: 1 } as ChaosOptions)).toThrow(invalid);
    expect(() => chaosStorage(memoryStorage(), 1, { delay: 1.5 })).toThrow(invalid);
    expect(() => chaosStorage(memoryStorage(), 1, { clock: {} as VirtualClock })).toThrow(invalid);
  });

  test('bad input is refused without a throw of the dice', async () => {
    const { chaos } = only('failBefore');
    await expect(chaos.get('no key!')).rejects.toMatchObject({ code: 'HOLDFAST_INVALID_INPUT' });
    expect(chaos.faults).toEqual([]);
  });

  test('has the capabilities of the store below, and batch only if that has it', () => {
    const { batch, ...inner } = memoryStorage();
    expect(chaosStorage(memoryStorage(), 1).batch).toBeDefined();
    expect(chaosStorage(inner, 1).batch).toBeUndefined();
    expect(chaosStorage(inner, 1).capabilities).toEqual(inner.capabilities);
  });

  test('watches and opens through the store below in any weather', async () => {
    const calls: string[] = [];
    const inner: StorageAdapter = {
      ...memoryStorage(),
      open: async () => void calls.push('open'),
      watch: async (prefix) => {
        calls.push(`watch ${prefix}`);
        return async () => undefined;
      },
    };
    const chaos = chaosStorage(inner, 1, { failBefore: 1 });
    await chaos.open?.();
    await chaos.watch?.('runs/', () => undefined);
    expect(calls).toEqual(['open', 'watch runs/']);
  });
});

test('code that retries under one ifVersion counts right in any storm', async () => {
  const chaos = chaosStorage(memoryStorage(), 'counter', { failAfter: 0.2, failUnknown: 0.2 });
  await countTo(chaos, 60);
  chaos.calm();
  expect((await chaos.get('counter'))?.value).toEqual(bytes('60'));
  expect(new Set(chaos.faults.map(({ fault }) => fault)).size).toBeGreaterThan(4);
});

/** The only writer of a counter: raises it one by one, reading again whenever it does not know where it stands. */
async function countTo(store: StorageAdapter, target: number): Promise<void> {
  for (let count = 0; count < target; ) {
    const entry = await store.get('counter').catch(() => 'failed' as const);
    if (entry === 'failed') continue;
    count = Number(new TextDecoder().decode(entry?.value ?? bytes('0')));
    const next = bytes(String(Math.min(count + 1, target)));
    await store.put('counter', next, { ifVersion: entry?.version ?? null }).catch(() => undefined);
  }
}
