import { judgeBookings, readWorld } from './booked-world.js';
import { seeded } from './crash-states.js';
import type { FaultRow, Lane } from './row.js';
import { firstLine, inScene, problems, SEED, turns } from './scene.js';

const TRANSACTIONS = 100;
/** Long: that a process was killed is proved, not waited for. */
const LEASE_MS = 15_000;
const STEP_MS = 5;

/** Kills the process that runs them all, again and again, each after `mostLines` lines at most, until it comes to its end. */
async function killUntilDone(
  random: () => number,
  mostLines: number,
): Promise<{ kills: number; bad: string[]; effects: number }> {
  return inScene(async ({ folder, start }) => {
    for (let kills = 0; ; kills++) {
      const child = start('transact.mjs', folder, `life-${kills}`, 'all', TRANSACTIONS, LEASE_MS, STEP_MS);
      const isAlive = await child.says(Math.floor(random() * mostLines));
      await turns(Math.floor(random() * 300));
      const isOver = child.lines.at(-1) === 'over';
      const { errorText } = isAlive && !isOver ? await child.kill() : await child.ended;
      if (child.lines.at(-1) !== 'over') {
        if (isAlive) continue;
        return { kills, effects: 0, bad: [`life ${kills} ended by itself: ${firstLine(errorText)}`] };
      }
      const bad = await judgeBookings(folder, TRANSACTIONS);
      return { kills, bad, effects: (await readWorld(folder)).filter(({ kind }) => kind === 'act').length };
    }
  });
}

export const killedTransactions: FaultRow = {
  fault: 'kill -9 at random moments of 100 transactions, started again until they are done',
  async run(lane: Lane) {
    const random = seeded(SEED);
    const bad: string[] = [];
    let [tried, effects] = [0, 0];
    const [rounds, mostLines] = lane === 'quick' ? [1, 400] : [15, 120];
    for (let round = 1; round <= rounds; round++) {
      const found = await problems(`round ${round} (seed ${SEED})`, async () => {
        const result = await killUntilDone(random, mostLines);
        tried += result.kills;
        effects += result.effects;
        return result.kills < 3 ? [...result.bad, `only ${result.kills} kills: this proves too little`] : result.bad;
      });
      bad.push(...found);
    }
    return { tried, bad, note: `${effects} effects, none twice` };
  },
};
