import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { CheckpointManager } from '../../src/checkpoints/checkpoint-manager.js';
import { fileStorage } from '../../src/storage/log/file-storage.js';
import { seededRandom } from '../../src/testing/seeded-random.js';
import { textOf } from './agent-state.js';

/** Saves a state of so many MB in a process of its own, and says how much more memory was resident then, at most. */
const [folder = '', megabytes = ''] = process.argv.slice(2);

/** Linux forgets the peak when it is asked to; elsewhere it is that of the whole process. */
const canForgetPeak = existsSync('/proc/self/clear_refs');

function peakBytes(): number {
  const status = canForgetPeak ? readFileSync('/proc/self/status', 'utf8') : '';
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1] ?? process.resourceUsage().maxRSS) * 1024;
}

const random = seededRandom(1);
const messages: unknown[] = [];
let sizeBytes = 0;
while (sizeBytes < Number(megabytes) * 1024 * 1024) {
  const rows = Array.from({ length: 4 }, (_, row) => ({ row, score: random(), title: textOf(random, 120) }));
  const message = { at: messages.length, role: 'tool', content: textOf(random, 300), result: { ok: true, rows } };
  sizeBytes += Buffer.byteLength(JSON.stringify(message)) + 1;
  messages.push(message);
}
const storage = fileStorage(folder);
const checkpoints = new CheckpointManager({ storage });
await checkpoints.save('small', messages.slice(0, 100));
global.gc?.();
const before = process.memoryUsage().rss;
if (canForgetPeak) writeFileSync('/proc/self/clear_refs', '5');
await checkpoints.save('large', { messages, turns: 1 });
process.stdout.write(JSON.stringify({ sizeBytes, grownBytes: peakBytes() - before }));
await storage.close();
