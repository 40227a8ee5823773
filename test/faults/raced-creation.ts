import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileStorage } from '../../src/storage/log/file-storage.js';
import type { FaultRow } from './row.js';
import { inScene, problems } from './scene.js';

const NAMES = ['left', 'right'];
const NEW_STORE = 'FORMAT.json,log-00000001';

async function judge(folder: string, outcomes: readonly string[]): Promise<string[]> {
  const bad: string[] = [];
  if (outcomes.toSorted().join() !== 'lost,won') bad.push(`the processes say: ${outcomes.join(', ')}`);
  const names = await readdir(folder);
  const files = names
    .filter((name) => !name.startsWith('index-'))
    .sort()
    .join();
  if (files !== NEW_STORE) bad.push(`${files} is there instead of ${NEW_STORE}`);
  const storage = fileStorage(folder);
  for (const name of NAMES)
    if ((await storage.get(`from/${name}`)) === undefined) bad.push(`the write of ${name} is lost`);
  const first = Buffer.from((await storage.get('first'))?.value ?? []).toString();
  if (outcomes[NAMES.indexOf(first)] !== 'won') bad.push(`"first" is of "${first}"`);
  await storage.close();
  return bad;
}

export const racedCreation: FaultRow = {
  fault: '2 processes create the same store at the same moment',
  run: (lane) =>
    inScene(async ({ folder, start }) => {
      const tried = lane === 'quick' ? 5 : 20;
      const children = NAMES.map((name) => start('create-store.mjs', name));
      await Promise.all(children.map((child) => child.says(1)));
      const bad: string[] = [];
      for (let race = 1; race <= tried; race++) {
        const store = join(folder, `store-${race}`);
        for (const child of race % 2 === 0 ? children : children.toReversed()) child.tell(store);
        await Promise.all(children.map((child) => child.says(1 + race)));
        const outcomes = children.map((child) => child.lines[race] ?? 'ended');
        bad.push(...(await problems(`race ${race}`, () => judge(store, outcomes))));
      }
      return { tried, bad };
    }),
};
