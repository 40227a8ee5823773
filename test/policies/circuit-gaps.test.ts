import { randomUUID } from 'node:crypto';
import { describe, expect, test, vi } from 'vitest';
import { InvalidInputError } from '../../src/base/errors.js';
import { CircuitBreaker } from '../../src/policies/circuit-breaker.js';
import type { CircuitEvent } from '../../src/policies/circuit-event.js';
import type { CircuitSettingsOptions, RecordedCall } from '../../src/policies/circuit-options.js';
import { CircuitRegistry, type CircuitRegistryOptions } from '../../src/policies/circuit-registry.js';
import { sealRecord } from '../../src/records/envelope.js';
import { type CircuitPersistenceEvent, persistCircuits } from '../../src/recovery/persist-circuits.js';
import type { StorageAdapter } from '../../src/storage/adapter.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';
import { deferred } from '../support/deferred.js';

const working = () => 'fine';
const never = () => new Promise<never>(() => {});

/** A circuit on a clock of its own, and calls through it. */
function scene(options: CircuitSettingsOptions = {}) {
  const clock = new VirtualClock();
  const circuit = new CircuitBreaker({ name: 'db', clock, ...options });
  const fail = () => Promise.reject(new Error('down'));
  const succeed = async (times: number) => {
    for (let call = 0; call < times; call++) await circuit.run(working);
  };
  const failTimes = async (times: number) => {
    for (let call = 0; call < times; call++) await circuit.run(fail).catch(() => undefined);
  };
  /** A call that ends after `ms`. */
  const take = async (ms: number, call: () => unknown = working) => {
    const ended = circuit.run(() => clock.sleep(ms).then(call)).catch(() => undefined);
    await clock.advance(ms);
    await ended;
  };
  return { clock, circuit, succeed, failTimes, take, fail };
}

const half = { kind: 'time', windowMs: 10_000, minCalls: 5, failureRatio: 0.5 } as const;

describe('successes of a circuit that look at no durations', () => {
  test('count when they were, not when the next one was', async () => {
    const { clock, circuit, succeed, failTimes } = scene({ trip: half });
    await succeed(10);
    await clock.advance(20_000);
    await succeed(1);
    await failTimes(5);
    expect(circuit.state).toBe('open');
  });

  test('count as those of now', async () => {
    const { clock, circuit, succeed, failTimes } = scene({ trip: half });
    await clock.advance(60_000);
    await succeed(10);
    await failTimes(5);
    expect(circuit.state).toBe('closed');
  });

  test('of before a close by hand are forgotten', async () => {
    const { circuit, succeed, failTimes } = scene({ trip: { kind: 'count', size: 100, minCalls: 10 } });
    await succeed(15);
    circuit.close();
    await failTimes(10);
    expect(circuit.state).toBe('open');
  });
});

describe('slow calls', () => {
  const slow = { kind: 'count', size: 4, minCalls: 2, failureRatio: 1, slowRatio: 0.5 } as const;

  test('that fail count as slow too', async () => {
    const events: CircuitEvent[] = [];
    const { succeed, take, fail } = scene({ trip: slow, slowCallMs: 100, emit: (event) => void events.push(event) });
    await succeed(1);
    await take(200, fail);
    expect(events).toMatchObject([{ type: 'circuit.opened', reason: 'slow-ratio' }]);
  });

  test('that take exactly the time that is allowed are not slow', async () => {
    const { circuit, take } = scene({ trip: slow, slowCallMs: 100 });
    await take(100);
    await take(100);
    expect(circuit.stats()).toMatchObject({ state: 'closed', slow: 0 });
  });

  test('that still run count as soon as another one ends', async () => {
    const { circuit, take } = scene({ trip: slow, slowCallMs: 100 });
    void circuit.run(never);
    await take(150);
    expect(circuit.state).toBe('open');
  });

  test('that still run and were begun before a close by hand do not count', async () => {
    const { clock, circuit } = scene({ trip: slow, slowCallMs: 100 });
    void circuit.run(never);
    void circuit.run(never);
    await clock.advance(50);
    circuit.close();
    await clock.advance(150);
    await expect(circuit.run(working)).resolves.toBe('fine');
  });

  test('that are none open nothing when a call begins, though successes of long ago no longer count', async () => {
    const { clock, circuit, succeed, failTimes } = scene({ trip: { ...half, slowRatio: 1 }, slowCallMs: 1_000 });
    await succeed(10);
    await clock.advance(5_000);
    await failTimes(9);
    await clock.advance(5_500);
    await expect(circuit.run(working)).resolves.toBe('fine');
  });

  test('that succeed are shown to a rule of the host as what they are', async () => {
    const seen: RecordedCall[] = [];
    const create = () => ({ record: (call: RecordedCall) => seen.push(call) > 9, reset() {} });
    const { take } = scene({ trip: { kind: 'custom', create }, slowCallMs: 100 });
    await take(50);
    await take(150);
    expect(seen).toMatchObject([
      { isFailure: false, isSlow: false },
      { isFailure: false, isSlow: true },
    ]);
  });
});

describe('a circuit', () => {
  test('counts the calls that it refuses', async () => {
    const { circuit } = scene();
    circuit.isolate();
    await expect(circuit.run(working)).rejects.toMatchObject({ code: 'HOLDFAST_CIRCUIT_OPEN' });
    await expect(circuit.run(working)).rejects.toMatchObject({ code: 'HOLDFAST_CIRCUIT_OPEN' });
    expect(circuit.stats()).toMatchObject({ rejected: 2, calls: 0 });
  });

  test('is not at rest while one of its rules remembers a failure', async () => {
    const { clock, circuit, succeed, failTimes } = scene();
    await failTimes(1);
    await succeed(1);
    await clock.advance(1);
    await succeed(1); // Now the rule about failures in a row has forgotten it; the one about shares has not.
    expect(circuit.isAtRest).toBe(false);
  });

  test('is tried by a health check in the very moment its open time is over', async () => {
    const { clock, circuit } = scene();
    const check = vi.fn();
    const stop = circuit.healthCheck(check, 1_000);
    await clock.advance(0);
    circuit.open(1_000);
    await clock.advance(1_000);
    expect([check.mock.calls.length, circuit.state]).toEqual([1, 'closed']);
    stop();
  });

  test('tells a monitor nothing of calls that began before somebody looked', async () => {
    const { circuit, failTimes } = scene();
    const underWay = deferred();
    const ended = circuit.run(() => underWay.promise).catch(() => undefined);
    const heard = vi.fn();
    (circuit.monitor() as NodeJS.EventEmitter).on('failure', heard);
    underWay.reject(new Error('down'));
    await ended;
    expect(heard).not.toHaveBeenCalled();
    await failTimes(1);
    expect(heard).toHaveBeenCalledTimes(1);
    circuit.dispose();
  });
});

describe('a registry', () => {
  const tripping = { trip: { kind: 'consecutive', failures: 1 }, openMs: 1_000 } as const;
  const registryOf = (options: CircuitRegistryOptions = {}) => {
    const clock = new VirtualClock();
    return { clock, registry: new CircuitRegistry({ clock, ...options }) };
  };
  const use = async (registry: CircuitRegistry, ...names: string[]) => {
    for (const name of names) await registry.get(name).run(working);
  };
  const namesOf = (registry: CircuitRegistry) => [...registry].map(({ name }) => name);

  test('keeps 10,000 circuits, unless told otherwise', () => {
    const { registry } = registryOf();
    for (let n = 0; n < 10_001; n++) registry.get(`tenant ${n}`);
    expect(registry.size).toBe(10_000);
  });

  test('drops one that was not used lately, rather than one that was, though it stands longer', async () => {
    const { registry } = registryOf({ maxCircuits: 3 });
    await use(registry, 'a', 'b', 'c', 'd', 'b', 'e');
    expect(namesOf(registry).sort()).toEqual(['b', 'd', 'e']);
  });

  test('drops the first that is at rest of the 64 that stand longest, if all of those were used', async () => {
    const { registry } = registryOf({ maxCircuits: 70 });
    const names = Array.from({ length: 70 }, (_, n) => `tenant ${n}`);
    await use(registry, ...names);
    registry.get('tenant 0').isolate();
    registry.get('another');
    expect(names.filter((name) => registry.peek(name) === undefined)).toEqual(['tenant 1']);
  });

  test('drops none that would be missed while one behind 64 of those is at rest', () => {
    const { registry } = registryOf({ maxCircuits: 65 });
    const names = Array.from({ length: 65 }, (_, n) => `tenant ${n}`);
    for (const name of names.slice(0, 64)) registry.get(name).isolate();
    registry.get('tenant 64');
    registry.get('another');
    expect(names.filter((name) => registry.peek(name) === undefined)).toEqual(['tenant 64']);
  });

  test('tells nobody what becomes of circuits that it dropped', () => {
    const { registry } = registryOf({ maxCircuits: 1 });
    const dropped = registry.get('dropped');
    registry.get('another');
    const listener = vi.fn();
    registry.onChange(listener);
    dropped.isolate();
    expect(listener).not.toHaveBeenCalled();
  });

  test('has listeners that cannot fail a call, nor keep others from hearing', async () => {
    const warned = new Promise<Error>((resolve) => process.once('warning', resolve));
    const { registry } = registryOf();
    const listener = vi.fn();
    registry.onChange(() => {
      throw new Error('listener is broken');
    });
    registry.onChange(listener);
    expect(() => registry.get('db').isolate()).not.toThrow();
    expect(listener).toHaveBeenCalledTimes(1);
    expect((await warned).message).toContain('listener is broken');
  });

  test('gives circuits its clock, unless their options name one', async () => {
    const own = new VirtualClock();
    const { clock, registry } = registryOf({ defaults: (name) => (name === 'own' ? { clock: own } : {}) });
    registry.get('own').open(1_000);
    registry.get('other').open(1_000);
    await clock.advance(1_000);
    expect(['own', 'other'].map((name) => registry.get(name).state)).toEqual(['open', 'half-open']);
    registry.dispose();
  });

  test('snapshots a closed circuit that opened lately: it would open for longer next time', async () => {
    const { clock, registry } = registryOf({ defaults: tripping });
    const fail = () => Promise.reject(new Error('down'));
    await registry
      .get('db')
      .run(fail)
      .catch(() => undefined);
    await clock.advance(1_000);
    await use(registry, 'db', 'calm');
    expect(registry.snapshot()).toMatchObject([{ name: 'db', state: 'closed', openingsInARow: 1 }]);
    registry.dispose();
  });

  test('refuses null for defaults', () => {
    expect(() => new CircuitRegistry({ defaults: null } as never)).toThrow(
      expect.objectContaining({ path: 'options.defaults' }),
    );
  });
});

describe('circuits that are kept', () => {
  /** A registry whose circuits are kept, and what is told of it. */
  async function keeping(storage: StorageAdapter) {
    const clock = new VirtualClock();
    const events: CircuitPersistenceEvent[] = [];
    const registry = new CircuitRegistry({ clock });
    const kept = await persistCircuits(registry, storage, { clock, emit: (event) => void events.push(event) });
    return { clock, registry, events, kept };
  }

  /** A storage in which somebody wrote a whole record of this under the key of the circuit `db`. */
  async function holding(meta: unknown, body: string) {
    const storage = memoryStorage();
    const key = 'circuits/p=db';
    await storage.put(key, sealRecord({ key, id: randomUUID(), parent: null, meta }, Buffer.from(body)).bytes);
    return storage;
  }

  /** A storage that remembers the keys it was told to write, and writes when `gate` opens. */
  function recording(gate: Promise<void> = Promise.resolve()) {
    const storage = memoryStorage();
    const keys: string[] = [];
    const put: StorageAdapter['put'] = async (key, ...rest) => {
      keys.push(key);
      await gate;
      return storage.put(key, ...rest);
    };
    return { storage: { ...storage, put } as StorageAdapter, keys };
  }

  test('are written when they change, and not when others do', async () => {
    const { storage, keys } = recording();
    const { clock, registry, kept } = await keeping(storage);
    registry.get('db').isolate();
    await clock.advance(0);
    registry.get('other').isolate();
    await kept.stop();
    expect(keys).toEqual(['circuits/p=db', 'circuits/p=other']);
  });

  test('are written one after the other, so that an old state never overtakes a new one', async () => {
    const gate = deferred();
    const { storage, keys } = recording(gate.promise);
    const { clock, registry, kept } = await keeping(storage);
    registry.get('db').open();
    await clock.advance(0);
    registry.get('db').isolate();
    await clock.advance(0);
    expect(keys).toHaveLength(1);
    gate.resolve();
    await kept.stop();
    const next = await keeping(storage);
    expect([keys.length, next.registry.get('db').state]).toEqual([2, 'isolated']);
  });

  test('are closed, and nothing is said, if another process closed them since they were listed', async () => {
    const storage = memoryStorage();
    const before = await keeping(storage);
    before.registry.get('db').isolate();
    await before.kept.stop();
    const { registry, events } = await keeping({ ...storage, get: async () => undefined });
    expect([registry.get('db').state, events]).toEqual(['closed', []]);
  });

  test.each([
    [{ savedAtMs: 5 }, '{ no JSON', 'is not the state of a circuit'],
    [{ savedAtMs: 5 }, '{"state":"open"}', 'HOLDFAST|snapshots'],
    [{ savedAtMs: 'late' }, '{}', 'not one that this library writes'],
    [null, '{}', 'not one that this library writes'],
  ])('are closed if their record holds %j and %s, and why is said', async (meta, body, why) => {
    const { registry, events } = await keeping(await holding(meta, body));
    expect(registry.peek('db')).toBeUndefined();
    expect(events).toMatchObject([{ type: 'circuit.restore-failed', key: 'circuits/p=db' }]);
    expect(events).toMatchObject([{ error: expect.stringMatching(why) }]);
  });

  test.each([{ clock: null }, { emit: 5 }])('are not kept with %j among the options', async (options) => {
    const kept = persistCircuits(new CircuitRegistry(), memoryStorage(), options as never);
    await expect(kept).rejects.toThrow(InvalidInputError);
  });

  test('are not kept in what is no storage', async () => {
    await expect(persistCircuits(new CircuitRegistry(), {} as never)).rejects.toThrow(InvalidInputError);
  });
});
