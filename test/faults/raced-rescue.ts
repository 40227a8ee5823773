import type { FaultRow } from './row.js';
import { type Child, problems, turns } from './scene.js';
import { inSessionScene, type SessionScene } from './session-scene.js';

const LEASE_MS = 2_000;
const SESSIONS = 100;
const RESCUERS = 4;

/** Kills the process of a hundred sessions; four others rescue them, of which two are killed on their way. */
async function rescueUnderFire(): Promise<string[]> {
  return inSessionScene(LEASE_MS, async (world) => {
    const holder = world.start('holder', 'hold', SESSIONS);
    await holder.says(SESSIONS);
    await holder.kill();
    const rescuers = Array.from({ length: RESCUERS }, (_, at) => world.start(`rescuer-${at}`, 'rescue'));
    const bad: string[] = [];
    for (const [at, effects] of [40, 120].entries()) {
      if (!(await hasCome(world, effects, rescuers))) bad.push(`fewer than ${effects} effects: nobody was killed`);
      await rescuers[at]?.kill();
    }
    await Promise.all(rescuers.map(({ ended }) => ended));
    bad.push(...overlaps(await world.effects()));
    const statuses = new Map<string, number>();
    for await (const { status } of world.sessions.list()) statuses.set(status, (statuses.get(status) ?? 0) + 1);
    const text = JSON.stringify([...statuses]);
    return statuses.get('completed') === SESSIONS ? bad : [...bad, `the sessions are ${text}`];
  });
}

/** Waits for so many effects; false if all rescuers ended before. */
async function hasCome(world: SessionScene, effects: number, rescuers: readonly Child[]): Promise<boolean> {
  let areAllOver = false;
  void Promise.all(rescuers.map(({ ended }) => ended)).then(() => {
    areAllOver = true;
  });
  while ((await world.effects()).length < effects) {
    if (areAllOver) return false;
    await turns(10);
  }
  return true;
}

/** Steps that somebody did after another one with a higher fence had begun. */
function overlaps(effects: readonly (readonly string[])[]): string[] {
  const highest = new Map<string, number>();
  return effects.flatMap(([id = '', fence = '', name]) => {
    const before = highest.get(id) ?? 0;
    highest.set(id, Math.max(before, Number(fence)));
    return Number(fence) < before ? [`${name} acted for ${id} with fence ${fence} after fence ${before}`] : [];
  });
}

export const racedRescue: FaultRow = {
  fault: '100 sessions of a killed process, 4 rescuers at once, 2 of them killed',
  async run(lane) {
    const tried = lane === 'quick' ? 1 : 10;
    const bad: string[] = [];
    for (let attempt = 1; attempt <= tried; attempt++) {
      bad.push(...(await problems(`attempt ${attempt}`, rescueUnderFire)));
    }
    return { tried, bad, note: `${tried * SESSIONS} sessions, one holder at a time` };
  },
};
