import { judgeBookings, readWorld, type WorldLine } from './booked-world.js';
import { seeded } from './crash-states.js';
import type { FaultRow } from './row.js';
import { inScene, problems, SEED } from './scene.js';

const TRANSACTIONS = 30;
const LEASE_MS = 15_000;
const STEP_MS = 5;

/** Kills the process that runs them all, and lets so many others recover at once. */
async function race(processes: number, random: () => number): Promise<string[]> {
  return inScene(async ({ folder, start }) => {
    const first = start('transact.mjs', folder, 'first', 'run', TRANSACTIONS, LEASE_MS, STEP_MS);
    // Enough that all have begun, and too few for one to be done: each is there to be recovered.
    await first.says(TRANSACTIONS + Math.floor(random() * 3 * TRANSACTIONS));
    await first.kill();
    const before = await readWorld(folder);
    const names = Array.from({ length: processes }, (_, at) => `recoverer-${at}`);
    const children = names.map((name) => start('transact.mjs', folder, name, 'recover', 0, LEASE_MS, STEP_MS));
    await Promise.all(children.map((child) => child.says(1)));
    for (const child of children) child.tell('go');
    const endings = await Promise.all(children.map((child) => child.ended));
    const bad = endings.flatMap(({ errorText }) => (errorText === '' ? [] : [errorText]));
    const ended = children.flatMap(({ lines }) => endedBy(lines));
    const twice = ended.filter((id, at) => ended.indexOf(id) !== at);
    bad.push(...twice.map((id) => `${id} was ended by two`));
    bad.push(...continuedByTwo((await readWorld(folder)).slice(before.length)));
    if (ended.length < TRANSACTIONS / 2) bad.push(`only ${ended.length} were recovered: this proves too little`);
    return [...bad, ...(await judgeBookings(folder, TRANSACTIONS))];
  });
}

/** Transactions that a recoverer said it went forward or back with. */
function endedBy(lines: readonly string[]): string[] {
  const report = lines.find((line) => line.startsWith('report '));
  if (report === undefined) return [];
  const { resumed, rolledBack } = JSON.parse(report.slice('report '.length)) as Record<string, string[]>;
  return [...(resumed ?? []), ...(rolledBack ?? [])];
}

function continuedByTwo(lines: readonly WorldLine[]): string[] {
  return lines.flatMap(({ transaction, by, fence }) => {
    const other = lines.find((line) => line.transaction === transaction && line.by !== by);
    if (other !== undefined) return [`${transaction} was continued by ${by} and ${other.by}`];
    return fence === 2 ? [] : [`${transaction} was continued by ${by} with fence ${fence}`];
  });
}

export const racedRecovery: FaultRow = {
  fault: '2 and 3 processes recover the transactions of a killed one at once',
  async run(lane) {
    const tried = lane === 'quick' ? 2 : 20;
    const random = seeded(SEED);
    const bad: string[] = [];
    for (let attempt = 1; attempt <= tried; attempt++) {
      bad.push(...(await problems(`race ${attempt} (seed ${SEED})`, () => race(2 + (attempt % 2), random))));
    }
    return { tried, bad };
  },
};
