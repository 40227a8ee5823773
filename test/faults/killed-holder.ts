import type { FaultRow } from './row.js';
import { problems } from './scene.js';
import { inSessionScene } from './session-scene.js';

/** Long: that a process was killed is proved, not waited for. */
const LEASE_MS = 15_000;
const LATE_MS = 1_000;

/** Kills the process that saves a session on and on, while this one waits for it. */
async function killAndTakeOver(tookMs: number[]): Promise<string[]> {
  return inSessionScene(LEASE_MS, async (world) => {
    const holder = world.start('holder', 'hold', 1);
    await holder.says(1);
    const waiting = world.sessions.recover('session-0', { waitMs: 2 * LEASE_MS });
    await holder.kill();
    const killedMs = performance.now();
    const session = await waiting;
    const ms = performance.now() - killedMs;
    tookMs.push(ms);
    const bad = ms < LATE_MS ? [] : [`it was taken over ${ms.toFixed(0)} ms after the kill`];
    const evidence = session.takeover?.evidence[0] ?? 'nothing';
    if (!/^its process \(\d+\) on this host has ended$/.test(evidence)) bad.push(`the evidence was ${evidence}`);
    const by = (await session.restore())?.state.by;
    return by === 'holder' ? bad : [...bad, `the state was saved by ${by}`];
  });
}

export const killedHolder: FaultRow = {
  fault: 'kill -9 of the process that holds a session, another one waiting for it',
  async run(lane) {
    const tried = lane === 'quick' ? 1 : 30;
    const bad: string[] = [];
    const tookMs: number[] = [];
    for (let kill = 1; kill <= tried; kill++) {
      bad.push(...(await problems(`kill ${kill}`, () => killAndTakeOver(tookMs))));
    }
    return { tried, bad, note: `taken over after ${Math.max(...tookMs).toFixed(0)} ms at most` };
  },
};
