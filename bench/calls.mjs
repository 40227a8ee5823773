import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { CircuitBreaker } from '../dist/policies.js';
import { bareLoops, fail, one, refusalLoops, successLoops } from './call-loops.mjs';
import { compareLoops, interleave, median, microseconds, milliseconds } from './measure.mjs';
import * as rivals from './rival-call-loops.mjs';

const atMost = (limit, value, text) => ({ gate: `<= ${text}`, met: value <= limit });

/** Enough digits to see on which side of its gate a ratio lies. */
const fine = (ratio) => `${ratio.toFixed(ratio < 10 ? 2 : ratio < 100 ? 1 : 0)} x`;

async function successRows() {
  const cost = await compareLoops({ ...bareLoops, ...successLoops() });
  const over = (name) => cost(name, 'bare');
  const overWatched = cost('literal', 'watched');
  const row = (what, name) => ({ what, measured: fine(over(name)) });
  return [
    { ...row('retries.run(fn, { circuit }) / bare async call', 'literal'), ...atMost(4, over('literal'), '4 x') },
    { what: '... / one try/catch wrapper', measured: fine(overWatched), ...atMost(1.6, overWatched, '1.6 x') },
    {
      what: 'options object made once, policy.run(fn), wrapped function',
      measured: ['hoisted', 'policy', 'wrapped'].map((name) => fine(over(name))).join(', '),
    },
    row('one try/catch wrapper', 'watched'),
    { ...row('with an attempt timeout, signal unread', 'limited'), ...atMost(20, over('limited'), '20 x') },
    { ...row('with an attempt timeout, signal read', 'listening'), ...atMost(85, over('listening'), '85 x') },
  ];
}

/** Apart from ours: beside them a bare call takes longer, which would make our own ratios smaller than they are. */
async function rivalRows() {
  const cost = await compareLoops({ bare: bareLoops.bare, ...rivals.successLoops() });
  const row = (what, name) => ({ what, measured: fine(cost(name, 'bare')) });
  return [
    row('cockatiel wrap(retry, breaker)', 'cockatiel'),
    row('cockatiel wrap(retry, breaker, timeout)', 'cockatiel limited'),
    row('p-retry', 'p-retry'),
    row('opossum', 'opossum'),
    row('opossum in p-retry', 'opossum in p-retry'),
  ];
}

async function refusalRows() {
  const { bare, circuit, literal } = refusalLoops();
  const { opossum, cockatiel } = await rivals.refusalLoops();
  const cost = await compareLoops({ bare, circuit, literal, opossum, cockatiel });
  const row = (what, name) => ({ what, measured: fine(cost(name, 'bare')) });
  return [
    { ...row('open circuit.run(fn) / bare rejection', 'circuit'), ...atMost(2.2, cost('circuit', 'bare'), '2.2 x') },
    row('retries.run(fn, { circuit }), open', 'literal'),
    row('cockatiel, open', 'cockatiel'),
    row('opossum, open', 'opossum'),
  ];
}

/** Milliseconds of one failed call through a circuit that has just let `calls` others through. */
async function failedCall(run, calls) {
  for (let n = 0; n < calls; n++) await run(one);
  const took = [];
  for (let n = 0; n < 21; n++) {
    took.push(await milliseconds(() => run(fail).catch(() => {})));
    await run(one); // Failures in a row would open it.
  }
  return median(took);
}

function ourCircuit() {
  const circuit = new CircuitBreaker({ name: 'db' });
  return (call) => circuit.run(call);
}

async function failureRows() {
  const took = await interleave({
    few: () => failedCall(ourCircuit(), 100),
    many: () => failedCall(ourCircuit(), 100_000),
    'opossum few': () => failedCall(rivals.opossumCircuit(), 100),
    'opossum many': () => failedCall(rivals.opossumCircuit(), 100_000),
  });
  const growth = (many, few) =>
    `${fine(took[many] / took[few])} (${microseconds(took[few])}, ${microseconds(took[many])})`;
  return [
    {
      what: 'a failed call after 100,000 calls / after 100',
      measured: growth('many', 'few'),
      ...atMost(2, took.many / took.few, '2 x'),
    },
    { what: '... opossum', measured: growth('opossum many', 'opossum few') },
  ];
}

async function memoryRows() {
  const flags = ['--expose-gc', '--min-semi-space-size=256', '--max-semi-space-size=256'];
  const script = fileURLToPath(new URL('./call-memory.mjs', import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, [...flags, script]);
  const { bytes, idle } = JSON.parse(stdout);
  const each = (...names) => names.map((name) => `${bytes[name]} B`).join(', ');
  return [
    {
      what: 'memory per retries.run(fn, { circuit })',
      measured: each('literal'),
      ...atMost(850, bytes.literal, '850 B'),
    },
    { what: 'bare call, try/catch wrapper', measured: each('bare', 'watched') },
    { what: 'with an attempt timeout, signal unread, read', measured: each('limited', 'listening') },
    { what: 'cockatiel, with timeout', measured: each('cockatiel', 'cockatiel limited') },
    { what: 'p-retry, opossum, one in the other', measured: each('p-retry', 'opossum', 'opossum in p-retry') },
    {
      what: '10,000 idle circuits, memory each',
      measured: `${idle.ours.bytes} B; opossum ${idle.opossum.bytes} B`,
      ...atMost(1_000, idle.ours.bytes, '1,000 B'),
    },
    {
      what: '10,000 idle circuits, timers in all',
      measured: `${idle.ours.timers}; opossum ${idle.opossum.timers}`,
      ...atMost(1, idle.ours.timers, '1'),
    },
  ];
}

export async function rows() {
  return [
    ...(await successRows()),
    ...(await rivalRows()),
    ...(await refusalRows()),
    ...(await failureRows()),
    ...(await memoryRows()),
  ];
}
