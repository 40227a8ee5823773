import type { FaultRow } from './row.js';
import { problems } from './scene.js';
import { inSessionScene } from './session-scene.js';

const LEASE_MS = 400;
const HELD = 10;
const IDS = Array.from({ length: HELD }, (_, at) => `session-${at}`);

/** Stops the process that saves ten sessions on and on past its lease, takes them over, and lets it go on. */
async function freezeAndTakeOver(): Promise<string[]> {
  return inSessionScene(LEASE_MS, async (world) => {
    const { sessions, checkpoints } = world;
    const holder = world.start('holder', 'hold', HELD);
    await holder.says(HELD);
    await holder.freeze();
    const taken = await Promise.all(IDS.map((id) => sessions.recover(id, { waitMs: 30 * LEASE_MS })));
    await Promise.all(taken.map((session) => session.checkpoint({ count: 0, by: 'taker' })));
    holder.thaw();
    await holder.ended;
    const told = holder.lines.slice(HELD);
    const untold = IDS.filter((id) => !told.includes(`stopped ${id} HOLDFAST_FENCED`));
    const bad = untold.map((id) => `the holder of ${id} was not told: ${told.join(', ')}`);
    for (const session of taken) {
      const { by } = (await session.restore())?.state ?? {};
      if (by !== 'taker') bad.push(`${session.id} was overwritten by ${by}`);
      const { isIntact } = await checkpoints.verify(session.id, { depth: 'deep' });
      if (!isIntact) bad.push(`${session.id} is damaged`);
    }
    return bad;
  });
}

export const frozenHolder: FaultRow = {
  fault: 'process that holds ten sessions stopped past its lease, taken over, continued',
  async run(lane) {
    const tried = lane === 'quick' ? 1 : 20;
    const bad: string[] = [];
    for (let freeze = 1; freeze <= tried; freeze++) {
      bad.push(...(await problems(`stop ${freeze}`, freezeAndTakeOver)));
    }
    return { tried, bad, note: `${tried * HELD} sessions, none overwritten` };
  },
};
