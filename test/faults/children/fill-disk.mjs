// Fills the small file system it is given, makes space again and goes on; says what was not as promised.
import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CheckpointManager, fileStorage, NoSpaceError } from 'holdfast';
import { say, seeded, textOf } from './speech.mjs';

const [mount, seed, fillerBytes, keepLast, compactAtBytes] = process.argv.slice(2);
const random = seeded(Number(seed));
const folder = join(mount, 'store');
const filler = join(mount, 'filler');
const acked = new Map();
let failedCompactions = 0;

function open() {
  const emit = ({ type }) => {
    if (type === 'storage.compaction-failed') failedCompactions++;
    if (type === 'storage.damaged') say('bad', 'the store calls itself damaged');
  };
  const storage = fileStorage(folder, { compactAtBytes: Number(compactAtBytes), emit });
  return { storage, checkpoints: new CheckpointManager({ storage }) };
}

async function save(checkpoints) {
  // Pruned states are of one size, so that half of the log is garbage when it is full.
  const length = keepLast !== 'all' ? 14_000 : random() < 0.2 ? 60_000 : 1 + random() * 9_000;
  const text = textOf(random, length);
  const { sequence, checksum } = await checkpoints.save('run', { text });
  acked.set(sequence, checksum);
}

/** What `act` rejects with; `undefined` if it does not. */
const failureOf = (act) =>
  act().then(
    () => undefined,
    (error) => error,
  );

/** Remove old checkpoints while there is room for saying so: they are acknowledged no more. */
async function prune(checkpoints) {
  if (keepLast === 'all') return;
  const { removed } = await checkpoints.prune('run', { keepLast: Number(keepLast) });
  for (const sequence of removed) acked.delete(sequence);
}

async function saveUntilFull(checkpoints) {
  for (;;) {
    const error = await failureOf(() => save(checkpoints));
    if (error === undefined) {
      const pruning = await failureOf(() => prune(checkpoints));
      if (pruning === undefined) continue;
      // Some may be gone: what stays is what the listing shows.
      const left = new Set();
      for await (const { sequence } of checkpoints.list('run')) left.add(sequence);
      for (const sequence of acked.keys())
        if (!left.has(sequence) && sequence <= Math.max(...left) - Number(keepLast)) acked.delete(sequence);
      if (!(pruning instanceof NoSpaceError)) say('bad', `pruning on a full disk failed with ${pruning.stack}`);
      return;
    }
    if (!(error instanceof NoSpaceError)) say('bad', `saving on a full disk failed with ${error.stack}`);
    return;
  }
}

async function checkAll(when, checkpoints) {
  for (const [sequence, checksum] of acked) {
    const restored = await checkpoints
      .restore('run', { sequence, fallback: false })
      .catch((error) => say('bad', when, error));
    if (restored?.checkpoint.checksum !== checksum || restored.degraded)
      say('bad', `checkpoint ${sequence} is lost ${when}`);
  }
  const newest = Math.max(...acked.keys());
  const { checkpoint, degraded } = await checkpoints.restore('run');
  if (degraded || checkpoint.sequence < newest) say('bad', `${checkpoint.sequence} is restored for ${newest} ${when}`);
}

/** A store cannot be made on a full disk, and can be once there is room. */
async function createOnFullDisk() {
  try {
    for (;;) writeFileSync(filler, Buffer.alloc(4096), { flag: 'a' });
  } catch (error) {
    if (error.code !== 'ENOSPC') throw error;
  }
  const { storage } = open();
  const failure = await failureOf(() => storage.open());
  if (!(failure instanceof NoSpaceError)) say('bad', `creating a store on a full disk: ${failure?.stack}`);
  rmSync(filler);
  await storage.open();
  await storage.close();
}

async function fillAndGoOn() {
  const { storage, checkpoints } = open();
  await saveUntilFull(checkpoints);
  await checkAll('on a full disk', checkpoints);
  const other = open();
  await checkAll('for another reader of the full disk', other.checkpoints);
  await other.storage.close();
  rmSync(filler);
  const error = await failureOf(() => save(checkpoints));
  if (error) say('bad', `the save after making space failed with ${error.stack}`);
  await checkAll('after making space', checkpoints);
  await storage.close();
  const reopened = open();
  await checkAll('after reopening', reopened.checkpoints);
  await reopened.storage.close();
  for (const name of readdirSync(folder)) if (name.startsWith('draft-')) say('bad', `${name} is left over`);
}

await createOnFullDisk();
writeFileSync(filler, Buffer.alloc(Number(fillerBytes)));
await fillAndGoOn();
say('filled', acked.size, failedCompactions);
