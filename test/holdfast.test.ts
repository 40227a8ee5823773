import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ClosedError, InvalidInputError } from '../src/base/errors.js';
import { CheckpointManager } from '../src/checkpoints/checkpoint-manager.js';
import { createHoldfast, type HoldfastEvent } from '../src/holdfast.js';
import type { AuditEntry } from '../src/recovery/audit-log.js';
import { StorageError } from '../src/storage/adapter.js';
import { fileStorage } from '../src/storage/log/file-storage.js';
import { memoryStorage } from '../src/storage/memory.js';
import { VirtualClock } from '../src/testing/virtual-clock.js';
import { rejectionOf } from './support/deferred.js';

const LEASE_MS = 3_000;

async function read<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

describe('createHoldfast', () => {
  test('needs nothing but a storage', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'holdfast-root-'));
    const storage = fileStorage(directory);
    const events: HoldfastEvent['type'][] = [];
    {
      await using holdfast = createHoldfast<{ step: number }>({ storage, emit: ({ type }) => events.push(type) });
      const result = await holdfast.run('research-42', async (session) => {
        const state = (await session.restore())?.state ?? { step: 0 };
        await session.checkpoint({ step: state.step + 1 });
        const page = await session.step('fetch', () => 'page');
        const length = await session.call(() => page.length);
        return { page, length };
      });
      expect(result).toEqual({ page: 'page', length: 4 });
      expect(await holdfast.sessions.get('research-42')).toMatchObject({ status: 'completed' });
    }
    expect(events).toEqual(
      expect.arrayContaining([
        'session.opened',
        'checkpoint.saved',
        'transaction.done',
        'session.completed',
        'node.left',
      ]),
    );
    await storage.put('still', Buffer.from('open')); // The host's own: it closes it.
    await storage.close();
    await rm(directory, { recursive: true });
  });

  test('writes nothing before it is used, and one heartbeat for all parts afterwards', async () => {
    const storage = memoryStorage();
    const clock = new VirtualClock();
    const holdfast = createHoldfast({ storage, clock, leaseMs: LEASE_MS });
    await clock.advance(LEASE_MS);
    expect((await storage.list('')).entries).toEqual([]);
    const session = await holdfast.sessions.open('s');
    await holdfast.transactions.run('t', (tx) => tx.step('one', () => 1));
    await session.step('two', () => 2);
    expect((await storage.list('nodes/')).entries).toHaveLength(1);
    await holdfast.close();
    expect((await storage.list('nodes/')).entries).toEqual([]);
    expect(clock.pending).toBe(0);
  });

  test('keeps 20 checkpoints of each session unless told otherwise', async () => {
    const holdfast = createHoldfast<number>({ storage: memoryStorage() });
    const generous = createHoldfast<number>({ storage: memoryStorage(), checkpoints: { retention: { keepLast: 25 } } });
    for (let step = 1; step <= 30; step++) {
      await holdfast.checkpoints.save('s', step);
      await generous.checkpoints.save('s', step);
    }
    expect(await read(holdfast.checkpoints.list('s'))).toHaveLength(20);
    expect(await read(generous.checkpoints.list('s'))).toHaveLength(25);
  });

  test('keeps what was decided in the audit log, signed if there is a key', async () => {
    const storage = memoryStorage();
    const auditKey = new Uint8Array(32).fill(9);
    await createHoldfast({ storage, clock: new VirtualClock(), leaseMs: LEASE_MS }).sessions.open('s');
    const clock = new VirtualClock();
    const holdfast = createHoldfast({ storage, clock, leaseMs: LEASE_MS, auditKey });
    await holdfast.sessions.interrupted();
    await clock.advance(LEASE_MS * 1.1);
    await holdfast.run('s', () => 'done');
    await holdfast.close();
    const entries: AuditEntry[] = await read(holdfast.audit.list());
    expect(entries.map(({ type }) => type)).toEqual([
      'session.taken-over',
      'recovery.started',
      'recovery.rung',
      'recovery.finished',
    ]);
    expect(entries[0]?.data).toMatchObject({ session: 's', failure: 'crashed' });
    expect(await holdfast.audit.verify()).toEqual({ entries: 4, isIntact: true, isSigned: true });
  });

  test('says when a decision could not be kept, and goes on', async () => {
    const inner = memoryStorage();
    const storage = {
      ...inner,
      put: (...given: Parameters<typeof inner.put>) =>
        given[0].startsWith('audit/') ? Promise.reject(new StorageError('The store is full.')) : inner.put(...given),
    };
    const clock = new VirtualClock();
    await createHoldfast({ storage: inner, clock: new VirtualClock(), leaseMs: LEASE_MS }).sessions.open('s');
    const failed: HoldfastEvent[] = [];
    const holdfast = createHoldfast({ storage, clock, leaseMs: LEASE_MS });
    holdfast.events.on('audit.failed', (event) => failed.push(event));
    await holdfast.sessions.interrupted();
    await clock.advance(LEASE_MS * 1.1);
    expect(await holdfast.run('s', () => 'done')).toBe('done');
    await holdfast.close();
    expect(failed).toHaveLength(4);
    expect(failed[0]).toMatchObject({ event: 'session.taken-over', error: 'The store is full.' });
  });

  test('does what is critical, and nothing else, while its heartbeats fail', async () => {
    const inner = memoryStorage();
    let isDown = false;
    const storage = {
      ...inner,
      put: (...given: Parameters<typeof inner.put>) =>
        isDown ? Promise.reject(new StorageError('The store is down.')) : inner.put(...given),
    };
    const clock = new VirtualClock();
    const holdfast = createHoldfast({ storage, clock, leaseMs: LEASE_MS });
    await holdfast.sessions.open('s');
    isDown = true;
    await clock.advance(LEASE_MS * 0.4);
    expect(holdfast.degradation.reasons).toEqual(['storage']);
    const normal = holdfast.degradation.policy('normal').run(() => 'made');
    expect(await holdfast.degradation.policy('critical').run(() => 'made')).toBe('made');
    isDown = false;
    await clock.advance(LEASE_MS * 0.2);
    expect(holdfast.degradation.reasons).toEqual([]);
    expect(await normal).toBe('made');
    await holdfast.close();
  });

  test('refuses options that it does not know, also those of its parts', () => {
    const storage = memoryStorage();
    expect(() => createHoldfast({} as never)).toThrow(InvalidInputError);
    expect(() => createHoldfast({ storage, leaseMs: 1 })).toThrow(/options\.leaseMs/);
    expect(() => createHoldfast({ storage, stroage: 1 } as never)).toThrow(/stroage/);
    expect(() => createHoldfast({ storage, sessions: { maxSesions: 3 } } as never)).toThrow(/maxSesions/);
  });

  test.each([
    ['options.checkpoints.retain', { checkpoints: { retain: 5 } }],
    ['options.checkpoints', { checkpoints: new CheckpointManager({ storage: memoryStorage() }) as object }],
    ['options.circuits', { circuits: [] as object }],
    ['options.auditKey', { auditKey: new Uint8Array(5) }],
    ['options.checkpoints.retention.keepLast', { checkpoints: { retention: { keepLast: 'x' } } }],
    ['options.retries.maxRetries', { retries: { maxRetries: -1 } }],
    ['options.retries.maxRetry', { retries: { maxRetry: 1 } }],
    ['options.circuits.maxCircuit', { circuits: { maxCircuit: 1 } }],
    ['options.transactions.codec', { transactions: { codec: [] } }],
    ['options.sessions.maxSesions', { sessions: { maxSesions: 1 } }],
    ['options.recovery.bugdet', { recovery: { bugdet: {} } }],
    ['options.recovery.budget.attempts', { recovery: { budget: { attempts: -1 } } }],
    ['options.checkpoints', { checkpoints: 5 }],
  ])('names the option that cannot be used by the path that the host wrote: %s', (path, options) => {
    const make = () => createHoldfast({ storage: memoryStorage(), ...options } as never);
    expect(make).toThrow(expect.objectContaining({ path, message: expect.stringMatching(`^${path}: `) }));
  });

  test.each([
    ['options.sessions.steps', 'leave it out', { sessions: { steps: 1 } }],
    ['options.sessions.prepare', 'leave it out', { sessions: { prepare: () => {} } }],
    ['options.sessions.checkpoints', 'leave it out', { sessions: { checkpoints: {} } }],
    ['options.transactions.policies', 'leave it out', { transactions: { policies: {} } }],
    ['options.checkpoints.storage', 'as options.storage', { checkpoints: { storage: memoryStorage() } }],
    ['options.circuits.clock', 'as options.clock', { circuits: { clock: new VirtualClock() } }],
    ['options.sessions.leaseMs', 'as options.leaseMs', { sessions: { leaseMs: 1_000 } }],
  ])('refuses %s rather than ignore it, and says what to do', (path, advice, options) => {
    const make = () => createHoldfast({ storage: memoryStorage(), ...options } as never);
    expect(make).toThrow(expect.objectContaining({ path, message: expect.stringContaining(advice) }));
  });

  test('takes an option of a part that is undefined for one that is left out', () => {
    expect(() => createHoldfast({ storage: memoryStorage(), sessions: { steps: undefined } } as never)).not.toThrow();
  });

  test('closes every part, whatever becomes of the others, and throws the first error', async () => {
    const inner = memoryStorage();
    let isDown = false;
    const failing = () => Promise.reject(new StorageError('The store is down.'));
    const storage = {
      ...inner,
      put: (...given: Parameters<typeof inner.put>) => (isDown ? failing() : inner.put(...given)),
      delete: (...given: Parameters<typeof inner.delete>) => (isDown ? failing() : inner.delete(...given)),
    };
    const clock = new VirtualClock();
    const holdfast = createHoldfast({ storage, clock, leaseMs: LEASE_MS });
    await holdfast.sessions.open('s');
    isDown = true;
    expect(await rejectionOf(holdfast.close())).toMatchObject({ message: 'The store is down.' });
    expect(await rejectionOf(holdfast.retries.run(() => 1))).toBeInstanceOf(ClosedError);
  });

  test('does nothing more once it is closed', async () => {
    const holdfast = createHoldfast({ storage: memoryStorage() });
    await holdfast.close();
    await holdfast.close();
    const closed = expect.objectContaining({ code: 'HOLDFAST_CLOSED', what: 'The Holdfast' });
    expect(await rejectionOf(holdfast.run('s', () => 1))).toEqual(closed);
    expect(await rejectionOf(holdfast.rescue(() => 1))).toEqual(closed);
    expect(await rejectionOf(holdfast.retries.run(() => 1))).toBeInstanceOf(ClosedError);
    expect(await rejectionOf(holdfast.transactions.run('t', () => 1))).toBeInstanceOf(ClosedError);
  });
});
