import { isHoldfastError } from '../../src/base/errors.js';
import type { RestoredCheckpoint } from '../../src/checkpoints/checkpoint.js';
import { CheckpointManager } from '../../src/checkpoints/checkpoint-manager.js';
import type { StorageAdapter } from '../../src/storage/adapter.js';
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
    const checksums = new Map<number, string>();
    for (const state of conversation()) {
      const { sequence, checksum } = await checkpoints.save('agent', state);
      checksums.set(sequence, checksum);
    }
    const originals = await valuesOf(storage);
    const random = seeded(1_000_000);
    const tried = lane === 'quick' ? 5_000 : 1_000_000;
    const bad: string[] = [];
    for (let run = 0; run < tried; run++) {
      const [key, original] = originals[Math.floor(random() * originals.length)] as (typeof originals)[number];
      await storage.put(key, mutate(Buffer.from(original), random));
      const start = performance.now();
      const outcome = await checkpoints.restore('agent').then((restored) => judge(restored, checksums), judgeError);
      if (performance.now() - start > MAX_MS) bad.push(`run ${run} took ${performance.now() - start} ms`);
      if (outcome !== undefined) bad.push(`run ${run}: ${outcome}`);
      await storage.put(key, original);
    }
    if (({} as { polluted?: unknown }).polluted !== undefined) bad.push('Object.prototype was changed');
    return { tried, bad };
  },
};

/** Four states that share most of their chunks, so that a record holds parts of several. */
function conversation(): unknown[] {
  const awkward = [{ at: new Date(0), big: 12n, map: new Map([[1, new Set(['x'])]]) }];
  const messages = Array.from({ length: 12 }, (_, at) => `message ${at} `.repeat(60));
  return [9, 10, 11, 12].map((length) => ({ nested: awkward, messages: messages.slice(0, length) }));
}

async function valuesOf(storage: StorageAdapter): Promise<(readonly [key: string, value: Buffer])[]> {
  const { entries } = await storage.list('');
  return Promise.all(
    entries.map(async ({ key }) => [key, Buffer.from((await storage.get(key))?.value as Uint8Array)] as const),
  );
}

/** What is wrong with what came back: it must be what was saved, and the newest unless it says otherwise. */
function judge(restored: RestoredCheckpoint<unknown> | undefined, checksums: Map<number, string>): string | undefined {
  if (restored === undefined) return 'the session is gone without a word';
  const { sequence, checksum } = restored.checkpoint;
  if (checksums.get(sequence) !== checksum) return `checkpoint ${sequence} is silently another`;
  return sequence === checksums.size || restored.degraded
    ? undefined
    : `${sequence} is served as if it were the newest`;
}

function judgeError(error: unknown): string | undefined {
  return isHoldfastError(error) ? undefined : `untyped ${String(error)}`;
}
