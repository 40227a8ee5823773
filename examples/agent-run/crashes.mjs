// @ts-check
import { startChild } from './child-processes.mjs';

/** Longest wait between the start of the fatal step and the kill: enough to hit any part of this step or the next. */
const MAX_KILL_DELAY_MS = 50;

/**
 * @typedef {object} Run
 * @property {import('./store.mjs').Place} place
 * @property {string} classifierUrl
 * @property {number} steps Packages to audit.
 * @property {import('./tally.mjs').Tally} tally
 */

/**
 * Starts the orchestrator and kills it `kills` times on its way; each start goes on where the last one was killed.
 * @param {Run} run
 * @param {object} crashes
 * @param {number} crashes.kills
 * @param {() => number} crashes.random When to kill.
 * @param {(kill: number) => Promise<void>} crashes.whileDead Runs after each kill, 1 for the first.
 */
export async function runWithCrashes(run, { kills, random, whileDead }) {
  for (let kill = 1; kill <= kills; kill++) {
    // In a part of the way of its own, so that every kill finds new work to interrupt.
    const lastStep = 1 + Math.floor((run.steps / (kills + 1)) * (kill - 0.5 + 0.4 * random()));
    const { signal } = await live(run, lastStep, random() * MAX_KILL_DELAY_MS);
    if (signal !== 'SIGKILL') throw new Error(`The orchestrator ended before kill ${kill}.`);
    run.tally.killed();
    await whileDead(kill);
  }
  await runToTheEnd(run);
}

/**
 * Starts the orchestrator and waits until it is done.
 * @param {Run} run
 */
export async function runToTheEnd(run) {
  const { code, signal } = await live(run, Number.POSITIVE_INFINITY, 0);
  if (code !== 0) throw new Error(`The orchestrator ended with ${signal ?? `exit code ${code}`}.`);
}

/**
 * One life of the orchestrator.
 * @param {Run} run
 * @param {number} lastStep The step that is its last.
 * @param {number} killDelayMs From the start of that step.
 */
function live({ place, classifierUrl, steps, tally }, lastStep, killDelayMs) {
  tally.orchestratorStarted();
  let isDoomed = false;
  const args = [place.directory, place.session, classifierUrl, String(steps)];
  const orchestrator = startChild('orchestrator.mjs', args, (event) => {
    tally.record(event);
    if (isDoomed || event.type !== 'step.started' || event.step < lastStep) return;
    isDoomed = true;
    setTimeout(orchestrator.kill, killDelayMs);
  });
  return orchestrator.ended;
}
