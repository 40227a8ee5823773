/**
 * For tests of code that uses holdfast, and of adapters that hosts bring: a clock that is moved by hand, chance that can
 * be repeated, a store in which things go wrong, the contract every storage adapter must keep, and a kit that kills your
 * transactions at every event. Needs Vitest.
 *
 * @packageDocumentation
 */
export type { ChaosFault, ChaosFaultKind, ChaosOptions } from './testing/chaos/chaos-options.js';
export { type ChaosStorage, chaosStorage } from './testing/chaos-storage.js';
export type { StorageNeed } from './testing/contract/rule.js';
export type { StoreModule } from './testing/contract/store-process.js';
export type {
  CrashableTransaction,
  CrashEnding,
  CrashOptions,
  CrashProcess,
  CrashReport,
  CrashScenario,
  CrashViolation,
} from './testing/crash/crash-scenario.js';
export type { CrashWorld, EffectOptions, WorldEvent } from './testing/crash/crash-world.js';
export { crashMatrix } from './testing/crash-matrix.js';
export { type SeededRandom, seededRandom } from './testing/seeded-random.js';
export {
  type StorageContractOptions,
  type StorageFactory,
  type StorageUnderTest,
  storageContract,
} from './testing/storage-contract.js';
export { VirtualClock, type VirtualClockOptions } from './testing/virtual-clock.js';
