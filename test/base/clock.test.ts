import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Clock } from '../../src/base/clock.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';

// Node's timers are faked, and each test has the module anew: the coarse reading is one for the whole process.

const DAY_MS = 86_400_000;
const LONGEST_TIMER_MS = 2 ** 31 - 1;

const anew = async () => {
  vi.resetModules();
  return import('../../src/base/clock.js');
};

beforeEach(() => {
  vi.useFakeTimers({
    toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'performance', 'Date'],
    now: 0,
  });
});

afterEach(() => {
  vi.restoreAllMocks(); // Before the timers: what was spied on were the faked ones.
  vi.useRealTimers();
});

/** A clock whose one sleep ends when and how the test says. */
function puppet() {
  const told: { wake?: () => void; fail?: (error: unknown) => void } = {};
  const sleep = () => ({
    // biome-ignore lint/suspicious/noThenProperty: what it is told stands for a promise.
    then: (wake: () => void, fail: (error: unknown) => void) => Object.assign(told, { wake, fail }),
  });
  const clock = { now: () => 0, monotonicMs: () => 0, sleep } as unknown as Clock;
  return { clock, told };
}

describe("the machine's clock", () => {
  test('tells wall time', async () => {
    const { systemClock } = await anew();
    vi.setSystemTime(1_767_225_600_000);
    expect(systemClock.now()).toBe(1_767_225_600_000);
  });

  test('sleeps for longer than one timer can hold, with no timer that is too long', async () => {
    const { systemClock } = await anew();
    const timers = vi.spyOn(globalThis, 'setTimeout');
    const woken = vi.fn();
    void systemClock.sleep(60 * DAY_MS).then(woken);
    await vi.advanceTimersByTimeAsync(60 * DAY_MS - 1);
    expect(woken).not.toHaveBeenCalled();
    await vi.advanceTimersByTimeAsync(1);
    expect(woken).toHaveBeenCalledTimes(1);
    expect(timers.mock.calls.map(([, ms]) => ms)).toEqual([
      LONGEST_TIMER_MS,
      LONGEST_TIMER_MS,
      60 * DAY_MS - 2 * LONGEST_TIMER_MS,
    ]);
  });

  test('leaves no timer of a sleep that was called off, and keeps its reason', async () => {
    const { systemClock } = await anew();
    const controller = new AbortController();
    const sleeping = systemClock.sleep(1_000, { signal: controller.signal });
    controller.abort('enough');
    await expect(sleeping).rejects.toBe('enough');
    expect(vi.getTimerCount()).toBe(0);
  });

  test('starts no timer under a signal that has aborted', async () => {
    const { systemClock } = await anew();
    await expect(systemClock.sleep(1_000, { signal: AbortSignal.abort('enough') })).rejects.toBe('enough');
    expect(vi.getTimerCount()).toBe(0);
  });

  test.each([
    [{ unref: true }, false],
    [{ unref: false }, true],
    [undefined, true],
  ])('with %j keeps the process alive meanwhile: %s', async (options, hasRef) => {
    const { systemClock } = await anew();
    const timers = vi.spyOn(globalThis, 'setTimeout');
    void systemClock.sleep(1_000, options);
    expect(timers.mock.results.map(({ value }) => (value as NodeJS.Timeout).hasRef())).toEqual([hasRef]);
  });
});

describe('a timer', () => {
  test("on the machine's clock wakes once, in time, and is one bare timer", async () => {
    const { startTimer, systemClock } = await anew();
    const sleeps = vi.spyOn(systemClock, 'sleep');
    const wake = vi.fn();
    startTimer(systemClock, 100, wake);
    await vi.advanceTimersByTimeAsync(99);
    expect(wake).not.toHaveBeenCalled();
    await vi.advanceTimersByTimeAsync(1_000);
    expect(wake).toHaveBeenCalledTimes(1);
    expect(sleeps).not.toHaveBeenCalled();
  });

  test('of more than 24.8 days does not wake at once', async () => {
    const { startTimer, systemClock } = await anew();
    const wake = vi.fn();
    startTimer(systemClock, LONGEST_TIMER_MS + 1, wake);
    await vi.advanceTimersByTimeAsync(LONGEST_TIMER_MS);
    expect(wake).not.toHaveBeenCalled();
    await vi.advanceTimersByTimeAsync(1);
    expect(wake).toHaveBeenCalledTimes(1);
  });

  test.each([100, LONGEST_TIMER_MS + 1])('of %d ms that is cancelled leaves nothing behind', async (ms) => {
    const { startTimer, systemClock } = await anew();
    const wake = vi.fn();
    startTimer(systemClock, ms, wake).cancel();
    expect(vi.getTimerCount()).toBe(0);
    await vi.advanceTimersByTimeAsync(ms);
    expect(wake).not.toHaveBeenCalled();
  });

  test('on another clock goes by that one', async () => {
    const { startTimer } = await anew();
    const clock = new VirtualClock();
    const wake = vi.fn();
    startTimer(clock, 100, wake);
    startTimer(clock, 100, wake).cancel();
    expect([clock.pending, vi.getTimerCount()]).toEqual([1, 0]);
    await clock.advance(100);
    expect(wake).toHaveBeenCalledTimes(1);
  });

  test('that is cancelled after its sleep ended and before it woke does not wake', async () => {
    const { startTimer } = await anew();
    const { clock, told } = puppet();
    const wake = vi.fn();
    startTimer(clock, 100, wake).cancel();
    told.wake?.();
    expect(wake).not.toHaveBeenCalled();
  });

  test('on a clock that breaks says so, and does not for being cancelled', async () => {
    const { startTimer } = await anew();
    const { clock, told } = puppet();
    const timer = startTimer(clock, 100, () => undefined);
    expect(() => told.fail?.('no time')).toThrow('no time');
    timer.cancel();
    expect(() => told.fail?.('cancelled')).not.toThrow();
  });
});

describe('the coarse reading', () => {
  test('is a whole number, right when it is first asked for, and up to 25 ms old then', async () => {
    const { coarseMonotonicMs, systemClock } = await anew();
    vi.spyOn(performance, 'now').mockImplementation(() => Date.now() + 0.75);
    await vi.advanceTimersByTimeAsync(7);
    expect(coarseMonotonicMs(systemClock)).toBe(7);
    await vi.advanceTimersByTimeAsync(24);
    expect(coarseMonotonicMs(systemClock)).toBe(7);
    await vi.advanceTimersByTimeAsync(1);
    expect(coarseMonotonicMs(systemClock)).toBe(32);
  });

  test('is renewed as long as somebody asks', async () => {
    const { coarseMonotonicMs, systemClock } = await anew();
    const readings: number[] = [];
    for (let asked = 0; asked < 6; asked++) {
      readings.push(coarseMonotonicMs(systemClock));
      await vi.advanceTimersByTimeAsync(25);
    }
    expect(readings).toEqual([0, 25, 50, 75, 100, 125]);
  });

  test('takes one timer, which does not keep the process alive, and none once nobody asks', async () => {
    const tickers = vi.spyOn(globalThis, 'setInterval'); // Before the module is there, which takes its timer with it.
    const { coarseMonotonicMs, systemClock } = await anew();
    coarseMonotonicMs(systemClock);
    coarseMonotonicMs(systemClock);
    expect(tickers.mock.results.map(({ value }) => (value as NodeJS.Timeout).hasRef())).toEqual([false]);
    await vi.advanceTimersByTimeAsync(25);
    expect(vi.getTimerCount()).toBe(1);
    await vi.advanceTimersByTimeAsync(25);
    expect(vi.getTimerCount()).toBe(0);
  });

  test('is right again at once when somebody asks after a while', async () => {
    const { coarseMonotonicMs, systemClock } = await anew();
    coarseMonotonicMs(systemClock);
    await vi.advanceTimersByTimeAsync(1_003);
    expect(coarseMonotonicMs(systemClock)).toBe(1_003);
    await vi.advanceTimersByTimeAsync(25);
    expect(coarseMonotonicMs(systemClock)).toBe(1_028);
  });

  test('of another clock is exact, and takes no timer', async () => {
    const { coarseMonotonicMs } = await anew();
    const clock = new VirtualClock();
    await clock.advance(3);
    expect([coarseMonotonicMs(clock), vi.getTimerCount()]).toEqual([3, 0]);
  });
});
