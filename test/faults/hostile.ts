import { isHoldfastError } from '../../src/base/errors.js';
import { CheckpointManager } from '../../src/checkpoints/checkpoint-manager.js';
import { memoryStorage } from '../../src/storage/memory.js';
import { seeded } from './crash-states.js';
import type { FaultResult, FaultRow, Lane } from './row.js';

/** How long one hostile record may take: anything near it is a hang in the making. */
const MAX_MS = 500;

/** Mutate a record: flip, cut, grow, splice, or fill a stretch with bytes that parsers dislike. */
function mutate(bytes: Buffer, random: () => number): Buffer {
  const at = Math.floor(random() * bytes.length);
  const length = Math.floor(random() * 40);
  const kind = Math.floor(random() * 5);
  if (kind === 0) bytes[at] = (bytes[at] as number) ^ (1 << Math.floor(random() * 8));
  if (kind === 1) return bytes.subarray(0, at);
  if (kind === 2) return Buffer.concat([bytes, Buffer.alloc(length, at)]);
  if (kind === 3) return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)]);
  if (kind === 4) bytes.fill('[{"__proto__":', at, Math.min(at + length, bytes.length));
  return bytes;
}

/** Records are mutated where a host keeps them; a restore must give the saved state or say what is wrong. */
export const hostileBytes: FaultRow = {
  fault: 'mutated records in a store that checks nothing itself',
  async run(lane: Lane): Promise<FaultResult> {
    const storage = memoryStorage();
    const checkpoints = new CheckpointManager<unknown>({ storage });
    const state = { text: 'state', nested: [{ at: new Date(0), big: 12n, map: new Map([[1, new Set(['x'])]]) }] };
    const { checksum } = await checkpoints.save('agent', state);
    const key = (await storage.list('')).entries[0]?.key as string;
    const original = Buffer.from((await storage.get(key))?.value as Uint8Array);
    const random = seeded(1_000_000);
    const tried = lane === 'quick' ? 5_000 : 1_000_000;
    const bad: string[] = [];
    for (let run = 0; run < tried; run++) {
      await storage.put(key, mutate(Buffer.from(original), random));
      const start = performance.now();
      const outcome = await checkpoints.restore('agent').then((restored) => restored?.checkpoint.checksum, judgeError);
      if (performance.now() - start > MAX_MS) bad.push(`run ${run} took ${performance.now() - start} ms`);
      if (outcome !== checksum && outcome !== 'typed') bad.push(`run ${run}: ${outcome}`);
    }
    if (({} as { polluted?: unknown }).polluted !== undefined) bad.push('Object.prototype was changed');
    return { tried, bad };
  },
};

function judgeError(error: unknown): string {
  return isHoldfastError(error) ? 'typed' : `untyped ${String(error)}`;
}
