import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, inject, test } from 'vitest';
import { fileStorage } from '../../src/storage/log/file-storage.js';
import { killedProcessRules } from '../../src/testing/contract/killed-processes.js';
import { processRules } from '../../src/testing/contract/processes.js';
import type { StorageUnderTest } from '../../src/testing/storage-contract.js';
import { tryNamed, turn } from './broken-stores.js';

/** How long a store that holds others up is waited for here, instead of half a minute. */
const SOON_MS = 1_000;
const module = new URL('./faulty-file-store.mjs', import.meta.url);

/** A file store of which each other process has a fault. This process has none, and minds the lock of the others. */
async function faultyUnderTest(fault: string): Promise<StorageUnderTest> {
  expect(inject('buildFailure') ?? '').toBe('');
  const directory = await mkdtemp(join(tmpdir(), 'holdfast-faulty-'));
  return {
    open() {
      const honest = fileStorage(directory, { durability: 'process' });
      const put: typeof honest.put = async (...call) => {
        while (existsSync(join(directory, 'lock'))) await turn();
        return honest.put(...call);
      };
      return { ...honest, capabilities: honest.capabilities, put };
    },
    destroy: () => rm(directory, { recursive: true }),
    inProcess: { module, argument: JSON.stringify({ directory, fault }) },
  };
}

const rules = [...processRules, ...killedProcessRules(SOON_MS)];

test('the contract is kept by the same processes without a fault', async () => {
  const rule = 'no process sees one half of another’s batch without the other';
  await expect(tryNamed(rule, () => faultyUnderTest('none'))).resolves.toBeUndefined();
});

test.each([
  [
    'checks and then writes',
    'of what 2 processes add by compare-and-swap nothing is lost and nothing is there twice',
    'to deeply equal',
  ],
  [
    'checks and then writes',
    'of what 4 processes add by compare-and-swap nothing is lost and nothing is there twice',
    'to deeply equal',
  ],
  [
    'checks and then writes',
    'of 4 processes that create one key at once, exactly one wins and the others conflict',
    'to deeply equal',
  ],
  [
    'reads from a cache',
    'what one process was told is written or deleted, another sees at once, by get and by list',
    'to be undefined',
  ],
  ['does a batch one by one', 'no process sees one half of another’s batch without the other', 'to deeply equal'],
  [
    'acknowledges before it writes',
    'after kill -9 every acknowledged write is there, whole, and no other is there in part',
    'absent, and was acknowledged',
  ],
  [
    'writes in two parts',
    'after kill -9 every acknowledged write is there, whole, and no other is there in part',
    'other bytes',
  ],
  [
    'does a batch one by one',
    'after kill -9 every acknowledged batch is there, whole, and no other is there in part',
    'whole, absent',
  ],
  [
    'refuses every write',
    'after kill -9 every acknowledged write is there, whole, and no other is there in part',
    'read-only',
  ],
  [
    'writes more than it is told',
    'after kill -9 every acknowledged write is there, whole, and no other is there in part',
    'was never written',
  ],
  [
    'leaves its lock behind',
    'a process killed in the middle of its writes holds up nobody, and its writes happened once at most',
    'A write after another process was killed took more than',
  ],
])('the contract is broken by processes of which each %s: %s', async (fault, rule, finding) => {
  const found = await tryNamed(rule, () => faultyUnderTest(fault), rules).catch((error) => error);
  expect(`${found?.message}\n${JSON.stringify(found?.actual)}`).toContain(finding);
});
