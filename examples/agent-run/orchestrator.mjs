// @ts-check
/**
 * An agent that can be killed at any moment. It audits the licence of every installed package: one package is one step,
 * and every step ends with a checkpoint. Started again, it is brought back to the best state there is and goes on.
 *
 *   node orchestrator.mjs <store directory> <session> <classifier URL> [packages at most]
 */
import { createHoldfast, fileStorage } from 'holdfast';
import { classifierClient } from './classifier-client.mjs';
import { listPackages, readPackage } from './packages.mjs';

/**
 * Everything the agent knows. It holds no times and no attempt counts, so a run that was killed ends with the very same
 * state as one that was not.
 * @typedef {object} AgentState
 * @property {{ role: 'system' | 'user' | 'tool' | 'assistant', content: string }[]} messages
 * @property {{ package: string, declared: string, found: string, also: string[], verdict: string }[]} findings
 * @property {{ done: string[], next: string[] }} plan Folders of packages.
 */

const [storeDirectory = '', session = '', classifierUrl = '', packageLimit] = process.argv.slice(2);
leaveWithParent();

const storage = fileStorage(storeDirectory, { compactAtBytes: 1024 * 1024 });
/** @type {import('holdfast').Holdfast<AgentState>} */
const holdfast = createHoldfast({
  storage,
  emit: tell,
  checkpoints: { retention: { keepLast: 10 } },
  // A session whose processes die three times is left alone, as a rule. This one is killed on purpose.
  sessions: { takeovers: { max: Number.MAX_SAFE_INTEGER } },
  recovery: { budget: { attempts: Number.MAX_SAFE_INTEGER, perMs: 3_600_000 } },
});
const classify = classifierClient(classifierUrl, holdfast.retries, tell);

await holdfast.run(session, async (work) => {
  // 1. Go on from where the last process was killed, or begin.
  const recovery = holdfast.recoveryOf(work);
  if (recovery) tell({ type: 'agent.resumed', rung: recovery.rung, sequence: recovery.sequence, lost: recovery.lost });
  const state = (await work.restore())?.state ?? newAgent(await listPackages(Number(packageLimit ?? Infinity)));

  // 2. One package is one step; what it found is safe on disk before the next one begins.
  for (const folder of [...state.plan.next]) {
    tell({ type: 'step.started', step: state.plan.done.length + 1 });
    await audit(state, folder);
    await work.checkpoint(state, { operation: `audit ${folder}` });
  }
});
await holdfast.close();
await storage.close();

/**
 * @param {string[]} folders
 * @returns {AgentState}
 */
function newAgent(folders) {
  const task = `Audit the licences of ${folders.length} packages: does each text say what its manifest declares?`;
  return { messages: [{ role: 'system', content: task }], findings: [], plan: { done: [], next: folders } };
}

/**
 * One step. The state changes only after the last `await`, so it never holds half of one.
 * @param {AgentState} state
 * @param {string} folder
 */
async function audit(state, folder) {
  const { id, declared, licenceText } = await readPackage(folder);
  const { licence: found, also } = await classify(licenceText);
  const verdict = licenceText === '' ? 'has no licence text' : declared.includes(found) ? 'agrees' : 'differs';

  state.findings.push({ package: id, declared, found, also, verdict });
  state.messages.push(
    { role: 'user', content: `What about ${folder}?` },
    { role: 'tool', content: licenceText.split('\n').slice(0, 8).join('\n') },
    { role: 'assistant', content: `${id} declares ${declared}; its text is ${found}: ${verdict}.` },
  );
  state.plan.done.push(folder);
  state.plan.next.shift();
}

/**
 * Reports to the parent process, or to the terminal if this was started by hand.
 * @param {{ type: string } & Record<string, unknown>} event
 */
function tell(event) {
  if (process.connected) process.send?.(event);
  else console.log(JSON.stringify(event));
}

/** Ends when the parent is gone, and lets this process end before it. */
function leaveWithParent() {
  process.once('disconnect', () => process.exit());
  process.channel?.unref();
}
