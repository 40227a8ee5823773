import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { createHoldfast } from '../../src/holdfast.js';
import { fileStorage } from '../../src/storage/log/file-storage.js';

/** A process whose session blocks the event loop for a while. It says what it did, line by line. */
const [folder = '', leaseMs = '', blockedMs = '', frozenAfterMs = ''] = process.argv.slice(2);

const heart =
  frozenAfterMs === ''
    ? {}
    : {
        heart: new Worker(join(import.meta.dirname, 'heart-thread.mjs'), { workerData: { folder, task: 'beat' } }),
        frozenAfterMs: Number(frozenAfterMs),
      };
const holdfast = createHoldfast<string>({ storage: fileStorage(folder), leaseMs: Number(leaseMs), ...heart });

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

function block(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

await holdfast
  .run('long', async (session) => {
    await session.checkpoint('before');
    say('blocks');
    block(Number(blockedMs));
    await session.checkpoint('after');
    say('saved');
  })
  .catch((error: { code?: string }) => say(`failed ${error.code}`));
await holdfast.close();
say('closed'); // And ends, as nothing is left to wait for.
