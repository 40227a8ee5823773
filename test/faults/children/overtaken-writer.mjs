// Saves to one session until another writer has overtaken it, and says so.
import { CheckpointManager, ConflictError, fileStorage } from 'holdfast';
import { say, seeded, textOf } from './speech.mjs';

const [folder, seed] = process.argv.slice(2);
const random = seeded(Number(seed));
const storage = fileStorage(folder, { compactAtBytes: 16 * 1024 });
const checkpoints = new CheckpointManager({ storage });

async function saveUntilOvertaken() {
  await checkpoints.restore('run');
  for (;;) {
    const { sequence } = await checkpoints.save('run', { by: 'child', text: textOf(random, random() * 6000) });
    say('acked', sequence);
    if (random() < 0.3) await checkpoints.prune('run', { keepLast: 2 });
  }
}

try {
  await saveUntilOvertaken();
} catch (error) {
  say(error instanceof ConflictError ? 'told' : `failed: ${error.stack}`);
}
await storage.close();
