import { CheckpointManager } from '../../src/checkpoints/checkpoint-manager.js';
import { fileStorage } from '../../src/storage/log/file-storage.js';
import { seeded } from './crash-states.js';
import { beginsDraft } from './drafts.js';
import { leftovers } from './ledger.js';
import type { FaultRow } from './row.js';
import { inScene, problems, SEED, turns } from './scene.js';

/** Enough for several compactions. */
const SAVES = 25;
const KEEP = 2;

interface Saved {
  readonly sequence: number;
  readonly checksum: string;
}

/** Opens the store, goes on from what is there and saves far enough that the next number of the other is pruned. */
async function overtake(folder: string): Promise<{ restored: number; kept: Saved[] }> {
  const storage = fileStorage(folder, { compactAtBytes: 16 * 1024 });
  const checkpoints = new CheckpointManager({ storage });
  const restored = await checkpoints.restore('run');
  const saved: Saved[] = [];
  for (let step = 0; step < SAVES; step++) {
    saved.push(await checkpoints.save('run', { by: 'parent', step, text: 'p'.repeat(3000) }));
    await checkpoints.prune('run', { keepLast: KEEP });
  }
  await storage.close();
  return { restored: restored?.checkpoint.sequence ?? 0, kept: saved.slice(-KEEP) };
}

/** Names what the other writer did to the checkpoints that overtook it. */
async function judge(folder: string, kept: readonly Saved[]): Promise<string[]> {
  const bad: string[] = [];
  const storage = fileStorage(folder);
  const checkpoints = new CheckpointManager<{ by: string }>({ storage });
  const restored = await checkpoints.restore('run');
  if (restored?.state.by !== 'parent' || restored.degraded)
    bad.push(`the newest is ${JSON.stringify(restored?.checkpoint)}`);
  const found: Saved[] = [];
  for await (const { sequence, checksum } of checkpoints.list('run')) found.unshift({ sequence, checksum });
  const expected = kept.map(({ sequence, checksum }) => ({ sequence, checksum }));
  if (JSON.stringify(found) !== JSON.stringify(expected))
    bad.push(`${JSON.stringify(found)} is there, not ${JSON.stringify(expected)}`);
  await storage.close();
  return bad;
}

async function freezeAndOvertake(seed: number, isCompacting: boolean, random: () => number): Promise<string[]> {
  return inScene(async ({ folder, start }) => {
    const child = start('overtaken-writer.mjs', folder, seed);
    await child.says(1 + Math.floor(random() * 25));
    if (isCompacting) await beginsDraft(folder, child);
    await turns(Math.floor(random() * (isCompacting ? 60 : 300)));
    await child.freeze();
    const { restored, kept } = await overtake(folder);
    child.thaw();
    const { code, errorText } = await child.ended;
    const bad = [...(await leftovers(folder)), ...(await judge(folder, kept))];
    if (child.lines.at(-1) !== 'told' || code !== 0) bad.push(`it was not told: "${child.lines.at(-1)}" ${errorText}`);
    const newestAcked = Math.max(0, ...child.lines.map((line) => Number(/^acked (\d+)$/.exec(line)?.[1] ?? 0)));
    if (newestAcked > restored) bad.push(`${newestAcked} was acknowledged to it, the other went on from ${restored}`);
    return bad;
  });
}

export const frozenWriter: FaultRow = {
  fault: 'process stopped inside a save or compaction, overtaken and pruned, continued',
  async run(lane) {
    const tried = lane === 'quick' ? 3 : 10;
    const random = seeded(SEED);
    const bad: string[] = [];
    for (let freeze = 1; freeze <= tried; freeze++) {
      bad.push(
        ...(await problems(`stop ${freeze} (seed ${SEED})`, () =>
          freezeAndOvertake(SEED + freeze, freeze % 2 === 0, random),
        )),
      );
    }
    return { tried, bad };
  },
};
