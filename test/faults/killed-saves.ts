import { seeded } from './crash-states.js';
import { Ledger } from './ledger.js';
import type { FaultRow } from './row.js';
import { inScene, problems, SEED, turns } from './scene.js';
import { compactionsOf } from './tally.js';

/** One store lives through all kills: what an earlier life left is what the next one starts from. */
export const killedSaves: FaultRow = {
  fault: 'kill -9 at random moments of a save loop with compaction',
  run: (lane) =>
    inScene(async ({ folder, start }) => {
      const tried = lane === 'quick' ? 15 : 200;
      const random = seeded(SEED);
      const ledger = new Ledger();
      const bad: string[] = [];
      for (let kill = 1; kill <= tried; kill++) {
        const child = start('save-loop.mjs', folder, kill);
        const where = `kill ${kill} (seed ${SEED})`;
        const isAlive = await child.says(Math.floor(random() * 60));
        await turns(Math.floor(random() * 300));
        const { errorText } = await child.kill();
        if (!isAlive) bad.push(`${where}: the child ended by itself: ${errorText}`);
        ledger.add(child.lines);
        bad.push(...(await problems(where, () => ledger.judge(folder))));
      }
      const note = `${ledger.acknowledged} writes acknowledged, ${await compactionsOf(folder)} compactions`;
      return { tried, bad, note };
    }),
};
