import { EventEmitter } from 'node:events';
import { describe, expect, test, vi } from 'vitest';
import { CircuitBreaker } from '../../src/policies/circuit-breaker.js';
import type { CircuitBreakerOptions } from '../../src/policies/circuit-options.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';

const down = new Error('down');
const failing = () => Promise.reject(down);
const working = () => 'fine';

/** opossum, as its dashboards see it. */
interface Monitor extends EventEmitter {
  readonly opened: boolean;
  readonly closed: boolean;
  readonly halfOpen: boolean;
  readonly name: string;
  readonly options: { readonly resetTimeout: number };
  readonly stats: Readonly<Record<string, number>>;
  readonly status: { readonly window: readonly { readonly latencyTimes: readonly number[] }[] };
  close(): void;
}

const heard = ['open', 'halfOpen', 'close', 'fire', 'success', 'failure', 'reject', 'timeout'];

function fixture(options: Partial<CircuitBreakerOptions> = {}) {
  const clock = new VirtualClock();
  const breaker = new CircuitBreaker({
    name: 'bank',
    trip: { kind: 'consecutive', failures: 2 },
    openMs: 1_000,
    clock,
    ...options,
  });
  const fail = async (times: number) => {
    for (let call = 0; call < times; call++) await breaker.run(failing).catch(() => undefined);
  };
  return { breaker, clock, fail };
}

/** A breaker whose monitor is listened to. */
function monitored(options: Partial<CircuitBreakerOptions> = {}) {
  const made = fixture(options);
  const monitor = made.breaker.monitor() as Monitor;
  const told: string[] = [];
  for (const event of heard) monitor.on(event, () => told.push(event));
  return { ...made, monitor, told };
}

describe('time', () => {
  test('makes the circuit half-open by itself on an injected clock, and nothing is left to wait for', async () => {
    const events: string[] = [];
    const { clock, breaker, fail } = fixture({ emit: ({ type }) => events.push(type) });
    await fail(2);
    expect(clock.pending).toBe(1);
    await clock.advance(999);
    expect(events).toEqual(['circuit.opened']);
    await clock.advance(1);
    expect(events).toEqual(['circuit.opened', 'circuit.half-opened']);
    expect(clock.pending).toBe(0);
    expect(breaker.state).toBe('half-open');
  });

  test('makes it half-open through the timer of opossum on the clock of the machine', async () => {
    vi.useFakeTimers();
    const events: string[] = [];
    const breaker = new CircuitBreaker({
      name: 'bank',
      openMs: 1_000.5,
      trip: { kind: 'consecutive', failures: 1 },
      emit: ({ type }) => events.push(type),
    });
    const run = breaker.run(failing);
    await expect(run).rejects.toBe(down);
    const engine = breaker.monitor() as Monitor;
    expect(engine.options.resetTimeout).toBe(1_001);
    await vi.advanceTimersByTimeAsync(999);
    expect(events).toEqual(['circuit.opened']);
    await vi.advanceTimersByTimeAsync(2);
    expect(events).toEqual(['circuit.opened', 'circuit.half-opened']);
    breaker.dispose();
    expect(vi.getTimerCount()).toBe(0);
    vi.useRealTimers();
  });

  test('is waited for again when the timer rings before it is over, without news to monitors', async () => {
    vi.useFakeTimers();
    const openMs = 2 ** 31 + 4_999;
    const breaker = new CircuitBreaker({ name: 'bank', openMs });
    const told: string[] = [];
    const engine = breaker.monitor() as Monitor;
    for (const event of heard) engine.on(event, () => told.push(event));
    breaker.open();
    expect(engine.options.resetTimeout).toBe(2 ** 31 - 1);
    await vi.advanceTimersByTimeAsync(2 ** 31 - 1);
    expect(told).toEqual(['open']);
    expect(engine.options.resetTimeout).toBe(5_000);
    await vi.advanceTimersByTimeAsync(5_000);
    expect(told).toEqual(['open', 'halfOpen']);
    expect(breaker.state).toBe('half-open');
    breaker.dispose();
    vi.useRealTimers();
  });

  test('is right without timers: whoever asks after a suspension finds it half-open', async () => {
    const clock = new VirtualClock();
    const asleep = {
      now: () => clock.now(),
      monotonicMs: () => clock.monotonicMs(),
      sleep: () => new Promise<void>(() => {}),
    };
    const { breaker } = fixture({ clock: asleep });
    breaker.open();
    await clock.advance(1_000);
    await expect(breaker.run(working)).resolves.toBe('fine');
    expect(breaker.state).toBe('closed');
  });

  test('that rings after the circuit was closed and opened by hand does not cut the new time short', async () => {
    const { breaker, clock } = fixture();
    breaker.open(100);
    breaker.isolate();
    await clock.advance(100);
    expect(breaker.state).toBe('isolated');
    breaker.close();
    expect(clock.pending).toBe(0);
  });

  test('starts no timer and no listener while a circuit is idle', () => {
    vi.useFakeTimers();
    for (let made = 0; made < 100; made++) new CircuitBreaker({ name: `circuit ${made}` });
    expect(vi.getTimerCount()).toBe(0);
    vi.useRealTimers();
  });
});

describe('the monitor', () => {
  test('is an opossum that hears of every call', async () => {
    const { breaker, monitor, told, fail } = monitored({ trip: { kind: 'consecutive', failures: 9 } });
    expect(monitor).toBeInstanceOf(EventEmitter);
    expect(monitor.name).toBe('bank');
    expect(breaker.monitor()).toBe(monitor);
    await breaker.run(working);
    await fail(1);
    await breaker.run(() => Promise.reject(new DOMException('late', 'TimeoutError'))).catch(() => undefined);
    breaker.tryAcquire()?.ignore();
    expect(told).toEqual(['fire', 'success', 'fire', 'failure', 'fire', 'timeout', 'failure', 'fire']);
    expect(monitor.stats).toMatchObject({ fires: 4, successes: 1, failures: 2, timeouts: 1 });
    breaker.dispose();
  });

  test('is told results, errors and latencies', async () => {
    const { breaker, monitor, clock } = monitored();
    const success = vi.fn();
    const failure = vi.fn();
    const reject = vi.fn();
    monitor.on('success', success).on('failure', failure).on('reject', reject);
    const permit = breaker.tryAcquire();
    await clock.advance(70);
    permit?.success('fine');
    expect(success).toHaveBeenCalledWith('fine', 70);
    breaker.tryAcquire()?.failure(down);
    expect(failure).toHaveBeenCalledWith(down, 0, []);
    breaker.open();
    breaker.tryAcquire();
    expect(reject).toHaveBeenCalledWith(expect.objectContaining({ code: 'HOLDFAST_CIRCUIT_OPEN' }));
    breaker.dispose();
  });

  test('goes through the states with the circuit, each told once', async () => {
    const { breaker, monitor, told, fail, clock } = monitored();
    await fail(2);
    expect(monitor.opened).toBe(true);
    await clock.advance(1_000);
    await fail(1);
    await clock.advance(1_000);
    await breaker.run(working);
    expect(monitor.closed).toBe(true);
    const states = told.filter((event) => ['open', 'halfOpen', 'close'].includes(event));
    expect(states).toEqual(['open', 'halfOpen', 'open', 'halfOpen', 'close']);
    breaker.dispose();
    expect(clock.pending).toBe(0);
  });

  test('does not close at a success that does not close the circuit, nor by hand', async () => {
    vi.useFakeTimers();
    const breaker = new CircuitBreaker({ name: 'bank', openMs: 10, halfOpen: { successes: 2 } });
    const monitor = breaker.monitor() as Monitor;
    breaker.open();
    await vi.advanceTimersByTimeAsync(11);
    expect(monitor.halfOpen).toBe(true);
    breaker.tryAcquire()?.success();
    monitor.close();
    expect(monitor.halfOpen).toBe(true);
    breaker.tryAcquire()?.success();
    expect(monitor.closed).toBe(true);
    breaker.dispose();
    vi.useRealTimers();
  });

  test('shows an isolated circuit as open and a disabled one as closed', () => {
    const { breaker, monitor, clock } = monitored();
    breaker.isolate();
    expect(monitor.opened).toBe(true);
    expect(clock.pending).toBe(0);
    breaker.disable();
    expect(monitor.closed).toBe(true);
    const isolated = fixture().breaker;
    isolated.isolate();
    expect((isolated.monitor() as Monitor).opened).toBe(true);
    isolated.dispose();
    breaker.dispose();
  });

  test('says nothing new when an open circuit is opened again', () => {
    const { breaker, told } = monitored();
    breaker.open();
    breaker.open();
    expect(told).toEqual(['open']);
    breaker.dispose();
  });

  test('forgets latencies after ten seconds, without a timer', async () => {
    const { breaker, monitor, clock } = monitored();
    const remembered = () => monitor.status.window.flatMap(({ latencyTimes }) => latencyTimes).length;
    for (let call = 0; call < 50; call++) await breaker.run(working);
    expect(remembered()).toBe(50);
    await clock.advance(9_999);
    breaker.tryAcquire()?.success();
    expect(remembered()).toBe(51);
    await clock.advance(5_000_000);
    breaker.tryAcquire()?.success();
    expect(remembered()).toBe(1);
    expect(clock.pending).toBe(0);
    breaker.dispose();
  });

  test('has listeners that throw without harm to calls and states', async () => {
    const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
    const { breaker, monitor, clock } = monitored();
    for (const event of heard)
      monitor.prependListener(event, () => {
        throw new Error('deaf');
      });
    await expect(breaker.run(working)).resolves.toBe('fine');
    await expect(breaker.run(failing)).rejects.toBe(down);
    await expect(breaker.run(failing)).rejects.toBe(down);
    await expect(breaker.run(working)).rejects.toMatchObject({ code: 'HOLDFAST_CIRCUIT_OPEN' });
    await clock.advance(1_000);
    await expect(breaker.run(working)).resolves.toBe('fine');
    expect(breaker.state).toBe('closed');
    expect(monitor.closed).toBe(true);
    breaker.dispose();
    expect(clock.pending).toBe(0);
    expect(warn).toHaveBeenCalled();
    warn.mockRestore();
  });

  test('hears nothing more after dispose', async () => {
    const { breaker, told } = monitored();
    breaker.dispose();
    await breaker.run(working);
    breaker.open();
    expect(told).toEqual([]);
  });
});
