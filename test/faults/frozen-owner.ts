import { readWorld } from './booked-world.js';
import { seeded } from './crash-states.js';
import type { FaultRow } from './row.js';
import { inScene, problems, SEED, turns } from './scene.js';

const LEASE_MS = 300;
const STEP_MS = 40;
const STEPS = 5;

/** Stops the owner of a transaction past its lease, lets another finish it, and lets the owner go on. */
async function freezeAndTakeOver(random: () => number): Promise<string[]> {
  return inScene(async ({ folder, start }) => {
    const owner = start('transact.mjs', folder, 'owner', 'run', 1, LEASE_MS, STEP_MS);
    // It says three lines a step: at rest, in the step before its effect, and behind it.
    await owner.says(1 + Math.floor(random() * 3 * (STEPS - 1)));
    await turns(Math.floor(random() * 300));
    await owner.freeze();
    const taker = start('transact.mjs', folder, 'taker', 'take', 1, LEASE_MS, STEP_MS);
    const taken = await taker.ended;
    owner.thaw();
    await owner.ended;
    const bad: string[] = [];
    const report = taker.lines.find((line) => line.startsWith('report ')) ?? `nothing: ${taken.errorText}`;
    if (!report.includes('"resumed":["trip-0"]')) bad.push(`the taker said ${report}`);
    const outcome = owner.lines.find((line) => /^(gave|failed) /.test(line));
    if (outcome !== 'failed trip-0 HOLDFAST_FENCED') bad.push(`the caller of the owner heard "${outcome}"`);
    const lines = await readWorld(folder);
    const begun = lines.filter(({ kind }) => kind === 'begun');
    const takenAt = begun.findIndex(({ by }) => by === 'taker');
    const afterwards = begun.slice(takenAt).filter(({ by, fence }) => by === 'owner' || fence !== 2);
    if (takenAt !== -1) bad.push(...afterwards.map(({ by, step, fence }) => `${by} began ${step} with fence ${fence}`));
    const done = new Set(lines.filter(({ kind }) => kind === 'act').map(({ key }) => key));
    if (done.size !== STEPS) bad.push(`${done.size} effects were done`);
    return bad;
  });
}

export const frozenOwner: FaultRow = {
  fault: 'owner of a transaction stopped past its lease, taken over, continued',
  async run(lane) {
    const tried = lane === 'quick' ? 3 : 30;
    const random = seeded(SEED);
    const bad: string[] = [];
    for (let freeze = 1; freeze <= tried; freeze++) {
      bad.push(...(await problems(`stop ${freeze} (seed ${SEED})`, () => freezeAndTakeOver(random))));
    }
    return { tried, bad };
  },
};
