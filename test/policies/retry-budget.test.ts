import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { RetryBudget, type RetryBudgetOptions } from '../../src/policies/retry-budget.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';

const clock = () => new VirtualClock();

const budgetOf = (options: RetryBudgetOptions, calls: number): RetryBudget => {
  const budget = new RetryBudget(options);
  for (let call = 0; call < calls; call++) budget.deposit();
  return budget;
};

/** How many retries it lets through at once. */
const withdrawn = (budget: RetryBudget): number => {
  let count = 0;
  while (count < 10_000 && budget.tryWithdraw()) count++;
  return count;
};

describe('what is allowed', () => {
  test('by default a tenth of the calls and 10 a second over 10 s', () => {
    const budget = budgetOf({ clock: clock() }, 1_000);
    expect(budget.balance).toBe(200);
    expect(withdrawn(budget)).toBe(200);
  });

  test('fractions of calls add up: ten calls at 10 % are one retry, nine are none', () => {
    const options = { ratio: 0.1, minPerSecond: 0, clock: clock() };
    expect(withdrawn(budgetOf(options, 9))).toBe(0);
    expect(withdrawn(budgetOf(options, 10))).toBe(1);
  });

  test('a sum that binary fractions get wrong is right', () => {
    expect(withdrawn(budgetOf({ ratio: 0.29, minPerSecond: 0, clock: clock() }, 100))).toBe(29);
    expect(withdrawn(budgetOf({ ratio: 1.001, minPerSecond: 0, clock: clock() }, 1_000))).toBe(1_001);
    expect(withdrawn(budgetOf({ ratio: 0, minPerSecond: 4.1, windowMs: 30_000, clock: clock() }, 0))).toBe(123);
  });

  test('nothing, with a ratio of 0 and nothing a second', () => {
    const budget = budgetOf({ ratio: 0, minPerSecond: 0, clock: clock() }, 1_000);
    expect(budget.hasToken()).toBe(false);
    expect(budget.tryWithdraw()).toBe(false);
    expect(budget.balance).toBe(0);
  });

  test('more retries than calls, if the host says so', () => {
    expect(withdrawn(budgetOf({ ratio: 3, minPerSecond: 0, clock: clock() }, 5))).toBe(15);
  });
});

describe('asking', () => {
  test('takes nothing', () => {
    const budget = budgetOf({ ratio: 1, minPerSecond: 0, clock: clock() }, 1);
    expect([budget.hasToken(), budget.hasToken(), budget.balance]).toEqual([true, true, 1]);
    expect(budget.tryWithdraw()).toBe(true);
    expect([budget.hasToken(), budget.tryWithdraw(), budget.balance]).toEqual([false, false, 0]);
  });

  test('the balance is a whole number and not negative when calls are forgotten before retries', async () => {
    const time = clock();
    const budget = budgetOf({ ratio: 0.25, minPerSecond: 0, windowMs: 1_000, clock: time }, 6);
    expect(budget.balance).toBe(1);
    expect(budget.tryWithdraw()).toBe(true);
    await time.advance(1_000);
    expect(budget.balance).toBe(0);
  });
});

describe('time', () => {
  test('what was withdrawn comes back after the window, not within it', async () => {
    const time = clock();
    const budget = new RetryBudget({ ratio: 0, minPerSecond: 5, windowMs: 1_000, clock: time });
    expect(withdrawn(budget)).toBe(5);
    await time.advance(1_000);
    expect(budget.hasToken()).toBe(false);
    await time.advance(100);
    expect(withdrawn(budget)).toBe(5);
  });

  test('calls are forgotten when the window has passed', async () => {
    const time = clock();
    const budget = budgetOf({ ratio: 1, minPerSecond: 0, windowMs: 1_000, clock: time }, 7);
    await time.advance(999);
    expect(budget.balance).toBe(7);
    await time.advance(1);
    expect(budget.balance).toBe(0);
  });

  test('a process that was suspended for a day begins anew', async () => {
    const time = clock();
    const budget = budgetOf({ ratio: 1, minPerSecond: 0, clock: time }, 50);
    withdrawn(budget);
    await time.advance(86_400_000);
    expect(budget.balance).toBe(0);
    budget.deposit();
    expect(withdrawn(budget)).toBe(1);
  });

  test('a reading of the clock that is older than the last one counts as now', async () => {
    const time = clock();
    const budget = new RetryBudget({ ratio: 1, minPerSecond: 0, windowMs: 1_000, clock: time });
    await time.advance(5_000);
    expect(budget.balance).toBe(0);
    budget.deposit(3_000);
    expect(budget.balance).toBe(1);
  });

  test('a reading of the clock that the caller has is used', async () => {
    const time = clock();
    const budget = new RetryBudget({ ratio: 1, minPerSecond: 0, windowMs: 1_000, clock: time });
    await time.advance(950);
    budget.deposit(0);
    await time.advance(50);
    expect(budget.balance).toBe(0);
  });
});

interface Load {
  readonly ratio: number;
  readonly minPerSecond: number;
  readonly steps: readonly { readonly gapMs: number; readonly calls: number; readonly wishes: number }[];
}

/** Whether each retry that was let through found, in the second that it ended, no more retries than promised. */
function isPromiseKept({ ratio, minPerSecond, steps }: Load): boolean {
  let nowMs = 0;
  const time = { now: () => nowMs, monotonicMs: () => nowMs, sleep: () => Promise.resolve() };
  const budget = new RetryBudget({ ratio, minPerSecond, windowMs: 1_000, clock: time });
  const [calls, retries]: [number[], number[]] = [[], []];
  const inTheLastSecond = (timesMs: number[]) => timesMs.filter((atMs) => atMs > nowMs - 1_000).length;
  const isWithin = () => inTheLastSecond(retries) <= ratio * inTheLastSecond(calls) + minPerSecond + 1e-6;
  for (const step of steps) {
    nowMs += step.gapMs;
    for (let call = 0; call < step.calls; call++) {
      budget.deposit();
      calls.push(nowMs);
    }
    for (let wish = 0; wish < step.wishes && budget.tryWithdraw(); wish++) {
      retries.push(nowMs);
      if (!isWithin()) return false;
    }
  }
  return true;
}

describe('the promise', () => {
  test('no retry makes more of them, in the window that it ends, than was promised', () => {
    const step = fc.record({ gapMs: fc.nat(300), calls: fc.nat(20), wishes: fc.nat(10) });
    const load = fc.record({
      ratio: fc.constantFrom(0, 0.1, 0.33, 1, 2.5),
      minPerSecond: fc.constantFrom(0, 0.5, 3),
      steps: fc.array(step, { maxLength: 60 }),
    });
    fc.assert(fc.property(load, isPromiseKept), { numRuns: 1_000 });
  });

  test('is not kept by letting nothing through: a steady tenth is retried', async () => {
    const time = clock();
    const budget = new RetryBudget({ ratio: 0.1, minPerSecond: 0, windowMs: 1_000, clock: time });
    let retries = 0;
    for (let ms = 0; ms < 200; ms++) {
      await time.advance(50);
      for (let call = 0; call < 10; call++) budget.deposit();
      if (budget.tryWithdraw()) retries++;
    }
    expect(retries).toBeGreaterThan(160);
    expect(retries).toBeLessThanOrEqual(200);
  });
});

describe('options', () => {
  test.each([
    ['ratio', -0.1],
    ['ratio', 1_001],
    ['ratio', Number.NaN],
    ['minPerSecond', -1],
    ['minPerSecond', Number.POSITIVE_INFINITY],
    ['windowMs', 99],
    ['clock', 5],
    ['clock', null],
  ])('%s: %o is refused by name', (name, value) => {
    expect(() => new RetryBudget({ [name]: value })).toThrow(expect.objectContaining({ path: `options.${name}` }));
  });

  test('an unknown one is refused', () => {
    expect(() => new RetryBudget({ perSecond: 3 } as RetryBudgetOptions)).toThrow(/perSecond/);
  });
});

describe("the machine's clock", () => {
  test('is the default', () => {
    const budget = new RetryBudget({ ratio: 1, minPerSecond: 0, windowMs: 60_000 });
    budget.deposit();
    expect(budget.tryWithdraw()).toBe(true);
    expect(budget.tryWithdraw()).toBe(false);
  });
});
