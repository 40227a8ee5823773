import { describe, expect, test } from 'vitest';
import { ClosedError, CorruptionError, InvalidInputError, LimitError } from '../../src/base/errors.js';
import { Bulkhead, BulkheadFullError } from '../../src/policies/bulkhead.js';
import { CircuitOpenError } from '../../src/policies/circuit-open-error.js';
import { RetryError } from '../../src/policies/retry-error.js';
import { TimeoutError } from '../../src/policies/timeout.js';
import { UnserializableError } from '../../src/records/codec.js';
import { BusyError, FencedError } from '../../src/records/lease.js';
import { diagnose } from '../../src/recovery/diagnosis.js';
import type { Failure, FailureRule } from '../../src/recovery/failure.js';
import { defaultRules } from '../../src/recovery/failure-rules.js';
import { RecentFailures } from '../../src/recovery/recent-failures.js';
import { ConflictError, NoSpaceError, OutcomeUnknownError, StorageError } from '../../src/storage/adapter.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';
import { RolledBackError, StuckError } from '../../src/transactions/transaction-errors.js';
import { RecoveryWorld } from './recovery-world.js';

const withCode = (code: string) => Object.assign(new Error(`it failed with ${code}`), { code });
const withStatus = (status: number) => Object.assign(new Error(`HTTP ${status}`), { status });
const named = (name: string) => Object.assign(new Error('what'), { name });
const because = (cause: unknown, error: Error = new Error('it failed')) => Object.assign(error, { cause });

function diagnosed(failure: Partial<Failure>, rules: readonly FailureRule[] = defaultRules) {
  const faults: unknown[] = [];
  const recent = new RecentFailures(new VirtualClock());
  const onFault = (part: string, error: unknown) => faults.push([part, (error as Error).message]);
  const parts = { rules, signals: undefined, recent, onFault };
  return diagnose({ subject: 'a', ...failure }, parts).then((diagnosis) => ({ ...diagnosis, faults }));
}

const bulkheadFull = new BulkheadFullError(new Bulkhead({ maxRunning: 1 }).stats(), 0);
const retryError = new RetryError('exhausted', [], { cause: withCode('ENOSPC'), why: 'it is full', operationId: '1' });
const rolledBack = new RolledBackError('1', { cause: withStatus(401), compensated: [], leftBehind: [] });

describe('the default rules know', () => {
  test.each([
    ['ECONNRESET', withCode('ECONNRESET'), 'transient'],
    ['EAI_AGAIN', withCode('EAI_AGAIN'), 'transient'],
    ['ETIMEDOUT', withCode('ETIMEDOUT'), 'timeout'],
    ['ENOTFOUND', withCode('ENOTFOUND'), 'dependency-down'],
    ['ECONNREFUSED', withCode('ECONNREFUSED'), 'dependency-down'],
    ['ENOSPC', withCode('ENOSPC'), 'resource-exhaustion'],
    ['EMFILE', withCode('EMFILE'), 'resource-exhaustion'],
    ['EACCES', withCode('EACCES'), 'auth'],
    ['ERR_ASSERTION', withCode('ERR_ASSERTION'), 'bug'],
    ['HTTP 400', withStatus(400), 'invalid-input'],
    ['HTTP 401', withStatus(401), 'auth'],
    ['HTTP 403', withStatus(403), 'auth'],
    ['HTTP 404', withStatus(404), 'invalid-input'],
    ['HTTP 408', withStatus(408), 'timeout'],
    ['HTTP 422', withStatus(422), 'invalid-input'],
    ['HTTP 425', withStatus(425), 'transient'],
    ['HTTP 429', withStatus(429), 'rate-limited'],
    ['HTTP 500', withStatus(500), 'dependency-down'],
    ['HTTP 503', withStatus(503), 'dependency-down'],
    ['HTTP 504', withStatus(504), 'timeout'],
    ['HTTP 500 of axios', { response: { status: 500 } }, 'dependency-down'],
    ['a TimeoutError of anybody', named('HeadersTimeoutError'), 'timeout'],
    ['an AbortError of anybody', named('AbortError'), 'cancelled'],
    ['CircuitOpenError', new CircuitOpenError('db', 10), 'dependency-down'],
    ['BulkheadFullError', bulkheadFull, 'rate-limited'],
    ['TimeoutError', new TimeoutError(10), 'timeout'],
    ['CorruptionError', new CorruptionError('x', 'key'), 'corrupted'],
    ['NoSpaceError', new NoSpaceError('/disk'), 'resource-exhaustion'],
    ['LimitError', new LimitError('x', 'maxBytes', 1), 'resource-exhaustion'],
    ['BusyError', new BusyError('it', 'node'), 'transient'],
    ['ConflictError', new ConflictError('key', undefined), 'transient'],
    ['OutcomeUnknownError', new OutcomeUnknownError('key'), 'transient'],
    ['FencedError', new FencedError('it'), 'superseded'],
    ['ClosedError', new ClosedError('it'), 'cancelled'],
    ['InvalidInputError', new InvalidInputError('x', 'options'), 'invalid-input'],
    ['UnserializableError', new UnserializableError('$', 'x'), 'bug'],
    ['TypeError', new TypeError('x is not a function'), 'bug'],
    ['RangeError', new RangeError('too long'), 'bug'],
  ])('%s', async (_, error, kind) => {
    await expect(diagnosed({ error })).resolves.toMatchObject({ kind, faults: [] });
  });

  test.each([
    ['the cause of an error that says nothing', because(withCode('ECONNRESET')), 'transient'],
    ['the cause of a cause', because(because(withStatus(429))), 'rate-limited'],
    ['what `fetch` throws', because(withCode('ECONNREFUSED'), new TypeError('fetch failed')), 'dependency-down'],
    ['what a retry gave up on', retryError, 'resource-exhaustion'],
    ['why a transaction was rolled back', rolledBack, 'auth'],
    ['why a storage failed', new StorageError('x', { cause: withCode('EMFILE') }), 'resource-exhaustion'],
    ['the outermost error that says something', because(withStatus(400), withCode('ETIMEDOUT')), 'timeout'],
    ['a bug in a cause', because(new ReferenceError('x is not defined')), 'bug'],
    [
      'the gravest part of an aggregate',
      new AggregateError([withStatus(429), withCode('ENOSPC'), withStatus(500)]),
      'resource-exhaustion',
    ],
    [
      'the part of an aggregate that says something',
      new AggregateError([new Error('x'), withStatus(429)]),
      'rate-limited',
    ],
    ['of equals in an aggregate the first', new AggregateError([withStatus(504), withStatus(503)]), 'timeout'],
    ['one that stays before one that passes', new AggregateError([withStatus(503), withStatus(404)]), 'invalid-input'],
  ])('%s', async (_, error, kind) => {
    await expect(diagnosed({ error })).resolves.toMatchObject({ kind, faults: [] });
  });

  test.each([
    ['crashed', 'major', false],
    ['disconnected', 'minor', true],
    ['frozen', 'minor', false],
    ['corrupted', 'major', false],
    ['transient', 'minor', true],
    ['bug', 'major', false],
    ['cancelled', 'none', false],
    ['superseded', 'none', false],
  ])('the kind %s, which is %s', async (kind, severity, transient) => {
    await expect(diagnosed({ kind, error: withStatus(404) })).resolves.toMatchObject({ kind, severity, transient });
  });

  test('a kind of the host is called what it is, and judged by its error', async () => {
    const failure = { kind: 'payment-stuck', error: withCode('ETIMEDOUT') };
    await expect(diagnosed(failure)).resolves.toMatchObject({
      kind: 'payment-stuck',
      severity: 'minor',
      transient: true,
    });
  });
});

describe('what no rule knows', () => {
  test.each([
    ['an error of no known kind', { error: new Error('x') }, 'unknown'],
    ['a stuck transaction', { error: new StuckError('1', { reason: 'crash-loop' }) }, 'unknown'],
    ['HTTP 200', { error: withStatus(200) }, 'unknown'],
    ['a text', { error: 'it failed' }, 'unknown'],
    ['nothing', {}, 'unknown'],
    ['null', { error: null }, 'unknown'],
    ['an error that causes itself', { error: because(undefined) }, 'unknown'],
    ['a kind of the host', { kind: 'payment-stuck' }, 'payment-stuck'],
    ['a kind that every object has', { kind: 'toString' }, 'toString'],
  ])('%s is major, and not transient', async (_, failure, kind) => {
    const error = (failure as Failure).error as { cause?: unknown } | undefined | null;
    if (error && typeof error === 'object' && 'cause' in error) error.cause = error;
    await expect(diagnosed(failure)).resolves.toMatchObject({ kind, severity: 'major', transient: false, faults: [] });
  });

  test('an error that cannot be looked at is no exception', async () => {
    const hostile = new Proxy(new Error('x'), {
      get: () => {
        throw new Error('hands off');
      },
    });
    await expect(diagnosed({ error: hostile })).resolves.toMatchObject({ kind: 'unknown', faults: [] });
  });

  test('nor is one that makes up ever more causes', async () => {
    const endless = (): object => ({
      get cause() {
        return endless();
      },
      get errors() {
        return [endless(), endless()];
      },
    });
    await expect(diagnosed({ error: endless() })).resolves.toMatchObject({ kind: 'unknown', faults: [] });
  });
});

describe('rules of the host', () => {
  const failure = { kind: 'payment-stuck', error: withStatus(500) };

  test('go before the default ones where they stand before them, and the first answer counts', async () => {
    const asked: string[] = [];
    const rules: FailureRule[] = [
      () => void asked.push('first'),
      async ({ kind }) => ({ kind: kind ?? '', severity: 'catastrophic', causes: ['the bank is closed'] }),
      () => void asked.push('third'),
      ...defaultRules,
    ];
    await expect(diagnosed(failure, rules)).resolves.toMatchObject({
      kind: 'payment-stuck',
      severity: 'catastrophic',
      transient: false,
      causes: [{ source: 'rule', what: 'the bank is closed' }, { source: 'error' }],
    });
    expect(asked).toEqual(['first']);
  });

  test('need not say how severe it is', async () => {
    await expect(diagnosed(failure, [() => ({ kind: 'x', transient: true })])).resolves.toMatchObject({
      severity: 'minor',
    });
    await expect(diagnosed(failure, [() => ({ kind: 'x' })])).resolves.toMatchObject({ severity: 'major' });
  });

  test.each([
    ['a throw', () => Promise.reject(new Error('no database')), 'no database'],
    ['no kind', () => ({}), 'A rule answered {}'],
    ['an empty kind', () => ({ kind: '' }), 'A rule answered'],
    ['a severity there is not', () => ({ kind: 'x', severity: 'bad' }), 'A rule answered'],
    ['a transient that is no boolean', () => ({ kind: 'x', transient: 1 }), 'A rule answered'],
    ['causes that are no lines', () => ({ kind: 'x', causes: [1] }), 'A rule answered'],
    ['causes that are no list', () => ({ kind: 'x', causes: 'y' }), 'A rule answered'],
    ['null', () => null, 'A rule answered null'],
  ])('that fail are reported, and the next is asked: %s', async (_, rule, message) => {
    const { kind, faults } = await diagnosed(failure, [rule as unknown as FailureRule, ...defaultRules]);
    expect(kind).toBe('payment-stuck');
    expect(faults).toEqual([['rule', expect.stringContaining(message)]]);
  });

  test('that fail do not keep a subject from being recovered', async () => {
    const world = new RecoveryWorld();
    const rules = [
      () => {
        throw new Error('no database at mysql://me:hunter2@db');
      },
    ];
    const { recovery, events } = world.process({ ladder: [world.rung('backup')], rules });
    await expect(recovery.recover({ subject: 'a' })).resolves.toMatchObject({ outcome: 'recovered' });
    expect(events[0]).toEqual({
      type: 'recovery.diagnosis-failed',
      subject: 'a',
      part: 'rule',
      error: 'no database at mysql://***@db',
    });
  });
});
