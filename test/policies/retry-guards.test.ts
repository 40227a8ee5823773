import { describe, expect, test } from 'vitest';
import { Bulkhead } from '../../src/policies/bulkhead.js';
import { CircuitBreaker } from '../../src/policies/circuit-breaker.js';
import { fallback } from '../../src/policies/fallback.js';
import { compose } from '../../src/policies/policy.js';
import { retry } from '../../src/policies/retry.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';

type Options = Parameters<typeof retry>[0];

describe('a place in a bulkhead', () => {
  test.each<[string, Options]>([
    ['timed out', { attemptTimeoutMs: 10, maxRetries: 2 }],
    ['was overtaken by its copy', { hedge: { delayMs: 10 }, maxRetries: 0 }],
    ['was cut off by the deadline', { deadlineMs: 10 }],
  ])('stays taken while a call that %s goes on', async (_name, options) => {
    const clock = new VirtualClock();
    const bulkhead = new Bulkhead({ maxRunning: 1, clock });
    let running = 0;
    let most = 0;
    const deaf = async () => {
      most = Math.max(most, ++running);
      await clock.sleep(10_000);
      running--;
    };
    const ended = retry({ clock, bulkhead, backoff: () => 1, ...options })
      .run(deaf)
      .catch(() => {});
    await clock.advance(100);
    expect([most, bulkhead.stats().running]).toEqual([1, 1]);
    await clock.advance(20_000);
    await ended;
    expect(bulkhead.stats().running).toBe(0);
  });
});

test.each<[string, Options]>([
  ['times out', { attemptTimeoutMs: 10 }],
  ['is cut off by the deadline', { deadlineMs: 10 }],
  ['ends well', {}],
])('a query that runs when it is awaited runs once, also when it %s', async (_name, options) => {
  const clock = new VirtualClock();
  let sent = 0;
  const query = {
    // biome-ignore lint/suspicious/noThenProperty: query builders look like this.
    then(done: (rows: string) => void) {
      sent++;
      void clock.sleep(50).then(() => done('rows'));
    },
  };
  const ended = retry({ clock, maxRetries: 0, ...options })
    .run(() => query as PromiseLike<string>)
    .catch(() => {});
  await clock.advance(1_000);
  await ended;
  expect(sent).toBe(1);
});

test('a thrown value that cannot even be looked at is retried, and holds no permit', async () => {
  const clock = new VirtualClock();
  const circuit = new CircuitBreaker({ name: 'db', clock });
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  let calls = 0;
  const result = retry({ clock, circuit, backoff: () => 10 }).run(() => {
    if (++calls === 1) throw proxy;
    return 'done';
  });
  await clock.advance(10);
  await expect(result).resolves.toBe('done');
  expect(circuit.stats()).toMatchObject({ failures: 1, inFlight: 0 });
});

test('a wait for a stand-in ends when the caller gives up', async () => {
  const controller = new AbortController();
  const stack = compose(fallback(() => new Promise<never>(() => {})));
  const ended = stack.run(() => Promise.reject(new Error('down')), { signal: controller.signal });
  controller.abort('enough');
  await expect(ended).rejects.toBe('enough');
});

test('a deadline is not over before it began, however long the event loop was busy', async () => {
  const busyUntil = performance.now() + 60;
  await retry().run(() => 'starts the coarse clock');
  while (performance.now() < busyUntil);
  let calls = 0;
  const result = retry({ deadlineMs: 50, backoff: () => 1 }).run(() => {
    if (++calls === 1) throw new Error('once');
    return 'done';
  });
  await expect(result).resolves.toBe('done');
});
