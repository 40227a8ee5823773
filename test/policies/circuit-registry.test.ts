import { describe, expect, test, vi } from 'vitest';
import { CircuitBreaker } from '../../src/policies/circuit-breaker.js';
import type { CircuitEvent } from '../../src/policies/circuit-event.js';
import { CircuitRegistry, type CircuitRegistryOptions } from '../../src/policies/circuit-registry.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';

const failing = () => Promise.reject(new Error('down'));
const working = () => 'fine';

function fixture(options: CircuitRegistryOptions = {}) {
  const clock = new VirtualClock();
  const events: CircuitEvent[] = [];
  const defaults = { trip: { kind: 'consecutive', failures: 1 }, openMs: 1_000 } as const;
  const registry = new CircuitRegistry({ clock, defaults, emit: (event) => events.push(event), ...options });
  const fail = (name: string) =>
    registry
      .get(name)
      .run(failing)
      .catch(() => undefined);
  return { clock, events, registry, fail, names: () => [...registry].map(({ name }) => name) };
}

describe('a registry', () => {
  test('makes a circuit when it is first asked for, and gives the same one then', () => {
    const { registry } = fixture();
    expect(registry.peek('a')).toBeUndefined();
    const circuit = registry.get('a');
    expect(circuit).toBeInstanceOf(CircuitBreaker);
    expect(circuit.name).toBe('a');
    expect(registry.get('a')).toBe(circuit);
    expect(registry.peek('a')).toBe(circuit);
    expect(registry.size).toBe(1);
  });

  test('works without options', async () => {
    const registry = new CircuitRegistry();
    await expect(registry.get('a').run(working)).resolves.toBe('fine');
  });

  test('keeps names apart, awkward ones too', async () => {
    const { registry, fail } = fixture();
    await fail('__proto__');
    expect(registry.get('__proto__').state).toBe('open');
    expect(registry.get('constructor').state).toBe('closed');
    registry.dispose();
  });

  test('makes circuits by name if defaults is a function', async () => {
    const { registry, fail } = fixture({
      defaults: (name) => ({ trip: { kind: 'consecutive', failures: name === 'frail' ? 1 : 2 } }),
    });
    await fail('frail');
    await fail('tough');
    expect(registry.stats().map(({ name, state }) => [name, state])).toEqual([
      ['frail', 'open'],
      ['tough', 'closed'],
    ]);
    registry.dispose();
  });

  test.each([
    [{ maxCircuits: 0 }, 'options.maxCircuits'],
    [{ defaults: 5 }, 'options.defaults'],
    [{ defaults: { name: 'x', tripp: 5 } }, 'options.tripp'],
    [{ defaults: { openMs: -5 } }, 'options.openMs'],
    [{ random: 5 }, 'options.random'],
  ])('refuses %j, naming %s', (options, path) => {
    const make = () => new CircuitRegistry(options as never);
    expect(make).toThrow(expect.objectContaining({ code: 'HOLDFAST_INVALID_INPUT', path }));
  });

  test('hands its clock and random to circuits whose defaults name none', () => {
    const random = vi.fn(() => 0);
    const clock = new VirtualClock();
    const registry = new CircuitRegistry({ clock, random });
    registry.get('a').open();
    expect(random).toHaveBeenCalledOnce();
    expect(clock.pending).toBe(1);
    registry.dispose();
    expect(clock.pending).toBe(0);
  });

  test('reports to its own sink and to that of the defaults', async () => {
    const own = vi.fn();
    const { registry, events } = fixture({ defaults: { emit: own } });
    registry.get('a').isolate();
    expect(own.mock.calls).toEqual([[{ type: 'circuit.isolated', circuit: 'a' }]]);
    expect(events).toEqual([{ type: 'circuit.isolated', circuit: 'a' }]);
  });

  test('reports to the sink of the defaults alone if it has none', () => {
    const own = vi.fn();
    new CircuitRegistry({ defaults: { emit: own } }).get('a').isolate();
    expect(own).toHaveBeenCalledOnce();
  });
});

describe('a full registry', () => {
  test('forgets one that let no call in lately, and says so', async () => {
    const { registry, events, names } = fixture({ maxCircuits: 2 });
    const first = registry.get('a');
    const second = registry.get('b');
    await first.run(working);
    registry.get('c');
    expect(names().sort()).toEqual(['a', 'c']);
    expect(events).toEqual([{ type: 'circuit.evicted', circuit: 'b' }]);
    expect([first.isDisposed, second.isDisposed]).toEqual([false, true]);
  });

  test('keeps what is open, under way, checked, watched, or has failures', async () => {
    const { registry, names } = fixture({ maxCircuits: 7, defaults: { trip: { kind: 'consecutive', failures: 2 } } });
    registry.get('open').open();
    registry.get('busy').tryAcquire();
    registry.get('checked').healthCheck(working, 1_000);
    registry.get('watched').monitor();
    registry.get('ailing').tryAcquire()?.failure('down');
    registry.get('isolated').isolate();
    registry.get('idle').tryAcquire()?.success();
    registry.get('new');
    expect(names()).not.toContain('idle');
    expect(registry.size).toBe(7);
    registry.dispose();
  });

  test('keeps one whose open times are growing until that is history', async () => {
    const { registry, clock, fail, names } = fixture({ maxCircuits: 1 });
    await fail('a');
    await clock.advance(1_000);
    await registry.get('a').run(working);
    expect(registry.peek('a')?.isAtRest).toBe(false);
    await clock.advance(1_000);
    expect(registry.peek('a')?.isAtRest).toBe(true);
    registry.get('b');
    expect(names()).toEqual(['b']);
  });

  test('forgets one in use before one that would be missed', async () => {
    const { registry, names } = fixture({ maxCircuits: 3 });
    registry.get('isolated').isolate();
    await registry.get('in use').run(working);
    registry.get('open').open();
    registry.get('new');
    expect(names().sort()).toEqual(['isolated', 'new', 'open']);
    registry.dispose();
  });

  test('forgets one that would be missed if there is no other, without looking at all of them', () => {
    const { registry, events } = fixture({ maxCircuits: 1_000 });
    for (let made = 0; made < 1_000; made++) registry.get(`circuit ${made}`).isolate();
    let looks = 0;
    const isAtRest = vi.spyOn(CircuitBreaker.prototype, 'isAtRest', 'get').mockImplementation(() => {
      looks++;
      return false;
    });
    registry.get('new');
    isAtRest.mockRestore();
    expect(registry.size).toBe(1_000);
    expect(events.filter(({ type }) => type === 'circuit.evicted')).toHaveLength(1);
    expect(looks).toBeLessThanOrEqual(64);
  });

  test('never holds more than maxCircuits, and what was evicted works on for its holder', async () => {
    const { registry, clock } = fixture({ maxCircuits: 10 });
    const held = registry.get('held');
    for (let made = 0; made < 1_000; made++) registry.get(`circuit ${made}`);
    expect(registry.size).toBe(10);
    expect(held.isDisposed).toBe(true);
    await held.run(failing).catch(() => undefined);
    expect(held.state).toBe('open');
    await clock.advance(1_000);
    await expect(held.run(working)).resolves.toBe('fine');
    expect(held.state).toBe('closed');
  });
});

describe('changes', () => {
  test('are told to each listener until it stops, after they happened', async () => {
    const { registry, clock, fail } = fixture();
    const told: string[] = [];
    const listener = (breaker: CircuitBreaker) => told.push(`${breaker.name} ${breaker.state}`);
    const stop = registry.onChange(listener);
    const stopToo = registry.onChange(listener);
    await fail('a');
    stopToo();
    await clock.advance(1_000);
    await registry.get('a').run(working);
    stop();
    registry.get('a').isolate();
    expect(told).toEqual(['a open', 'a open', 'a half-open', 'a closed']);
  });

  test('are no news while calls go well', async () => {
    const { registry } = fixture();
    const listener = vi.fn();
    registry.onChange(listener);
    await registry.get('a').run(working);
    expect(listener).not.toHaveBeenCalled();
  });

  test('need a listener that is a function, and survive one that throws', async () => {
    const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
    const { registry } = fixture();
    expect(() => registry.onChange(undefined as never)).toThrow(TypeError);
    registry.onChange(() => {
      throw new Error('deaf');
    });
    registry.get('a').isolate();
    expect(registry.get('a').state).toBe('isolated');
    expect(warn).toHaveBeenCalledOnce();
    warn.mockRestore();
  });
});

describe('snapshots', () => {
  test('hold what a restart must not forget, and bring it back', async () => {
    const before = fixture();
    before.registry.get('fine').tryAcquire()?.success();
    before.registry.get('isolated').isolate();
    await before.fail('open');
    await before.clock.advance(400);
    const snapshots = JSON.parse(JSON.stringify(before.registry.snapshot()));
    expect(snapshots.map(({ name }: { name: string }) => name)).toEqual(['isolated', 'open']);

    const after = fixture();
    after.registry.restore(snapshots);
    expect(after.registry.size).toBe(2);
    expect(after.registry.get('open').retryAfterMs).toBe(600);
    expect(after.registry.get('isolated').state).toBe('isolated');
    after.registry.dispose();
    before.registry.dispose();
  });

  test('are all refused if one is no snapshot', () => {
    const { registry } = fixture();
    registry.get('a').isolate();
    const snapshots = [...registry.snapshot(), { version: 1 }];
    const other = fixture().registry;
    expect(() => other.restore(snapshots as never)).toThrow(
      expect.objectContaining({ code: 'HOLDFAST_INVALID_INPUT', path: 'snapshots.1.name' }),
    );
    expect(other.size).toBe(0);
  });
});

test('a disposed registry has no timers, and makes circuits that have none', async () => {
  const { registry, fail, clock } = fixture();
  await fail('a');
  registry.dispose();
  await fail('b');
  expect(clock.pending).toBe(0);
  expect(registry.get('b').state).toBe('open');
});
