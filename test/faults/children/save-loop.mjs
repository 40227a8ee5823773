// Saves checkpoints of a long conversation and puts keys without end, says what was acknowledged, and ends in the way it is told to.
import { CheckpointManager, fileStorage } from 'holdfast';
import { say, seeded, textOf } from './speech.mjs';

const [folder, seed, ending = 'never', acksBeforeEnding = '0'] = process.argv.slice(2);
const random = seeded(Number(seed));
const storage = fileStorage(folder, { compactAtBytes: 48 * 1024 });
const checkpoints = new CheckpointManager({ storage });
const endings = {
  exit: () => process.exit(7),
  throw: () => {
    throw new Error('thrown on purpose');
  },
};
let acks = 0;

function acknowledged(...words) {
  say(...words);
  if (++acks !== Number(acksBeforeEnding) || ending === 'never') return;
  let turns = Math.floor(random() * 40);
  const later = () => (turns-- > 0 ? setImmediate(later) : endings[ending]());
  setImmediate(later);
}

async function saveCheckpoints() {
  const restored = await checkpoints.restore('loop');
  let { step, messages } = restored?.state ?? { step: 0, messages: [] };
  for (;;) {
    step++;
    // Most of a state is in packs of older checkpoints, which are merged and pruned under it.
    const length = step % 8 === 0 ? 128 * 1024 : 200 + 16 * (step % 200);
    messages = [...messages.slice(-40), textOf(random, length)];
    const saved = await checkpoints.save('loop', { step, messages });
    acknowledged('acked', saved.session, saved.sequence, saved.checksum);
    const { removed } = await checkpoints.prune('loop', { keepLast: 3 });
    for (const sequence of removed) say('pruned', sequence);
  }
}

async function putKey(key) {
  const stored = await storage.get(key);
  let count = stored === undefined ? 0 : Number.parseInt(Buffer.from(stored.value).toString(), 10);
  for (;;) {
    count++;
    const text = `${count} ${textOf(random, random() * 3000)}`;
    await storage.put(key, Buffer.from(text));
    acknowledged('put', key, count, text.length);
  }
}

await Promise.all([saveCheckpoints(), putKey('keys/a'), putKey('keys/b'), putKey('keys/c')]);
