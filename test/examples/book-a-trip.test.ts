import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, inject, test } from 'vitest';
import { seededRandom } from '../../src/testing/seeded-random.js';

const main = join(import.meta.dirname, '../../examples/book-a-trip/main.mjs');
const timeoutMs = 120_000;

/** A line of the agency's ledger. */
interface LedgerEntry {
  readonly act: string;
  readonly what?: string;
  readonly city?: string;
  readonly key?: string;
}

/** What every history of the world comes to, however often the process dies. */
const settledWorld = {
  Lisbon: ['booked flight', 'booked hotel', 'booked car', 'booked payment'],
  Oslo: ['booked flight', 'booked hotel', 'cancelled hotel', 'cancelled flight'],
  Rome: ['booked flight', 'booked hotel', 'booked car', 'cancelled car', 'cancelled hotel', 'cancelled flight'],
};

let scratch: string;

beforeEach(() => {
  expect(inject('buildFailure')).toBe('');
  scratch = mkdtempSync(join(tmpdir(), 'holdfast-trip-test-'));
});

afterEach(() => rmSync(scratch, { recursive: true, force: true }));

/** The example as a process of its own, with all its files in `directory`; `onLine` is told whenever it prints a line. */
function start(directory: string, onLine: (child: ReturnType<typeof spawn>) => void = () => {}) {
  const child = spawn(process.execPath, [main, directory], { stdio: ['ignore', 'pipe', 'pipe'] });
  const lines: string[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => {
    lines.push(line);
    onLine(child);
  });
  const ended = Promise.all([text(child.stderr), once(child, 'close')]).then(([errors, [exitCode, signal]]) => {
    return { lines, errors, exitCode, signal };
  });
  return { child, ended };
}

/** Runs it and kills it once it has printed `count` lines. Was it killed, or through before that? */
async function killAfterLines(directory: string, count: number): Promise<boolean> {
  let printed = 0;
  const { signal } = await start(directory, (child) => {
    if (++printed === count) child.kill('SIGKILL');
  }).ended;
  return signal === 'SIGKILL';
}

/** Runs it and kills it `delayMs` after its first line, which it prints while it recovers, if it is not through by then. */
async function killAfter(directory: string, delayMs: number): Promise<void> {
  let sayStarted: () => void = () => {};
  const started = new Promise<void>((resolve) => {
    sayStarted = resolve;
  });
  const { child, ended } = start(directory, () => sayStarted());
  await Promise.race([started.then(() => sleep(delayMs)), ended]);
  child.kill('SIGKILL');
  await ended;
}

function ledger(directory: string): readonly LedgerEntry[] {
  const lines = readFileSync(join(directory, 'world/ledger.jsonl'), 'utf8').split('\n').filter(Boolean);
  return lines.map((line) => JSON.parse(line));
}

/** What happened to flights and the like, by city. */
function world(directory: string): Record<string, readonly string[]> {
  const acts = (city: string) => ledger(directory).filter((entry) => entry.city === city);
  return Object.fromEntries(
    Object.keys(settledWorld).map((city) => [city, acts(city).map(({ act, what }) => `${act} ${what}`)]),
  );
}

/** How many bookings were made under a key that another booking has. */
function bookedTwice(directory: string): number {
  const keys = ledger(directory).flatMap(({ act, key }) => (act === 'booked' ? [key] : []));
  return keys.length - new Set(keys).size;
}

/** Runs it to its end, and says all there is to say of the end. */
async function finish(directory: string) {
  const { lines, errors, exitCode } = await start(directory).ended;
  const isDone = lines.at(-1)?.startsWith('Done') ?? false;
  return { errors, exitCode, isDone, world: world(directory), bookedTwice: bookedTwice(directory) };
}

const goodEnd = { errors: '', exitCode: 0, isDone: true, world: settledWorld, bookedTwice: 0 };

describe('undisturbed', () => {
  test('one trip is booked, one is given back, one waits for a person and is given back', async () => {
    const { lines, errors, exitCode } = await start(scratch).ended;
    expect({ errors, exitCode }).toEqual({ errors: '', exitCode: 0 });
    const spoken = lines.join('\n');
    expect(spoken).toContain('trip to Lisbon is booked, numbers 1, 2, 3, 4');
    expect(spoken).toContain('trip to Oslo is off: there is no car left in Oslo; given back: hotel, flight');
    expect(spoken).toMatch(/stuck at step "flight".*the refund desk is closed/);
    expect(spoken).toContain('trip to Rome is off: the card was declined; given back: car, hotel, flight');
    expect(lines.at(-1)).toBe(
      "Done. What stands in the agency's ledger: flight to Lisbon, hotel to Lisbon, car to Lisbon, payment to Lisbon.",
    );
    expect(world(scratch)).toEqual(settledWorld);
  });

  test('the flight to Rome is given back only after the person has had the refund desk opened', async () => {
    await start(scratch).ended;
    const acts = ledger(scratch).map(({ act, what, city }) => [act, what, city].filter(Boolean).join(' '));
    expect(acts.slice(-2)).toEqual(['refund desk opened', 'cancelled flight Rome']);
  });

  test('started again when all is done, it says the same and does nothing', async () => {
    const first = await start(scratch).ended;
    const before = ledger(scratch);
    const second = await start(scratch).ended;
    const outcomes = (lines: readonly string[]) => lines.filter((line) => /is booked,|is off:|^Done/.test(line));
    expect(outcomes(second.lines)).toEqual(outcomes(first.lines));
    expect(ledger(scratch)).toEqual(before);
  });
});

describe('killed and started again, it ends as if nothing had happened', () => {
  test('after every third line it prints', { timeout: timeoutMs }, async () => {
    const lineCount = (await start(join(scratch, 'whole')).ended).lines.length;
    const counts = Array.from({ length: Math.floor((lineCount - 1) / 3) }, (_, at) => 3 * at + 1);
    const tries = counts.length;
    let kills = 0;
    const lane = async () => {
      for (let count = counts.shift(); count !== undefined; count = counts.shift()) {
        const directory = join(scratch, `${count}`);
        if (await killAfterLines(directory, count)) kills++;
        expect({ count, ...(await finish(directory)) }).toEqual({ count, ...goodEnd });
      }
    };
    await Promise.all([lane(), lane(), lane(), lane()]); // Such a process mostly waits.
    expect(kills).toBeGreaterThan(tries - 3); // Before its very last lines it waits for nothing: those may be too late.
  });

  test.each([1])('again and again at random moments (seed %i)', { timeout: timeoutMs }, async (seed) => {
    const random = seededRandom(seed);
    for (let kill = 0; kill < 8; kill++) await killAfter(scratch, random.integer(150));
    expect(await finish(scratch)).toEqual(goodEnd);
  });
});
