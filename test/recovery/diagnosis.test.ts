import { describe, expect, test } from 'vitest';
import type { Diagnosis } from '../../src/recovery/failure.js';
import { fingerprintOf } from '../../src/recovery/fingerprint.js';
import { RecentFailures } from '../../src/recovery/recent-failures.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';
import { RecoveryWorld } from './recovery-world.js';

const linesOf = ({ causes }: Diagnosis) => causes.map(({ source, what }) => `${source}: ${what}`);

/** A recovery manager that sees these signals. */
function managerWith(signals?: () => unknown) {
  const world = new RecoveryWorld();
  const process = world.process({
    ladder: [world.rung('backup')],
    budget: { attempts: 100 },
    ...(signals && { signals: signals as never }),
  });
  return { world, recovery: process.recovery, events: process.events };
}

describe('causes are ranked:', () => {
  test('what the host sees, then the error chain from its root outwards', async () => {
    const { recovery } = managerWith(async () => ({ openCircuits: ['bank'], failingChecks: ['disk', 'dns'] }));
    const root = Object.assign(new Error('connect refused'), { code: 'ECONNREFUSED' });
    const error = new Error('no answer from the bank', { cause: new TypeError('fetch failed', { cause: root }) });
    expect(linesOf(await recovery.diagnose({ subject: 'a', error }))).toEqual([
      'circuit: circuit "bank" is open',
      'check: check "disk" fails',
      'check: check "dns" fails',
      'error: Error: connect refused (ECONNREFUSED)',
      'error: TypeError: fetch failed',
      'error: Error: no answer from the bank',
    ]);
  });

  test('of an aggregate every part, and each line once', async () => {
    const { recovery } = managerWith();
    const error = new AggregateError([new Error('one'), new Error('two'), new Error('one')], 'both failed');
    expect(linesOf(await recovery.diagnose({ subject: 'a', error }))).toEqual([
      'error: Error: one',
      'error: Error: two',
      'error: AggregateError: both failed',
    ]);
  });

  test('ten at most, and none with a secret in it', async () => {
    const parts = Array.from({ length: 20 }, (_, at) => new Error(`redis://me:hunter2@host-${at} is away`));
    const { recovery } = managerWith();
    const { causes } = await recovery.diagnose({ subject: 'a', error: new AggregateError(parts) });
    expect(causes).toHaveLength(10);
    expect(JSON.stringify(causes)).not.toContain('hunter2');
  });

  test('what was thrown need not be an error', async () => {
    const { recovery } = managerWith();
    expect(linesOf(await recovery.diagnose({ subject: 'a', error: 'it fell over' }))).toEqual(['error: it fell over']);
    expect(linesOf(await recovery.diagnose({ subject: 'a', error: { message: '' } }))).toHaveLength(1);
    expect(linesOf(await recovery.diagnose({ subject: 'a' }))).toEqual([]);
  });

  test('signals that cannot be had are reported, and left out', async () => {
    const { recovery, events } = managerWith(() => {
      throw new Error('no registry');
    });
    expect(linesOf(await recovery.diagnose({ subject: 'a', kind: 'crashed' }))).toEqual([]);
    expect(events).toEqual([
      { type: 'recovery.diagnosis-failed', subject: 'a', part: 'signals', error: 'no registry' },
    ]);
  });

  test('signals may have nothing to say', async () => {
    const { recovery, events } = managerWith(() => ({}));
    expect(linesOf(await recovery.diagnose({ subject: 'a', kind: 'crashed' }))).toEqual([]);
    expect(events).toEqual([]);
  });

  test('failures like it in the last minute, counted by those that were to be recovered', async () => {
    const { world, recovery } = managerWith();
    const fail = (subject: string, job: number) => ({ subject, error: new Error(`job ${job} fell over`) });
    const repeated = async () =>
      linesOf(await recovery.diagnose(fail('x', 9))).filter((line) => line.startsWith('repeated'));
    expect(await repeated()).toEqual([]);
    expect(await repeated()).toEqual([]); // To be diagnosed is not to fail.
    await recovery.recover(fail('a', 1));
    expect(await repeated()).toEqual(['repeated: 1 failure like it of 1 subject in the last minute']);
    await recovery.recover(fail('a', 2));
    await recovery.recover(fail('b', 3));
    await recovery.recover({ subject: 'c', error: new Error('something else') });
    expect(await repeated()).toEqual(['repeated: 3 failures like it of 2 subjects in the last minute']);
    await world.clock.advance(60_000);
    expect(await repeated()).toEqual([]);
  });
});

test('of recent failures a thousand are kept at most', () => {
  const recent = new RecentFailures(new VirtualClock());
  for (let failure = 0; failure < 1_001; failure++) recent.note(`${failure}`, 'x');
  expect(recent.like('x')).toEqual({ failures: 500, subjects: 500 });
});

describe('a fingerprint', () => {
  const at = (message: string, frames: readonly string[] = [], parts: object = {}) => {
    const error = Object.assign(new Error(message), parts);
    error.stack = [`Error: ${message}`, ...frames.map((frame) => `    at ${frame}`)].join('\n');
    return error;
  };

  test.each([
    ['numbers', 'job 12 took 4.5 s', 'job 7 took 100.25 s'],
    ['hexadecimal', 'object deadbeef01 at 0x00ff00aa', 'object 0123456789ab at 0x11111111'],
    ['UUIDs', 'no 0b7d3c1e-9f58-4c26-8a54-3f5d7f0a9e11', 'no ffffffff-0000-4c26-8a54-3f5d7f0a9e11'],
    ['paths', "open '/var/data/a.txt'", "open '/tmp/b/c.json'"],
    ['URLs', 'GET https://a.example/x?y=1 failed', 'GET http://b.example/ failed'],
  ])('is the same whatever %s are in the message', (_, one, other) => {
    expect(fingerprintOf(at(one))).toBe(fingerprintOf(at(other)));
    expect(fingerprintOf(at(one))).toMatch(/^[0-9a-f]{16}$/);
  });

  test('is the same wherever the package lies and whatever stands around its line', () => {
    const one = at('x', [
      'emit (node:events:5:1)',
      'load (/home/ann/app/node_modules/pg/a.js:1:2)',
      'save (/home/ann/app/src/store.ts:10:5)',
    ]);
    const other = at('x', ['save (file:///srv/app/src/store.ts:99:1)', 'main (/srv/app/src/main.ts:1:1)']);
    const windows = at('x', ['save (C:\\work\\app\\store.ts:3:4)']);
    expect(fingerprintOf(one)).toBe(fingerprintOf(other));
    expect(fingerprintOf(windows)).toBe(fingerprintOf(other));
  });

  test.each([
    ['message', at('the disk is full')],
    ['name', at('x', ['save (/a/store.ts:1:1)'], { name: 'QuotaError' })],
    ['code', at('x', ['save (/a/store.ts:1:1)'], { code: 'ENOSPC' })],
    ['function', at('x', ['load (/a/store.ts:1:1)'])],
    ['file', at('x', ['save (/a/cache.ts:1:1)'])],
  ])('is another for another %s', (_, error) => {
    expect(fingerprintOf(error)).not.toBe(fingerprintOf(at('x', ['save (/a/store.ts:1:1)'])));
  });

  test('is there for whatever was thrown, and not if nothing was', () => {
    expect(fingerprintOf('job 1 failed')).toBe(fingerprintOf('job 2 failed'));
    expect(fingerprintOf(null)).toMatch(/^[0-9a-f]{16}$/);
    expect(fingerprintOf({})).toMatch(/^[0-9a-f]{16}$/);
    expect(fingerprintOf(undefined)).toBeUndefined();
  });

  test('of a long message looks at its beginning only', () => {
    const page = 'a '.repeat(1_000_000);
    expect(fingerprintOf(at(`${page}1`))).toBe(fingerprintOf(at(`${page}b`)));
  });
});
