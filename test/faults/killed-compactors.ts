import { seeded } from './crash-states.js';
import { beginsDraft, drafts } from './drafts.js';
import type { FaultRow } from './row.js';
import { firstLine, inScene, problems, SEED, turns } from './scene.js';
import { compactionsOf, Tally } from './tally.js';

const COMPACT_AT_BYTES = 4096;
/** More than anybody gets to: the survivors go on until they are told to stop. */
const ROUNDS = 1_000_000;

/** Two processes write to the end; a third is killed again and again, every other time while it builds a segment. */
export const killedCompactors: FaultRow = {
  fault: 'kill -9 during compaction while 2 other processes write',
  run: (lane) =>
    inScene(async ({ folder, start }) => {
      const tried = lane === 'quick' ? 12 : 100;
      const random = seeded(SEED);
      const tally = new Tally();
      const bad: string[] = [];
      let withDraft = 0;
      const begin = (name: string) => {
        const child = start('increment.mjs', folder, name, Math.floor(random() * 1e9), ROUNDS, COMPACT_AT_BYTES);
        child.tell('go');
        return child;
      };
      const survivors = ['left', 'right'].map((name) => ({ name, child: begin(name) }));
      for (let kill = 1; kill <= tried; kill++) {
        const name = `victim-${kill}`;
        const victim = begin(name);
        await victim.says(1 + Math.floor(random() * 15));
        if (kill % 2 === 0) await beginsDraft(folder, victim);
        await turns(Math.floor(random() * 60));
        const { signal, errorText } = await victim.kill();
        if (signal !== 'SIGKILL' || errorText !== '')
          bad.push(`${name} failed before its kill: ${firstLine(errorText)}`);
        if ((await drafts(folder, victim.pid)).length > 0) withDraft++;
        tally.add(name, victim.lines);
      }
      for (const { child } of survivors) child.tell('stop');
      for (const { name, child } of survivors) {
        const ending = await child.ended;
        if (child.lines.at(-1) !== 'done' || ending.errorText !== '')
          bad.push(`${name} ended with ${ending.code}: ${firstLine(ending.errorText)}`);
        tally.add(name, child.lines);
        const left = await drafts(folder, child.pid);
        if (left.length > 0) bad.push(`${name} closed its store and left ${left.length} drafts`);
      }
      const compactions = await compactionsOf(folder);
      bad.push(...(await problems(`after ${tried} kills (seed ${SEED})`, () => tally.judge(folder, tried))));
      const note = `${withDraft} killed with a draft in hand, ${tally.acknowledged} writes over ${compactions} compactions`;
      return { tried, bad, note };
    }),
};
