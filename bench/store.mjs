import { mkdtemp, open, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CheckpointManager, fileStorage } from '../dist/index.js';
import { interleave, median, megabytes, milliseconds, ms, perSecond, throughput, times } from './measure.mjs';

const value = Buffer.alloc(2048, 'v');

/** The careful way to keep a file per key: draft, fsync, rename, fsync of the directory. */
async function replaceFile(directory, name, bytes) {
  const draft = join(directory, `${name}.draft`);
  const file = await open(draft, 'w');
  await file.writeFile(bytes);
  await file.sync();
  await file.close();
  await rename(draft, join(directory, name));
  const entry = await open(directory, 'r');
  await entry.sync();
  await entry.close();
}

/** An agent's state of about `sizeBytes`: chat messages with tool results, and a plan. */
export function agentState(sizeBytes, seed = 0) {
  const messages = [];
  const text = 'The tool returned 42 rows; three of them name the order that the user asked for. ';
  for (let bytes = 0, n = 0; bytes < sizeBytes; n++, bytes += 560) {
    messages.push({
      id: `m${seed}-${n}`,
      role: n % 2 ? 'assistant' : 'tool',
      content: text.repeat(5),
      tokens: 97 + n,
      at: n * 1000,
    });
  }
  return { goal: 'find the order', plan: { done: ['search'], next: ['answer', 'confirm'] }, messages };
}

async function withDirectory(run) {
  const directory = await mkdtemp(join(tmpdir(), 'holdfast-bench-'));
  try {
    return await run(directory);
  } finally {
    await rm(directory, { recursive: true });
  }
}

async function putRows() {
  return withDirectory(async (directory) => {
    const store = fileStorage(join(directory, 'store'), { compactAtBytes: 64 * 1024 * 1024 });
    await store.open();
    const cases = {};
    for (const callers of [1, 64, 256]) {
      cases[`log ${callers}`] = () => throughput(callers, (caller) => store.put(`key/${caller}`, value));
      cases[`file ${callers}`] = () => throughput(callers, (caller) => replaceFile(directory, `key-${caller}`, value));
    }
    const rate = await interleave(cases);
    await store.close();
    const row = (callers) => ({
      what: `durable 2 KB puts, ${callers} at once`,
      measured: `${perSecond(rate[`log ${callers}`])}; file per key ${perSecond(rate[`file ${callers}`])}`,
    });
    const overFiles = rate['log 64'] / rate['file 64'];
    const overOne = rate['log 256'] / rate['log 1'];
    return [
      row(1),
      row(64),
      row(256),
      { what: '64 at once / file per key', measured: times(overFiles), gate: '>= 5 x', met: overFiles >= 5 },
      { what: '256 at once / one at a time', measured: times(overOne), gate: '>= 20 x', met: overOne >= 20 },
    ];
  });
}

async function saveRows() {
  return withDirectory(async (directory) => {
    const storage = fileStorage(join(directory, 'store'), { compactAtBytes: 256 * 1024 * 1024 });
    const checkpoints = new CheckpointManager({ storage });
    const small = agentState(2_000);
    const cases = {};
    for (const callers of [1, 64, 256]) {
      cases[`save ${callers}`] = () => throughput(callers, (caller) => checkpoints.save(`agent-${caller}`, small));
      cases[`file ${callers}`] = () => {
        return throughput(callers, (caller) => replaceFile(directory, `agent-${caller}`, JSON.stringify(small)));
      };
    }
    const rate = await interleave(cases);
    await storage.close();
    const overFiles = rate['save 64'] / rate['file 64'];
    const overOne = rate['save 256'] / rate['save 1'];
    return [
      {
        what: 'checkpoint saves of 2 KB, 1 / 64 / 256 at once',
        measured: [1, 64, 256].map((n) => perSecond(rate[`save ${n}`])).join(', '),
      },
      { what: '64 saves at once / file per key', measured: times(overFiles), gate: '>= 5 x', met: overFiles >= 5 },
      { what: '256 saves at once / one at a time (bound by encoding and hashing)', measured: times(overOne) },
    ];
  });
}

async function readRows() {
  return withDirectory(async (directory) => {
    const storage = fileStorage(directory);
    await Promise.all(
      Array.from({ length: 1_000 }, (_, n) => storage.put(`list/${String(n).padStart(4, '0')}`, value)),
    );
    const checkpoints = new CheckpointManager({ storage });
    for (let n = 0; n < 1_000; n++) await checkpoints.save('listed', { n });
    const gets = await interleave({
      get: () => throughput(1, (_, n) => storage.get(`list/${String(n % 1_000).padStart(4, '0')}`)),
    });
    const lists = await interleave({
      keys: () => milliseconds(() => storage.list('list/', { limit: 1_000 })),
      infos: () =>
        milliseconds(async () => {
          for await (const _ of checkpoints.list('listed'));
        }),
    });
    await storage.close();
    return [
      { what: 'get of 2 KB, proved', measured: `${(1e6 / gets.get).toFixed(1)} us` },
      { what: 'list of 1,000 keys', measured: ms(lists.keys) },
      { what: 'list of 1,000 checkpoints', measured: ms(lists.infos) },
    ];
  });
}

async function openRow(valueBytes, what) {
  return withDirectory(async (directory) => {
    const count = Math.ceil((100 * 1024 * 1024) / valueBytes);
    const filling = fileStorage(directory, { compactAtBytes: 1024 ** 3 });
    const filler = Buffer.alloc(valueBytes, 'f');
    for (let n = 0; n < count; n += 256) {
      await Promise.all(
        Array.from({ length: Math.min(256, count - n) }, (_, at) => filling.put(`fill/${n + at}`, filler)),
      );
    }
    await new CheckpointManager({ storage: filling }).save('agent', agentState(2_000));
    await filling.close();
    const openings = [];
    for (let round = 0; round < 5; round++) {
      const storage = fileStorage(directory);
      openings.push(await milliseconds(() => new CheckpointManager({ storage }).restore('agent')));
      await storage.close();
    }
    const opening = median(openings);
    return { what, measured: ms(opening), gate: '<= 200 ms', met: opening <= 200 };
  });
}

async function depthRow() {
  return withDirectory(async (directory) => {
    const storage = fileStorage(directory, { compactAtBytes: 1024 ** 3, durability: 'process' });
    const checkpoints = new CheckpointManager({ storage });
    for (let n = 0; n < 10_000; n++) await checkpoints.save('deep', agentState(2_000));
    for (let n = 0; n < 10; n++) await checkpoints.save('shallow', agentState(2_000));
    const restore = (session) => () =>
      milliseconds(async () => {
        for (let n = 0; n < 50; n++) await checkpoints.restore(session);
      });
    const took = await interleave({ deep: restore('deep'), shallow: restore('shallow') });
    await storage.close();
    const ratio = took.deep / took.shallow;
    return { what: 'restore latest of 10,000 / of 10', measured: times(ratio), gate: '<= 2 x', met: ratio <= 2 };
  });
}

async function stateRows() {
  return withDirectory(async (directory) => {
    const storage = fileStorage(directory);
    const checkpoints = new CheckpointManager({ storage });
    const state = agentState(100 * 1024);
    const took = await interleave({
      save: () => milliseconds(() => checkpoints.save('agent', state)),
      restore: () => milliseconds(() => checkpoints.restore('agent')),
    });
    await storage.close();
    return [
      { what: 'checkpoint of a 100 KB state', measured: ms(took.save), gate: '< 100 ms', met: took.save < 100 },
      { what: 'restore of a 100 KB state', measured: ms(took.restore), gate: '< 500 ms', met: took.restore < 500 },
    ];
  });
}

/** Heap and stall while a large state is saved and the log is compacted under it. */
async function memoryRows() {
  return withDirectory(async (directory) => {
    const storage = fileStorage(directory);
    const checkpoints = new CheckpointManager({ storage });
    const state = agentState(27 * 1024 * 1024);
    await checkpoints.save('warm', agentState(1024));
    global.gc?.();
    const before = process.memoryUsage().rss;
    const { sizeBytes } = await checkpoints.save('large', state);
    const grown = process.memoryUsage().rss - before;
    await checkpoints.prune('large', { keepLast: 1 });
    const keys = 100_000;
    global.gc?.();
    const heapBefore = process.memoryUsage().heapUsed;
    for (let n = 0; n < keys; n += 1_000) {
      await Promise.all(Array.from({ length: 1_000 }, (_, at) => storage.put(`k/${n + at}`, Buffer.from('small'))));
    }
    global.gc?.();
    const perKey = (process.memoryUsage().heapUsed - heapBefore) / keys;
    await storage.close();
    return [
      {
        what: `resident memory added by saving ${megabytes(sizeBytes)}`,
        measured: `${megabytes(grown)} (${times(grown / sizeBytes)})`,
      },
      { what: 'heap per key in the index', measured: `${Math.round(perKey)} B` },
    ];
  });
}

export async function rows() {
  return [
    ...(await putRows()),
    ...(await saveRows()),
    ...(await readRows()),
    ...(await stateRows()),
    await openRow(100 * 1024, 'open 100 MB of 100 KB values, first restore'),
    await openRow(2 * 1024, 'open 100 MB of 2 KB values, first restore'),
    await depthRow(),
    ...(await memoryRows()),
  ];
}
