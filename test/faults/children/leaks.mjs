// Uses stores in one of several ways and says what is left of them in the process.
import { readdirSync, readlinkSync } from 'node:fs';
import { CheckpointManager, fileStorage } from 'holdfast';
import { say } from './speech.mjs';

const [folder, act] = process.argv.slice(2);

/** Paths and kinds of all open files but the one that lists them. */
function openFiles() {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/self/fd/${fd}`)];
    } catch {
      return [];
    }
  });
}

async function useStore(saves, isClosing = true) {
  const storage = fileStorage(folder, { compactAtBytes: 16 * 1024 });
  const checkpoints = new CheckpointManager({ storage });
  for (let step = 0; step < saves; step++) await checkpoints.save('run', { step });
  await checkpoints.restore('run');
  if (isClosing) await storage.close();
}

const leftovers = () => JSON.stringify([openFiles().length, process.getActiveResourcesInfo().sort()]);

async function cycles() {
  for (let warm = 0; warm < 5; warm++) await useStore(2);
  say('cycling'); // From here on the pipe to the parent is open, too.
  const before = leftovers();
  for (let cycle = 0; cycle < 50; cycle++) await useStore(2);
  const after = leftovers();
  say('before', before);
  say('after', after);
}

/** 2,000 saves; says the most files of the store that were open at once, compactions, and bytes the heap grew by. */
async function longRun() {
  let mostOpen = 0;
  let compactions = 0;
  const emit = ({ type }) => {
    if (type === 'storage.compacted') compactions++;
  };
  const storage = fileStorage(folder, { compactAtBytes: 64 * 1024, emit });
  const checkpoints = new CheckpointManager({ storage });
  const sessions = Array.from({ length: 20 }, (_, at) => `run ${at}`);
  const saveRounds = async (rounds) => {
    for (let round = 0; round < rounds; round++) {
      await Promise.all(sessions.map((session) => checkpoints.save(session, { round, text: 'x'.repeat(1000) })));
      if (round % 5 === 0) await Promise.all(sessions.map((session) => checkpoints.prune(session, { keepLast: 2 })));
      mostOpen = Math.max(mostOpen, openFiles().filter((path) => path.startsWith(folder)).length);
    }
    globalThis.gc();
    return process.memoryUsage().heapUsed;
  };
  const before = await saveRounds(50);
  const after = await saveRounds(50);
  await storage.close();
  say('open', mostOpen, 'compactions', compactions, 'grew', after - before);
  say('left', openFiles().filter((path) => path.startsWith(folder)).length);
}

const acts = { save: () => useStore(100), 'leave-open': () => useStore(100, false), cycles, 'long-run': longRun };
await acts[act]();
