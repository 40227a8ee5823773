// node --expose-gc bench/checkpoints-memory.mjs holdfast|sqlite: saves a state of 27 MB and prints figures as JSON.
// A process of its own for each: memory that was resident once may stay so.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { holdfastSaver, sqliteSaver, withFolders } from './checkpoints-savers.mjs';
import { agentState } from './checkpoints-states.mjs';

const STATE_BYTES = 27 * 1024 * 1024;

/** Linux forgets the peak when it is asked to; elsewhere the peak may be one of before. */
const canForgetPeak = existsSync('/proc/self/clear_refs');

function forgetPeak() {
  if (canForgetPeak) writeFileSync('/proc/self/clear_refs', '5');
}

function peakBytes() {
  if (!canForgetPeak) return process.resourceUsage().maxRSS * 1024;
  const [, kilobytes] = readFileSync('/proc/self/status', 'utf8').match(/^VmHWM:\s+(\d+) kB$/m);
  return Number(kilobytes) * 1024;
}

const open = { holdfast: holdfastSaver, sqlite: (directory) => sqliteSaver(directory, { isFull: true }) };

const figures = await withFolders(async (folder) => {
  const saver = open[process.argv[2]](await folder('store'));
  const state = agentState(STATE_BYTES);
  await saver.save('warm', agentState(100_000));
  global.gc();
  const before = process.memoryUsage().rss;
  forgetPeak();
  await saver.save('large', state);
  const grownBytes = peakBytes() - before;
  await saver.close();
  return { sizeBytes: Buffer.byteLength(JSON.stringify(state)), grownBytes };
});
console.log(JSON.stringify(figures));
