import { getEventListeners } from 'node:events';
import { describe, expect, test } from 'vitest';
import type { Attempt } from '../../src/policies/attempt.js';
import { CallScope } from '../../src/policies/call-scope.js';
import { type ServedStaleEvent, type StaleIfErrorOptions, staleIfError } from '../../src/policies/stale-if-error.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';
import { rejectionOf } from '../support/deferred.js';

const broken = new Error('broken');
const failing = () => Promise.reject(broken);

function scene(options: Partial<StaleIfErrorOptions> = {}) {
  const clock = new VirtualClock();
  const events: ServedStaleEvent[] = [];
  const policy = staleIfError<unknown>({ maxAgeMs: 1_000, clock, emit: (event) => events.push(event), ...options });
  return { clock, events, policy };
}

describe('a call that fails', () => {
  test('is answered with the last result, which is the very object', async () => {
    const { policy } = scene();
    const newest = { rate: 2 };
    await policy.run(() => ({ rate: 1 }));
    await policy.run(() => newest);
    expect(await policy.run(failing)).toBe(newest);
    expect(await policy.run(failing)).toBe(newest);
  });

  test('is answered with undefined, if that was the last result', async () => {
    const { policy } = scene();
    await policy.run(() => undefined);
    await expect(policy.run(failing)).resolves.toBeUndefined();
  });

  test('passes its error through if there was no result yet', async () => {
    expect(await rejectionOf(scene().policy.run(failing))).toBe(broken);
  });

  test('is answered up to maxAgeMs, and not a moment longer', async () => {
    const { clock, policy } = scene();
    await policy.run(() => 'old');
    await clock.advance(1_000);
    expect(await policy.run(failing)).toBe('old');
    await clock.advance(1);
    expect(await rejectionOf(policy.run(failing))).toBe(broken);
  });

  test('does not make the result younger by being answered with it', async () => {
    const { clock, policy } = scene();
    await policy.run(() => 'old');
    await clock.advance(600);
    await policy.run(failing);
    await clock.advance(600);
    expect(await rejectionOf(policy.run(failing))).toBe(broken);
  });

  test('is answered whatever wall time says', async () => {
    const { clock, policy } = scene();
    await policy.run(() => 'old');
    clock.jumpWall(3_600_000);
    expect(await policy.run(failing)).toBe('old');
  });

  test('is answered for ever with Infinity', async () => {
    const { clock, policy } = scene({ maxAgeMs: Number.POSITIVE_INFINITY });
    await policy.run(() => 'old');
    await clock.advance(1e12);
    expect(await policy.run(failing)).toBe('old');
  });

  test('is not answered when the caller gave up: the reason passes through', async () => {
    const { policy } = scene();
    await policy.run(() => 'old');
    const context = new CallScope(1);
    const call = () => {
      context.abort('gone');
      throw broken;
    };
    expect(await rejectionOf(policy.run(call, context))).toBe('gone');
  });

  test('is not answered in a context that is not ours and was aborted, and nothing listens to that afterwards', async () => {
    const { policy } = scene();
    await policy.run(() => 'old');
    const controller = new AbortController();
    const context: Attempt = { attempt: 1, operationId: 'op', signal: controller.signal };
    expect(await policy.run(failing, context)).toBe('old');
    expect(getEventListeners(controller.signal, 'abort')).toHaveLength(0);
    controller.abort('gone');
    expect(await rejectionOf(policy.run(failing, context))).toBe('gone');
  });
});

describe('keys', () => {
  test('keep results apart, also from calls without a key', async () => {
    const { policy } = scene();
    await policy.run(() => 'no key');
    await policy.for('a').run(() => 'a');
    await policy.for('').run(() => 'empty');
    expect(await policy.run(failing)).toBe('no key');
    expect(await policy.for('a').run(failing)).toBe('a');
    expect(await policy.for('').run(failing)).toBe('empty');
    expect(await rejectionOf(policy.for('b').run(failing))).toBe(broken);
  });

  test('beyond maxKeys push out the one that was used longest ago: read or written', async () => {
    const { policy } = scene({ maxKeys: 2 });
    await policy.for('a').run(() => 'a');
    await policy.for('b').run(() => 'b');
    await policy.for('a').run(failing);
    await policy.for('c').run(() => 'c');
    expect(await policy.for('a').run(failing)).toBe('a');
    expect(await policy.for('c').run(failing)).toBe('c');
    expect(await rejectionOf(policy.for('b').run(failing))).toBe(broken);
  });

  test('that come again push nothing out', async () => {
    const { policy } = scene({ maxKeys: 2 });
    await policy.for('a').run(() => 'a');
    await policy.for('b').run(() => 'b');
    await policy.for('b').run(() => 'b again');
    expect(await policy.for('a').run(failing)).toBe('a');
    expect(await policy.for('b').run(failing)).toBe('b again');
  });
});

describe('events', () => {
  test('say how old the answer is, and why it was needed', async () => {
    const { clock, events, policy } = scene();
    await policy.run(() => 'old');
    await clock.advance(250);
    await policy.run(failing, CallScope.operation(undefined, 'op'));
    expect(events).toEqual([{ type: 'call.served-stale', operationId: 'op', ageMs: 250, error: 'broken' }]);
  });

  test('there is none if the call succeeded or its error passed through', async () => {
    const { events, policy } = scene();
    await rejectionOf(policy.run(failing));
    await policy.run(() => 'fine');
    expect(events).toEqual([]);
  });

  test('are not needed, nor is a clock', async () => {
    const policy = staleIfError<string>({ maxAgeMs: 60_000 });
    await policy.run(() => 'old');
    expect(await policy.run(failing)).toBe('old');
  });
});

describe('what is passed in', () => {
  test.each([
    [{}, 'options.maxAgeMs'],
    [{ maxAgeMs: 0 }, 'options.maxAgeMs'],
    [{ maxAgeMs: 1, maxKeys: 0 }, 'options.maxKeys'],
    [{ maxAgeMs: 1, clock: 1 }, 'options.clock'],
    [{ maxAgeMs: 1, emit: 1 }, 'options.emit'],
    [{ maxAgeMs: 1, key: 'a' }, 'options.key'],
  ])('%j is refused, naming %s', (options, path) => {
    expect(() => staleIfError(options as StaleIfErrorOptions)).toThrow(expect.objectContaining({ path }));
  });

  test('something that cannot be called is a TypeError, as a rejection, and is not answered', async () => {
    const { policy } = scene();
    await policy.run(() => 'old');
    await expect(policy.for('a').run(null as unknown as () => string)).rejects.toThrow(/not null/);
    await expect(policy.run(null as unknown as () => string)).rejects.toThrow(TypeError);
  });
});
