import { leftovers } from './ledger.js';
import type { FaultRow } from './row.js';
import { firstLine, inScene, problems, SEED } from './scene.js';
import { compactionsOf, Tally } from './tally.js';

interface Crowd {
  readonly processes: number;
  readonly rounds: number;
  readonly compactAtBytes: number;
  readonly leastCompactions: number;
}

const QUICK: readonly Crowd[] = [
  { processes: 2, rounds: 50, compactAtBytes: 4096, leastCompactions: 5 },
  { processes: 4, rounds: 25, compactAtBytes: 16 * 1024, leastCompactions: 2 },
];
const FULL: readonly Crowd[] = [
  { processes: 2, rounds: 500, compactAtBytes: 4096, leastCompactions: 50 },
  { processes: 4, rounds: 500, compactAtBytes: 4096, leastCompactions: 50 },
  { processes: 4, rounds: 500, compactAtBytes: 64 * 1024, leastCompactions: 1 },
];

async function compete({
  processes,
  rounds,
  compactAtBytes,
  leastCompactions,
}: Crowd): Promise<{ bad: string[]; note: string }> {
  return inScene(async ({ folder, start }) => {
    const tally = new Tally();
    const children = Array.from({ length: processes }, (_, at) => {
      const name = `process-${at}`;
      return { name, child: start('increment.mjs', folder, name, SEED + at, rounds, compactAtBytes) };
    });
    await Promise.all(children.map(({ child }) => child.says(1)));
    for (const { child } of children) child.tell('go');
    const bad: string[] = [];
    for (const { name, child } of children) {
      const ending = await child.ended;
      if (child.lines.at(-1) !== 'done' || ending.errorText !== '')
        bad.push(`${name} ended with ${ending.code}: ${firstLine(ending.errorText)}`);
      tally.add(name, child.lines);
    }
    const where = `${processes} processes (seed ${SEED})`;
    bad.push(...(await problems(where, () => leftovers(folder))));
    const compactions = await compactionsOf(folder);
    if (compactions < leastCompactions) bad.push(`${where}: only ${compactions} compactions: this proves too little`);
    bad.push(...(await problems(where, () => tally.judge(folder, 0))));
    return { bad, note: `${tally.acknowledged} writes of ${processes} processes over ${compactions} compactions` };
  });
}

export const sharedCounters: FaultRow = {
  fault: '2 and 4 processes, compare-and-swap increments, with compaction',
  async run(lane) {
    const crowds = lane === 'quick' ? QUICK : FULL;
    const bad: string[] = [];
    const notes: string[] = [];
    for (const crowd of crowds) {
      const result = await compete(crowd);
      bad.push(...result.bad);
      notes.push(result.note);
    }
    return {
      tried: crowds.reduce((sum, { processes, rounds }) => sum + processes * rounds, 0),
      bad,
      note: notes.join('; '),
    };
  },
};
