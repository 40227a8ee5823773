// @ts-check
/**
 * Kills a working agent again and again, damages its newest checkpoint once, and proves that it ends with the very
 * result of an agent that nobody disturbed. Exits with 1 if it does not.
 *
 *   node main.mjs [--seed 1] [--kills 5] [--packages 40]
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { killChildren, startChild } from './child-processes.mjs';
import { runToTheEnd, runWithCrashes } from './crashes.mjs';
import { listPackages } from './packages.mjs';
import { compareResults } from './proof.mjs';
import { seededRandom } from './random.mjs';
import { Progress, printTable } from './report.mjs';
import { bytesOnDisk, damageNewest, forgetFinding, newestCheckpoint } from './store.mjs';
import { Tally } from './tally.mjs';

const session = 'licence-audit';
const minStepsPerKill = 10;

const { seed, kills, packages, sabotage } = readOptions();
const startedAtMs = performance.now();
const directory = mkdtempSync(join(tmpdir(), 'holdfast-demo-'));
leaveNothingBehind();

const steps = (await listPackages(packages)).length;
if (steps < kills * minStepsPerKill)
  refuse(`${kills} kills need ${kills * minStepsPerKill} packages, there are ${steps}.`);
console.log(
  `An agent audits the licences of ${steps} packages and is killed ${kills} times on its way (seed ${seed}).`,
);
const classifierUrl = await startClassifier();
const progress = new Progress();

// 1. The run that is killed. In the middle, bytes of its newest checkpoint are flipped on disk.
const killed = { directory: join(directory, 'killed'), session };
const tally = new Tally(progress);
let damaged = 0;
progress.begin('killed run', steps);
await runWithCrashes({ place: killed, classifierUrl, steps, tally }, { kills, random: seededRandom(seed), whileDead });
const diskBytes = await bytesOnDisk(killed);

// 2. The same work, undisturbed.
const undisturbed = { directory: join(directory, 'undisturbed'), session };
progress.begin('undisturbed run', steps);
await runToTheEnd({ place: undisturbed, classifierUrl, steps, tally: new Tally(progress) });
progress.end();

// 3. The proof.
const proof = await compareResults(killed, undisturbed);
const { findings } = (await newestCheckpoint(killed)).state;
printTable({ tally, kills, steps, diskBytes, damaged, proof, findings });
console.log(`${'time'.padEnd(24)}${((performance.now() - startedAtMs) / 1000).toFixed(1)} s`);
process.exitCode = proof.isEqual && tally.damagedFound.has(damaged) ? 0 : 1;
killChildren();

/** @param {number} kill */
async function whileDead(kill) {
  if (sabotage && kill === 1) await forgetFinding(killed);
  if (kill !== Math.ceil(kills / 2)) return;
  damaged = await damageNewest(killed);
  progress.say(`flipped 8 bytes of checkpoint ${damaged} on disk`);
}

function readOptions() {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string', default: '1' },
      kills: { type: 'string', default: '5' },
      packages: { type: 'string', default: 'Infinity' },
      // For the test: the agent forgets a finding on its way, which the proof must notice.
      sabotage: { type: 'boolean', default: false },
    },
  });
  const numbers = { seed: Number(values.seed), kills: Number(values.kills), packages: Number(values.packages) };
  if (!Number.isInteger(numbers.seed)) refuse('--seed takes a whole number.');
  if (!Number.isInteger(numbers.kills) || numbers.kills < 1) refuse('--kills takes a whole number from 1.');
  if (!(numbers.packages >= 1)) refuse('--packages takes a number from 1.');
  return { ...numbers, sabotage: values.sabotage };
}

/**
 * @param {string} reason
 * @returns {never}
 */
function refuse(reason) {
  console.error(reason);
  process.exit(2);
}

/** @returns {Promise<string>} Its URL. */
function startClassifier() {
  return new Promise((resolve, reject) => {
    const { ended } = startChild('classifier-service.mjs', [String(seed)], ({ url }) => resolve(url));
    ended.then(() => reject(new Error('The classifier service did not start.')), reject);
  });
}

/** Children and files go whatever ends this process: success, an error, Ctrl-C. */
function leaveNothingBehind() {
  process.once('exit', () => {
    killChildren();
    rmSync(directory, { recursive: true, force: true, maxRetries: 5 }); // A child may write until it is gone.
  });
  for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])) {
    process.once(signal, () => process.exit(128 + constants.signals[signal]));
  }
}
