import { describe, expect, test } from 'vitest';
import { InvalidInputError } from '../../src/base/errors.js';
import { Degradation, type DegradationEvent, DegradedError } from '../../src/policies/degradation.js';
import { compose } from '../../src/policies/policy.js';
import { timeout } from '../../src/policies/timeout.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';
import { rejectionOf } from '../support/deferred.js';

function degraded(options = {}) {
  const clock = new VirtualClock();
  const events: DegradationEvent[] = [];
  const degradation = new Degradation({ clock, emit: (event) => events.push(event), ...options });
  return { clock, events, degradation };
}

describe('while everything is well', () => {
  test('calls of all kinds are made, and what they throw passes through', async () => {
    const { degradation, events } = degraded();
    for (const criticality of ['critical', 'normal', 'deferrable'] as const) {
      expect(await degradation.policy(criticality).run(() => criticality)).toBe(criticality);
    }
    const error = new Error('no such table');
    expect(await rejectionOf(degradation.policy('normal').run(() => Promise.reject(error)))).toBe(error);
    expect(events).toEqual([]);
  });
});

describe('while something is down', () => {
  test('critical calls are made, normal ones wait in order, the rest is refused at once', async () => {
    const { degradation, events } = degraded();
    const end = degradation.begin('database');
    const made: string[] = [];
    expect(await degradation.policy('critical').run(() => 'paid')).toBe('paid');
    const refused = await rejectionOf(degradation.policy('deferrable').run(() => made.push('report')));
    expect(refused).toBeInstanceOf(DegradedError);
    expect(refused).toMatchObject({ criticality: 'deferrable', reasons: ['database'], waitedMs: 0 });
    const waiting = ['a', 'b', 'c'].map((name) => degradation.policy('normal').run(() => made.push(name)));
    expect(degradation.waiting).toBe(3);
    expect(made).toEqual([]);
    end();
    await Promise.all(waiting);
    expect(made).toEqual(['a', 'b', 'c']);
    expect(events.map(({ type }) => type)).toEqual(['degradation.began', 'degradation.rejected', 'degradation.ended']);
  });

  test('it lasts until the last of those who say so say otherwise, each once', async () => {
    const { degradation } = degraded();
    const ends = [degradation.begin('database'), degradation.begin('database'), degradation.begin('model')];
    expect(degradation.reasons).toEqual(['database', 'model']);
    ends[0]?.();
    ends[0]?.();
    ends[2]?.();
    expect(degradation.reasons).toEqual(['database']);
    ends[1]?.();
    expect(degradation.reasons).toEqual([]);
    expect(await degradation.policy('deferrable').run(() => 'made')).toBe('made');
  });

  test('a call that was let in only to find something else down waits on', async () => {
    const { degradation } = degraded();
    const end = degradation.begin('database');
    const call = degradation.policy('normal').run(() => 'made');
    end();
    const endAgain = degradation.begin('model');
    await Promise.resolve();
    endAgain();
    expect(await call).toBe('made');
  });

  test('a normal call waits no longer than it may, nor beyond its own deadline or signal, and leaves nothing behind', async () => {
    const { degradation, clock } = degraded({ maxWaitMs: 5_000 });
    degradation.begin('database');
    const late = rejectionOf(degradation.policy('normal').run(() => 1));
    const controller = new AbortController();
    const aborted = rejectionOf(degradation.policy('normal').run(() => 1, { signal: controller.signal }));
    const timed = rejectionOf(compose(timeout(1_000, { clock }), degradation.policy('normal')).run(() => 1));
    const reason = new Error('the caller left');
    controller.abort(reason);
    expect(await aborted).toBe(reason);
    await clock.advance(1_000);
    expect(await timed).toMatchObject({ code: 'HOLDFAST_TIMEOUT' });
    await clock.advance(4_000);
    expect(await late).toMatchObject({ criticality: 'normal', waitedMs: 5_000 });
    expect(degradation.waiting).toBe(0);
    expect(clock.pending).toBe(0);
  });

  test('more normal calls than may wait are refused', async () => {
    const { degradation } = degraded({ maxWaiting: 2 });
    const end = degradation.begin('database');
    const waiting = [1, 2].map((n) => degradation.policy('normal').run(() => n));
    expect(await rejectionOf(degradation.policy('normal').run(() => 3))).toMatchObject({ waitedMs: 0 });
    end();
    expect(await Promise.all(waiting)).toEqual([1, 2]);
  });

  test('a call that was aborted before is not made, whatever it is', async () => {
    const { degradation } = degraded();
    const signal = AbortSignal.abort(new Error('too late'));
    expect(await rejectionOf(degradation.policy('critical').run(() => 1, { signal }))).toMatchObject({
      message: 'too late',
    });
  });

  test('options that cannot be used are refused', () => {
    expect(() => new Degradation({ maxWaiting: -1 })).toThrow(InvalidInputError);
    expect(() => new Degradation({ maxWaitMs: 0 })).toThrow(InvalidInputError);
  });
});
