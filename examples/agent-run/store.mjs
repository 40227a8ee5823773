// @ts-check
/** What the demo does with a store while no orchestrator runs. */
import { open, readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { CheckpointManager, fileStorage } from 'holdfast';

/**
 * @typedef {import('./orchestrator.mjs').AgentState} AgentState
 * @typedef {{ directory: string, session: string }} Place Where a run keeps its checkpoints.
 */

/**
 * The state a run stands at.
 * @param {Place} place
 */
export function newestCheckpoint({ directory, session }) {
  return withCheckpoints(directory, async (checkpoints) => {
    const restored = await checkpoints.restore(session);
    if (restored === undefined) throw new Error(`Session "${session}" in ${directory} has no checkpoint.`);
    return restored;
  });
}

/**
 * Flips eight bytes of the newest checkpoint where it lies on disk. Its sequence.
 * @param {Place} place
 */
export async function damageNewest(place) {
  const { state, checkpoint } = await newestCheckpoint(place);
  const newestWords = JSON.stringify(state.messages.at(-1)?.content).slice(1, -1); // No older checkpoint has them.
  const logs = (await readdir(place.directory)).filter((name) => name.startsWith('log-')).sort();
  const path = join(place.directory, logs.at(-1) ?? '');
  const bytes = await readFile(path);
  const offset = bytes.lastIndexOf(newestWords);
  if (offset < 0) throw new Error(`Checkpoint ${checkpoint.sequence} was not found in ${path}.`);
  const flipped = bytes.subarray(offset, offset + 8).map((byte) => byte ^ 0xff);
  const file = await open(path, 'r+');
  await file.write(flipped, 0, flipped.length, offset);
  await file.close();
  return checkpoint.sequence;
}

/**
 * Makes the agent forget its last finding, by a checkpoint that is as intact as any.
 * @param {Place} place
 */
export async function forgetFinding({ directory, session }) {
  await withCheckpoints(directory, async (checkpoints) => {
    const restored = await checkpoints.restore(session);
    restored?.state.findings.pop();
    if (restored) await checkpoints.save(session, restored.state);
  });
}

/** @param {Place} place */
export async function bytesOnDisk({ directory }) {
  const files = await Promise.all((await readdir(directory)).map((name) => stat(join(directory, name))));
  return files.reduce((sum, { size }) => sum + size, 0);
}

/**
 * @template Result
 * @param {string} directory
 * @param {(checkpoints: CheckpointManager<AgentState>) => Promise<Result>} use
 */
async function withCheckpoints(directory, use) {
  const storage = fileStorage(directory);
  try {
    return await use(new CheckpointManager({ storage }));
  } finally {
    await storage.close();
  }
}
