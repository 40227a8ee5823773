// Increments shared counters by compare-and-swap, races for shared keys and creates keys of its own, from the first
// word of the parent to the second or until all rounds are done.
import { ConflictError, fileStorage } from 'holdfast';
import { heard, say, seeded, textOf } from './speech.mjs';

const [folder, name, seed, rounds, compactAtBytes] = process.argv.slice(2);
const random = seeded(Number(seed));
const storage = fileStorage(folder, { compactAtBytes: Number(compactAtBytes) });
const counters = ['counters/a', 'counters/b'];

/** What `write` resolves with, or `undefined` if another writer was first. */
async function unlessConflict(write) {
  try {
    return await write;
  } catch (error) {
    if (error instanceof ConflictError) return undefined;
    throw error;
  }
}

async function increment(key) {
  for (;;) {
    const stored = await storage.get(key);
    const value = stored === undefined ? 0 : Number.parseInt(Buffer.from(stored.value).toString(), 10);
    const next = Buffer.from(`${value + 1} ${textOf(random, random() * 5000)}`);
    if (await unlessConflict(storage.put(key, next, { ifVersion: stored?.version ?? null }))) return;
  }
}

async function create(key) {
  if (await unlessConflict(storage.put(key, Buffer.from(name), { ifVersion: null }))) say('created', key);
}

await storage.open();
const orders = heard();
let isStopped = false;
say('ready');
await orders.next();
orders.next().then(() => {
  isStopped = true;
});
for (let round = 0; round < Number(rounds) && !isStopped; round++) {
  const key = counters[Math.floor(random() * counters.length)];
  const writes = [increment(key).then(() => say('incremented', key))];
  // Few enough that most of the log is old counters and compaction never rests.
  if (round % 4 === 0) writes.push(create(`own/${name}/${round}`), create(`raced/${round}`));
  await Promise.all(writes);
}
await storage.close();
say('done');
process.exit();
