import { vi } from 'vitest';
import { playInFull } from './full-lane.js';
import { simulatedRows } from './simulated-rows.js';

// Each simulated process is on a host of its own, where no other can look for it.
vi.mock('../../src/storage/host-process.js', () => ({ ownProcess: () => undefined, isProcessGone: () => false }));

playInFull(simulatedRows);
