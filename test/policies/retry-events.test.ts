import { describe, expect, test } from 'vitest';
import { retry } from '../../src/policies/retry.js';
import type { RetryEvent } from '../../src/policies/retry-event.js';
import type { RetryPolicyOptions } from '../../src/policies/retry-options.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';

/** What is reported while `call` runs for a second under a policy of these options. */
async function reported(call: (clock: VirtualClock) => unknown, options: RetryPolicyOptions = {}) {
  const clock = new VirtualClock();
  const events: RetryEvent[] = [];
  const policy = retry({ clock, backoff: () => 100, emit: (event) => void events.push(event), ...options });
  const ended = policy.run(() => call(clock)).catch(() => {});
  await clock.advance(1_000);
  await ended;
  return events;
}

/** Throws these one after the other, then returns 1. */
const failing =
  (...errors: unknown[]) =>
  () => {
    if (errors.length === 0) return 1;
    throw errors.shift();
  };

describe('a sink hears', () => {
  test('of an attempt that succeeds', async () => {
    const events = await reported((clock) => clock.sleep(5));
    expect(events).toEqual([{ type: 'attempt.succeeded', operationId: expect.any(String), attempt: 1, durationMs: 5 }]);
  });

  test('of failures, of the waits after them, and of the success in the end: all of one operation', async () => {
    const events = await reported(failing(new Error('busy')));
    expect(events.map(({ operationId: _, ...event }) => event)).toEqual([
      { type: 'attempt.failed', attempt: 1, durationMs: 0, error: 'busy' },
      { type: 'retry.scheduled', attempt: 2, delayMs: 100, error: 'busy' },
      { type: 'attempt.succeeded', attempt: 2, durationMs: 0 },
    ]);
    expect(new Set(events.map(({ operationId }) => operationId)).size).toBe(1);
  });

  test('of an attempt that took too long, and of giving up', async () => {
    const events = await reported(() => new Promise(() => {}), { attemptTimeoutMs: 50, maxRetries: 1 });
    expect(events.map(({ type }) => type)).toEqual([
      'attempt.timed-out',
      'attempt.failed',
      'retry.scheduled',
      'attempt.timed-out',
      'attempt.failed',
      'retry.gave-up',
    ]);
    expect(events[0]).toMatchObject({ attempt: 1, timeoutMs: 50 });
    expect(events.at(-1)).toMatchObject({ attempts: 2, reason: 'exhausted' });
  });

  test('of a failure that is not worth a retry', async () => {
    const events = await reported(failing({ status: 404 }));
    expect(events.at(-1)).toMatchObject({ type: 'retry.gave-up', attempts: 1, reason: 'not-worth-it' });
  });

  test('of a run that its signal ended, in a wait or in an attempt', async () => {
    const events = await reported(failing(new Error('busy')), {
      signal: AbortSignal.timeout(0),
      backoff: () => 60_000,
    });
    expect(events.at(-1)).toMatchObject({ type: 'retry.gave-up', attempts: 1, reason: 'aborted' });
  });

  test.each([
    ['an error', new Error('words'), 'words'],
    [
      'an error with its cause',
      new Error('fetch failed', { cause: new Error('ECONNRESET') }),
      'fetch failed (ECONNRESET)',
    ],
    ['a string', 'words', 'words'],
    ['a plain object', { code: 5 }, '{ code: 5 }'],
    ['undefined', undefined, 'undefined'],
    ['null', null, 'null'],
    ['a page of text', new Error('x'.repeat(10_000)), `${'x'.repeat(500)}…`],
    ['what cannot be printed', { message: Object.create(null) }, 'something that cannot be printed'],
  ])('%s in one line', async (_name, thrown, line) => {
    const [failed] = await reported(failing(thrown));
    expect(failed).toMatchObject({ type: 'attempt.failed', error: line });
  });

  test('nothing that JSON does not keep', async () => {
    const events = await reported(failing(new Error('busy'), { status: 404 }), { deadlineMs: 500 });
    expect(JSON.parse(JSON.stringify(events))).toEqual(events);
  });
});

test('a sink that throws changes nothing but a warning', async () => {
  const clock = new VirtualClock();
  const warned = new Promise<Error>((resolve) => process.once('warning', resolve));
  const policy = retry({
    clock,
    emit: () => {
      throw new Error('sink broke');
    },
  });
  await expect(policy.run(() => 5)).resolves.toBe(5);
  expect((await warned).message).toContain('sink broke');
});
