import { seeded } from './crash-states.js';
import { Ledger } from './ledger.js';
import type { FaultRow } from './row.js';
import { type Ending, inScene, problems, SEED, turns } from './scene.js';

/** A way for a process to end in the middle of saves, and how the operating system must then see it. */
interface SuddenEnd {
  readonly name: 'exit' | 'throw' | 'SIGTERM';
  readonly isAsItShould: (ending: Ending) => boolean;
}

const ENDS: readonly SuddenEnd[] = [
  { name: 'exit', isAsItShould: ({ code }) => code === 7 },
  { name: 'throw', isAsItShould: ({ code, errorText }) => code === 1 && errorText.includes('thrown on purpose') },
  { name: 'SIGTERM', isAsItShould: ({ signal }) => signal === 'SIGTERM' },
];

export const suddenEndings: FaultRow = {
  fault: 'process.exit, uncaught exception, SIGTERM in the middle of saves',
  run: (lane) =>
    inScene(async ({ folder, start }) => {
      const tried = lane === 'quick' ? 6 : 51;
      const random = seeded(SEED);
      const ledger = new Ledger();
      const bad: string[] = [];
      for (let at = 0; at < tried; at++) {
        const { name, isAsItShould } = ENDS[at % ENDS.length] as SuddenEnd;
        const where = `${name} ${at} (seed ${SEED})`;
        const acks = 1 + Math.floor(random() * 40);
        const child = start('save-loop.mjs', folder, at, name === 'SIGTERM' ? 'never' : name, acks);
        if (name === 'SIGTERM') {
          await child.says(acks);
          await turns(Math.floor(random() * 100));
        }
        const ending = await (name === 'SIGTERM' ? child.kill('SIGTERM') : child.ended);
        if (!isAsItShould(ending)) bad.push(`${where}: ended as ${JSON.stringify(ending)}`);
        ledger.add(child.lines);
        bad.push(...(await problems(where, () => ledger.judge(folder))));
      }
      return { tried, bad, note: `${ledger.acknowledged} writes acknowledged` };
    }),
};
