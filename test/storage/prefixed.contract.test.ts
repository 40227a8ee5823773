import { describe, expect, test } from 'vitest';
import type { StorageAdapter } from '../../src/storage/adapter.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { prefixed } from '../../src/storage/prefixed.js';
import type { StorageNeed } from '../../src/testing/contract/rule.js';
import { type StorageFactory, storageContractRules, tryRule } from '../../src/testing/storage-contract.js';
import { filesIn, overFiles, overMemory, watchable, withoutBatch } from './inner-stores.js';

/** What a room cannot keep because of its prefix. */
const LONGEST_KEYS = 'keys of 512 characters are kept, also when only the last one differs';

/** The whole contract but for the longest keys. `lacks` is as in `storageContract`. */
function roomContract(name: string, factory: StorageFactory, lacks: readonly StorageNeed[]): void {
  const rules = storageContractRules.filter(
    ({ name, needs = [] }) => name !== LONGEST_KEYS && !needs.some((need) => lacks.includes(need)),
  );
  describe(`storage contract: ${name}`, () => {
    test.each(rules)('$name', { timeout: 90_000 }, async (rule) => {
      expect(await tryRule(rule, factory)).toBeUndefined();
    });
  });
}

const room = (store: StorageAdapter) => prefixed(store, 'tenants/a');

const HOOKS = ['processes', 'damage', 'interrupt'] as const;

roomContract('a room in memory', () => overMemory(room), ['watch', 'durability', ...HOOKS]);
roomContract('a room in memory that is watched', () => {
  const shared = watchable(memoryStorage());
  return { open: () => room(shared) };
}, ['durability', ...HOOKS]);
roomContract('a room in memory without batches', () => overMemory((memory) => room(withoutBatch(memory))), [
  'watch',
  'atomicBatch',
  'durability',
  ...HOOKS,
]);
roomContract('a room in a room of files', () => overFiles((folder) => prefixed(room(filesIn(folder)), 'a/')), [
  'watch',
  ...HOOKS,
]);
