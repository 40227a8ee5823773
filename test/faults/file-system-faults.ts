import { isHoldfastError } from '../../src/base/errors.js';
import { CheckpointManager } from '../../src/checkpoints/checkpoint-manager.js';
import { type FileStorage, fileStorageOn } from '../../src/storage/log/file-storage.js';
import { ModelFileSystem } from '../support/model-file-system.js';
import type { FaultResult, FaultRow, Lane } from './row.js';

const ROOT = '/model';
const SAVES = 8;
const OPTIONS = { compactAtBytes: 6 * 1024 };

/** How one call goes wrong. `full` leaves room for half a frame and stays; the others happen once. */
const FAULTS = ['EIO', 'ENOSPC', 'EMFILE', 'EACCES', 'full', 'killed'] as const;
type Fault = (typeof FAULTS)[number];

/** The process is gone: nothing it does from here on happens. */
class Killed extends Error {}

interface Run {
  readonly calls: number;
  /** Newest sequence that was acknowledged. */
  readonly acknowledged: number;
  readonly fs: ModelFileSystem;
  readonly storage: FileStorage;
  readonly untyped: readonly string[];
}

/** Saves checkpoints and overwrites a key while call number `faultAt` goes wrong. */
async function run(fault: Fault, faultAt: number): Promise<Run> {
  const fs = new ModelFileSystem();
  let calls = 0;
  let isKilled = false;
  fs.beforeCall = (call, path) => {
    calls++;
    if (isKilled) throw new Killed();
    if (calls !== faultAt) return;
    if (fault === 'killed') isKilled = true;
    if (fault === 'full') fs.roomBytes = 70;
    if (isKilled) throw new Killed();
    if (fault !== 'full') throw Object.assign(new Error(`${fault}: ${call} ${path}`), { code: fault });
  };
  const storage = fileStorageOn(fs, ROOT, OPTIONS);
  const checkpoints = new CheckpointManager({ storage });
  const untyped: string[] = [];
  let acknowledged = 0;
  for (let step = 1; step <= SAVES; step++) {
    try {
      await storage.put('filler', Buffer.alloc(900, step));
      const { sequence } = await checkpoints.save('agent', { step, text: 'x'.repeat(300) });
      acknowledged = sequence;
    } catch (error) {
      if (!isHoldfastError(error) && !isKilled) untyped.push(String(error));
    }
  }
  return { calls, acknowledged, fs, storage, untyped };
}

/** What is wrong after the fault: in the store as it stands, and in one opened on the same files. */
async function judge({ acknowledged, fs, storage, untyped }: Run, fault: Fault): Promise<string | undefined> {
  if (untyped.length > 0) return `an untyped error reached the caller: ${untyped[0]}`;
  fs.beforeCall = () => {};
  fs.roomBytes = Number.POSITIVE_INFINITY;
  const survivors = fault === 'killed' ? [] : [storage];
  for (const open of [...survivors, fileStorageOn(new ModelFileSystem(fs.image()), ROOT, OPTIONS)]) {
    const checkpoints = new CheckpointManager<{ step: number }>({ storage: open });
    const restored = await checkpoints.restore('agent');
    const newest = restored?.checkpoint.sequence ?? 0;
    if (newest < acknowledged) return `checkpoint ${acknowledged} was acknowledged, ${newest} is the newest`;
    if (restored?.degraded) return 'the store says it is damaged';
    const saved = await checkpoints.save('agent', { step: 99 });
    if ((await checkpoints.restore('agent'))?.checkpoint.sequence !== saved.sequence)
      return 'the next save is not restored';
    await open.close();
  }
  return undefined;
}

export const everyCallFails: FaultRow = {
  fault:
    'every file-system call of a save loop with compaction fails once: EIO, ENOSPC, EMFILE, EACCES, full, kill (model)',
  async run(lane: Lane): Promise<FaultResult> {
    const { calls } = await run('EIO', Number.POSITIVE_INFINITY);
    const bad: string[] = [];
    let tried = 0;
    for (const fault of FAULTS) {
      for (let at = 1; at <= calls + 3; at += lane === 'quick' ? 2 : 1) {
        tried++;
        try {
          const problem = await judge(await run(fault, at), fault);
          if (problem) bad.push(`${fault} at call ${at}: ${problem}`);
        } catch (error) {
          bad.push(`${fault} at call ${at}: ${error instanceof Error ? error.message : String(error)}`);
        }
      }
    }
    return { tried, bad, note: `${calls} calls` };
  },
};
