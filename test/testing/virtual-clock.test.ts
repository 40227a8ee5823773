import { describe, expect, test } from 'vitest';
import { VirtualClock } from '../../src/testing/virtual-clock.js';

/** Adds the time at which each sleep ends, until `count` are over. */
async function sleepInTurns(clock: VirtualClock, ms: number, count: number): Promise<readonly number[]> {
  const wokenAtMs: number[] = [];
  for (let done = 0; done < count; done++) {
    await clock.sleep(ms);
    wokenAtMs.push(clock.monotonicMs());
  }
  return wokenAtMs;
}

/** A promise that needs `depth` microtasks to settle. */
async function deep(depth: number): Promise<void> {
  for (let at = 0; at < depth; at++) await Promise.resolve();
}

describe('time', () => {
  test('the clock begins where it is told, with the monotonic clock at zero', () => {
    const clock = new VirtualClock({ nowMs: 1_000 });
    expect([clock.now(), clock.monotonicMs()]).toEqual([1_000, 0]);
  });

  test('two clocks that are told nothing begin at the same moment', () => {
    expect(new VirtualClock().now()).toBe(new VirtualClock().now());
  });

  test('advance moves wall time and monotonic time alike', async () => {
    const clock = new VirtualClock({ nowMs: 1_000 });
    await clock.advance(250);
    expect([clock.now(), clock.monotonicMs()]).toEqual([1_250, 250]);
  });

  test('jumpWall moves wall time only, also back, and wakes nobody', async () => {
    const clock = new VirtualClock({ nowMs: 1_000 });
    const sleep = clock.sleep(10);
    clock.jumpWall(3_600_000);
    clock.jumpWall(-7_200_000);
    expect([clock.now(), clock.monotonicMs(), clock.pending]).toEqual([1_000 - 3_600_000, 0, 1]);
    await clock.advance(10);
    await sleep;
  });

  test('a wall jump is kept by what advances after it', async () => {
    const clock = new VirtualClock({ nowMs: 1_000 });
    clock.jumpWall(-500);
    await clock.advance(10);
    expect(clock.now()).toBe(510);
  });

  test.each([-1, Number.NaN, Number.POSITIVE_INFINITY])('advance(%s) is refused and moves nothing', async (ms) => {
    const clock = new VirtualClock({ nowMs: 1_000 });
    await expect(clock.advance(ms)).rejects.toMatchObject({ code: 'HOLDFAST_INVALID_INPUT', path: 'ms' });
    expect(clock.now()).toBe(1_000);
  });
});

describe('sleep', () => {
  test('a sleeper wakes when its time has come and not before', async () => {
    const clock = new VirtualClock();
    const woken = clock.sleep(100).then(() => clock.monotonicMs());
    await clock.advance(99);
    expect(clock.pending).toBe(1);
    await clock.advance(1);
    expect(clock.pending).toBe(0);
    await expect(woken).resolves.toBe(100);
  });

  test('sleepers wake in order of time, those of one moment in order of arrival', async () => {
    const clock = new VirtualClock();
    const woken: string[] = [];
    const sleepers = [
      [30, 'c'],
      [10, 'a'],
      [20, 'b1'],
      [20, 'b2'],
    ] as const;
    for (const [ms, name] of sleepers) void clock.sleep(ms).then(() => woken.push(name));
    await clock.advance(30);
    expect(woken).toEqual(['a', 'b1', 'b2', 'c']);
  });

  test('each sleeper wakes at its own moment, not at the end of the window', async () => {
    const clock = new VirtualClock();
    const woken = Promise.all([clock.sleep(10).then(() => clock.now()), clock.sleep(20).then(() => clock.now())]);
    const startedAtMs = clock.now();
    await clock.advance(1_000);
    await expect(woken).resolves.toEqual([startedAtMs + 10, startedAtMs + 20]);
  });

  test('a sleeper that sleeps again within the window is woken again', async () => {
    const clock = new VirtualClock();
    const woken = sleepInTurns(clock, 100, 10);
    await clock.advance(1_000);
    await expect(woken).resolves.toEqual([100, 200, 300, 400, 500, 600, 700, 800, 900, 1_000]);
  });

  test('promise chains of any depth run between two sleeps', async () => {
    const clock = new VirtualClock();
    let isDone = false;
    const work = async () => {
      await deep(10_000);
      await clock.sleep(10);
      await deep(10_000);
      await clock.sleep(10);
      await deep(10_000);
      isDone = true;
    };
    void work();
    await clock.advance(20);
    expect(isDone).toBe(true);
  });

  test('setImmediate and nextTick between two sleeps run too', async () => {
    const clock = new VirtualClock();
    let isDone = false;
    const work = async () => {
      await clock.sleep(10);
      await new Promise((resolve) => setImmediate(resolve));
      await new Promise<void>((resolve) => process.nextTick(resolve));
      await clock.sleep(10);
      isDone = true;
    };
    void work();
    await clock.advance(20);
    expect(isDone).toBe(true);
  });

  test('what began just before advance is counted from before it', async () => {
    const clock = new VirtualClock();
    const late = deep(100).then(() => sleepInTurns(clock, 10, 1));
    await clock.advance(10);
    await expect(late).resolves.toEqual([10]);
  });

  test.each([0, -5])('sleep(%s) needs no advance', async (ms) => {
    const clock = new VirtualClock();
    await clock.sleep(ms);
    expect(clock.pending).toBe(0);
  });

  test('a sleep without end stays pending', async () => {
    const clock = new VirtualClock();
    void clock.sleep(Number.POSITIVE_INFINITY);
    await clock.advance(1e15);
    expect(clock.pending).toBe(1);
  });

  test('advances that overlap run one after the other', async () => {
    const clock = new VirtualClock();
    const woken = sleepInTurns(clock, 10, 3);
    await Promise.all([clock.advance(15), clock.advance(15)]);
    expect(clock.monotonicMs()).toBe(30);
    await expect(woken).resolves.toEqual([10, 20, 30]);
  });
});

describe('abort', () => {
  test('a sleep under an aborted signal rejects with its reason at once', async () => {
    const clock = new VirtualClock();
    const reason = new Error('enough');
    await expect(clock.sleep(10, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    expect(clock.pending).toBe(0);
  });

  test('aborting ends a sleep with the reason, and time passes it by', async () => {
    const clock = new VirtualClock();
    const controller = new AbortController();
    const sleep = clock.sleep(10, { signal: controller.signal });
    const other = clock.sleep(10);
    controller.abort('enough');
    expect(clock.pending).toBe(1);
    await expect(sleep).rejects.toBe('enough');
    await clock.advance(10);
    await other;
  });

  test('an abort after the waking changes nothing for other sleepers', async () => {
    const clock = new VirtualClock();
    const controller = new AbortController();
    const sleep = clock.sleep(10, { signal: controller.signal });
    void clock.sleep(20);
    await clock.advance(10);
    controller.abort();
    await sleep;
    expect(clock.pending).toBe(1);
  });
});
