import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'esbuild';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { replicated } from '../../src/storage/replicated/replicated.js';
import { bytes } from '../../src/testing/contract/entries.js';
import { processRules } from '../../src/testing/contract/processes.js';
import { type StoreProcess, startStoreProcess } from '../../src/testing/contract/store-process.js';
import { tryRule } from '../../src/testing/storage-contract.js';
import { packageRoot } from '../support/program.js';
import { filesIn } from './inner-stores.js';
import { copiesIn, valuesIn } from './replicated-scene.js';

/** Opens the stores in the folder that it is given, as `open` does. */
const PROGRAM = `
  import { join } from 'node:path';
  import { fileStorage } from './src/storage/file.js';
  import { replicated } from './src/storage/replicated/replicated.js';
  const files = (folder, name) => fileStorage(join(folder, name), { durability: 'process' });
  export default (folder) => replicated([files(folder, 'primary'), files(folder, 'backup')]);
`;

const open = (folder: string) => replicated([filesIn(folder, 'primary'), filesIn(folder, 'backup')]);

let bundle: string;
let module: string;
beforeAll(async () => {
  bundle = await mkdtemp(join(tmpdir(), 'holdfast-bundle-'));
  module = join(bundle, 'replicated.mjs');
  await build({
    stdin: { contents: PROGRAM, resolveDir: packageRoot, loader: 'js' },
    outfile: module,
    bundle: true,
    platform: 'node',
    format: 'esm',
    logLevel: 'error',
  });
});
afterAll(() => rm(bundle, { recursive: true }));

async function inFolder(play: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-replicated-'));
  try {
    await play(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

test.each(processRules)('over files: $name', { timeout: 90_000 }, (rule) =>
  inFolder(async (folder) => {
    await tryRule(rule, () => ({ open: () => open(folder), inProcess: { module, argument: folder } }));
  }),
);

/** Writes and deletes a few keys over and over, until its process is gone or `rounds` are over. */
async function writeIn({ store }: StoreProcess, name: string, rounds: number): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    const key = `key-${round % 4}`;
    try {
      if (round % 5 === 4) await store.delete(key);
      else await store.put(key, bytes(`${name} ${round}`));
    } catch {
      return; // It was killed.
    }
  }
}

test(
  'after three processes wrote the same keys at once, the backup has what the primary has',
  { timeout: 60_000 },
  () =>
    inFolder(async (folder) => {
      const processes = await Promise.all(
        Array.from({ length: 3 }, () => startStoreProcess({ module, argument: folder })),
      );
      await Promise.all(processes.map((process, at) => writeIn(process, `process ${at}`, 80)));
      await Promise.all(processes.map((process) => process.end()));
      const [primary, backup] = [filesIn(folder, 'primary'), filesIn(folder, 'backup')];
      expect(await copiesIn(backup)).toEqual(await valuesIn(primary));
      await Promise.all([primary.close?.(), backup.close?.()]);
    }),
);

test('what a killed process left undone in the backup is brought there by repair', { timeout: 60_000 }, () =>
  inFolder(async (folder) => {
    const [doomed, other] = await Promise.all([
      startStoreProcess({ module, argument: folder }),
      startStoreProcess({ module, argument: folder }),
    ]);
    const writing = writeIn(doomed, 'doomed', 10_000);
    await writeIn(other, 'other', 60);
    await doomed.kill();
    await writing;
    await other.end();
    const store = open(folder);
    await store.repair({ believe: 'primary' });
    expect(await store.compare()).toMatchObject({ differing: 0, unreachable: [] });
    await store.close();
  }),
);
