import { describe, expect, test } from 'vitest';
import type { WorldCall } from '../../src/testing/crash/crash-world.js';
import { wrongCalls } from '../../src/testing/crash/judge-calls.js';

/** What is wrong with these calls, which came one after the other unless it is said otherwise. */
function judged(...calls: readonly Partial<WorldCall>[]): string[] {
  const all = calls.map((call, at): WorldCall => {
    const at3 = (part: number) => ({ order: 10 * at + part, atMs: 10 * at + part });
    const { step = 'flight', kind = 'act' } = call;
    const told = { kind, step, key: `${kind === 'undo' ? 'undo' : 'act'} ${step}`, receipt: `receipt ${step}` };
    const usual = { fence: 1, process: 1, attempt: 1, once: false, request: undefined, isRepeat: false };
    return { ...told, ...usual, begun: at3(0), done: at3(1), ended: at3(2), ...call };
  });
  return wrongCalls({ calls: all, events: all.filter(({ done }) => done !== undefined) });
}

const undo = (step: string, more: Partial<WorldCall> = {}): Partial<WorldCall> => ({ kind: 'undo', step, ...more });
const act = (step: string, more: Partial<WorldCall> = {}): Partial<WorldCall> => ({ step, ...more });

describe('nests', () => {
  test('one that is taken back while a step outside runs and goes on is right', () => {
    const long = act('hotel', { done: { order: 90, atMs: 90 }, ended: { order: 91, atMs: 91 } });
    expect(judged(act('extras/seat'), long, undo('extras/seat'), act('car'))).toEqual([]);
  });

  test('one that is taken back before what was done outside after it is right', () => {
    expect(judged(act('extras/seat'), act('hotel'), undo('extras/seat'), undo('hotel'))).toEqual([]);
  });

  test('a step inside that runs while the nest is taken back is wrong', () => {
    const long = act('extras/meal', { done: { order: 90, atMs: 90 }, ended: { order: 91, atMs: 91 } });
    expect(judged(act('extras/seat'), long, undo('extras/seat'))).toContain(
      'extras/meal was still running when the compensation of extras/seat began',
    );
  });

  test('a step inside that begins after the nest is taken back is wrong', () => {
    expect(judged(act('extras/seat'), undo('extras/seat'), act('extras/meal'))).toEqual([
      'extras/meal was done after the compensation of extras/seat had begun',
    ]);
  });

  test('what was done inside after a step outside goes back before it', () => {
    expect(judged(act('flight'), act('stay/hotel'), undo('flight'), undo('stay/hotel'))).toEqual([
      'flight was compensated before stay/hotel, which was done after it',
    ]);
    expect(judged(act('flight'), act('stay/hotel'), undo('stay/hotel'), undo('flight'))).toEqual([]);
  });
});

describe('the way back', () => {
  test('an effect that lands after its compensation is wrong', () => {
    const late = act('flight', { done: { order: 90, atMs: 90 }, ended: { order: 91, atMs: 91 } });
    const again = act('flight', { done: { order: 95, atMs: 95 }, begun: { order: 2, atMs: 2 } });
    expect(judged(late, again, undo('flight'))).toContain('flight was done after its compensation');
  });

  test('the last compensation may run again after a death, an earlier one may not', () => {
    const before = [act('flight'), act('hotel'), undo('hotel'), undo('flight')];
    const second = { process: 2, fence: 2 };
    expect(judged(...before, undo('flight', second))).toEqual([]);
    expect(judged(...before, undo('hotel', second))).toEqual(['hotel was compensated again after that was recorded']);
  });

  test('in one life only another attempt may run it again', () => {
    expect(judged(act('flight'), undo('flight'), undo('flight', { attempt: 2 }))).toEqual([]);
    expect(judged(act('flight'), undo('flight'), undo('flight'))).toEqual([
      'flight was compensated again after that was recorded',
    ]);
  });

  test('siblings that ended at the same moment go back in any order', () => {
    const ended = { order: 5, atMs: 5 };
    expect(judged(act('flight', { ended }), act('hotel', { ended }), undo('flight'), undo('hotel'))).toEqual([]);
  });

  test('what was found counts from when it was found', () => {
    const found = { kind: 'find', step: 'flight', key: 'act flight', process: 2, fence: 2 } as const;
    const second = { process: 2, fence: 2 };
    const calls = [act('flight'), act('hotel'), found, undo('flight', second), undo('hotel', second)];
    expect(judged(...calls)).toEqual([]);
  });

  test('a compensation with the key of another is wrong', () => {
    expect(judged(act('flight'), undo('flight', { key: 'a' }), undo('flight', { key: 'b', attempt: 2 }))).toContain(
      'the compensation of flight was run with another key',
    );
  });
});

test('what verify had found may not be done again', () => {
  const found = { kind: 'find', step: 'flight', key: 'act flight' } as const;
  expect(judged(act('flight'), found, act('flight'))).toEqual(['flight was done again after its verify had found it']);
  expect(judged(act('flight'), { ...found, receipt: undefined }, act('flight'))).toEqual([]);
});
