// node --expose-gc --min-semi-space-size=256 --max-semi-space-size=256 bench/call-memory.mjs: prints figures as JSON.
// A process of its own, in which no garbage is collected half-way and nothing else goes on.
import { createHook } from 'node:async_hooks';
import { CircuitRegistry } from '../dist/policies.js';
import { bareLoops, one, successLoops } from './call-loops.mjs';
import { median } from './measure.mjs';
import * as rivals from './rival-call-loops.mjs';

const CALLS = 10_000;
const CIRCUITS = 10_000;
const names = Array.from({ length: CIRCUITS }, (_, n) => `host-${n}.example`);

/** Bytes that one call leaves to the garbage collector. */
async function bytesPerCall(loop) {
  for (let round = 0; round < 5; round++) await loop(CALLS);
  const bytes = [];
  for (let round = 0; round < 7; round++) {
    global.gc();
    const before = process.memoryUsage().heapUsed;
    await loop(CALLS);
    bytes.push((process.memoryUsage().heapUsed - before) / CALLS);
  }
  return Math.round(median(bytes));
}

/** What a circuit costs that served one call and now waits: bytes, and timers, unref'd ones included. */
async function idleCircuits(serve) {
  const timers = new Set();
  const hook = createHook({
    init: (id, type) => type === 'Timeout' && timers.add(id),
    destroy: (id) => timers.delete(id),
  });
  const before = settledBytes();
  hook.enable();
  for (const name of names) await serve(name);
  hook.disable();
  const bytes = Math.round((settledBytes() - before) / CIRCUITS);
  return { bytes, timers: timers.size };
}

function settledBytes() {
  global.gc();
  global.gc();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

const registry = new CircuitRegistry();
const loops = { ...bareLoops, ...successLoops(), ...rivals.successLoops() };
const bytes = {};
for (const [name, loop] of Object.entries(loops)) bytes[name] = await bytesPerCall(loop);
const idle = {
  ours: await idleCircuits((name) => registry.get(name).run(one)),
  opossum: await idleCircuits(rivals.opossumCircuits()),
};
console.log(JSON.stringify({ bytes, idle }));
process.exit(registry.size === CIRCUITS ? 0 : 1); // Read after measuring, so that nothing of it was garbage by then.
