import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { systemClock } from '../../../src/base/clock.js';
import { fileStorage } from '../../../src/storage/log/file-storage.js';
import { seededRandom } from '../../../src/testing/seeded-random.js';
import type { Fact, Trouble } from '../fleet/fleet-fact.js';
import { FleetHost } from '../fleet/fleet-host.js';

/** One host of a fleet, as a process. It is told which sessions to begin, and says what becomes of them, line by line. */
const [folder = '', name = '', leaseMs = ''] = process.argv.slice(2);

/** A pipe is written at once: what was said before a kill has been said. */
function say(fact: Omit<Fact, 'atMs' | 'host'>): void {
  const atMs = Number(process.hrtime.bigint()) / 1e6; // One clock for all processes of the machine.
  process.stdout.write(`${JSON.stringify({ ...fact, atMs, host: name })}\n`);
}

function die(): Promise<never> {
  process.kill(process.pid, 'SIGKILL');
  return new Promise(() => {});
}

function isFirst(what: string): boolean {
  try {
    writeFileSync(join(folder, `first ${what}`), name, { flag: 'wx' });
    return true;
  } catch {
    return false;
  }
}

const host = new FleetHost({
  storage: fileStorage(join(folder, 'store')),
  clock: systemClock,
  random: seededRandom(name),
  leaseMs: Number(leaseMs),
  stepMs: 10,
  pollMs: 50,
  say,
  die,
  isFirst,
});
// A parent that was itself killed can end nobody: its end of the pipe goes with it.
createInterface({ input: process.stdin })
  .on('line', (line) => {
    const { id, trouble } = JSON.parse(line) as { id: string; trouble: Trouble };
    void host.begin(id, trouble);
  })
  .on('close', () => process.exit());
setInterval(() => process.stdout.write('waits\n'), 5_000); // Who says nothing for long passes for stuck.
await host.watch();
