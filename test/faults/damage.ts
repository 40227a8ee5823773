import { isDeepStrictEqual } from 'node:util';
import { isHoldfastError } from '../../src/base/errors.js';
import { CheckpointManager } from '../../src/checkpoints/checkpoint-manager.js';
import { type FileStorage, fileStorageOn } from '../../src/storage/log/file-storage.js';
import type { StorageEvent } from '../../src/storage/log/storage-event.js';
import { type DiskImage, ModelFileSystem } from '../support/model-file-system.js';
import { seeded } from './crash-states.js';
import type { FaultResult, FaultRow, Lane } from './row.js';

const ROOT = '/model';
const SESSION = 'agent';

/** A store as it was closed, and what must come back from it. */
interface Sample {
  readonly image: DiskImage;
  readonly state: unknown;
  readonly newest: number;
}

/** A session with four checkpoints and a key that was overwritten: damage could bring an older one of each back. */
async function sample(padding: string, isCompacted: boolean): Promise<Sample> {
  const fs = new ModelFileSystem();
  const storage = fileStorageOn(fs, ROOT);
  const checkpoints = new CheckpointManager({ storage });
  const stateOf = (step: number) => ({ step, padding });
  for (let step = 1; step <= 4; step++) {
    await checkpoints.save(SESSION, stateOf(step));
    await storage.put('counter', Buffer.from(`value ${step}`));
  }
  if (isCompacted) await storage.repair();
  await storage.close();
  // Compacted: as after a clean close. Else without the index file: as after a crash.
  const isLeftOut = (name: string) => (isCompacted ? name.endsWith('-00000001') : name.includes('/index-'));
  const image = new Map([...fs.image()].filter(([name]) => !isLeftOut(name)));
  return { image, state: stateOf(4), newest: 4 };
}

/** Opens the damaged disk and says what is silently wrong, or `reported` if an event told of a torn tail. */
async function judge(image: DiskImage, { state, newest }: Sample): Promise<string | 'reported' | undefined> {
  const events: StorageEvent[] = [];
  const storage = fileStorageOn(new ModelFileSystem(image), ROOT, { emit: (event) => events.push(event) });
  const judgements = [await judgeSession(storage, state, newest), await judgeKey(storage), await judgeList(storage)];
  const problems = judgements.filter((it) => it !== undefined);
  await storage.close();
  if (problems.length === 0) return undefined;
  return events.some(({ type }) => type === 'storage.torn') ? 'reported' : problems.join('; ');
}

async function judgeSession(storage: FileStorage, state: unknown, newest: number): Promise<string | undefined> {
  try {
    const restored = await new CheckpointManager({ storage }).restore(SESSION);
    if (restored === undefined) return 'the session is gone without a word';
    if (restored.checkpoint.sequence === newest) {
      return isDeepStrictEqual(restored.state, state) ? undefined : 'the newest state is silently wrong';
    }
    return restored.degraded
      ? undefined
      : `checkpoint ${restored.checkpoint.sequence} is served as if it were the newest`;
  } catch (error) {
    return isHoldfastError(error) ? undefined : `an untyped error: ${error}`;
  }
}

async function judgeKey(storage: FileStorage): Promise<string | undefined> {
  try {
    const entry = await storage.get('counter');
    if (entry === undefined) return 'a key is gone without a word';
    const value = Buffer.from(entry.value).toString();
    return value === 'value 4' || entry.suspect ? undefined : `a key is silently "${value}"`;
  } catch (error) {
    return isHoldfastError(error) ? undefined : `an untyped error: ${error}`;
  }
}

async function judgeList(storage: FileStorage): Promise<string | undefined> {
  try {
    const { entries, suspect } = await storage.list('counter');
    return entries.length > 0 || suspect ? undefined : 'a key is gone from the list without a word';
  } catch (error) {
    return isHoldfastError(error) ? undefined : `an untyped error: ${error}`;
  }
}

function changed(image: DiskImage, name: string, change: (bytes: Buffer) => Buffer): DiskImage {
  return new Map(image).set(name, change(Buffer.from(image.get(name) as Buffer)));
}

async function flipAll(from: Sample, masks: readonly number[], step: number): Promise<FaultResult> {
  const bad: string[] = [];
  let tried = 0;
  for (const [name, bytes] of from.image) {
    for (let at = 0; at < bytes.length; at += step) {
      for (const mask of masks) {
        tried++;
        const problem = await judge(
          changed(from.image, name, (it) => flip(it, at, mask)),
          from,
        );
        if (problem) bad.push(`${name} byte ${at} ^ ${mask}: ${problem}`);
      }
    }
  }
  return { tried, bad };
}

function flip(bytes: Buffer, at: number, mask: number): Buffer {
  bytes[at] = (bytes[at] as number) ^ mask;
  return bytes;
}

export const everyByteFlipped: FaultRow = {
  fault: 'every byte of a small store flipped two ways, before and after compaction',
  async run(lane: Lane): Promise<FaultResult> {
    const step = lane === 'quick' ? 7 : 1;
    const plain = await flipAll(await sample('', false), [0x01, 0xff], step);
    const compacted = await flipAll(await sample('', true), [0x01, 0xff], step);
    return { tried: plain.tried + compacted.tried, bad: [...plain.bad, ...compacted.bad] };
  },
};

export const everyTruncation: FaultRow = {
  fault: 'a small store cut at every length (a cut between two frames shows against atLeast)',
  async run(lane: Lane): Promise<FaultResult> {
    const bad: string[] = [];
    let tried = 0;
    let betweenFrames = 0;
    for (const isCompacted of [false, true]) {
      const from = await sample('', isCompacted);
      for (const [name, bytes] of from.image) {
        for (let length = 0; length < bytes.length; length += lane === 'quick' ? 5 : 1) {
          tried++;
          const image = changed(from.image, name, (it) => it.subarray(0, length));
          const problem = await judge(image, from);
          if (problem === undefined || problem === 'reported') continue;
          if (await isSeenByAtLeast(image, from)) betweenFrames++;
          else bad.push(`${name} cut at ${length}: ${problem}`);
        }
      }
    }
    return { tried, bad, note: `${betweenFrames} between frames` };
  },
};

async function isSeenByAtLeast(image: DiskImage, { newest }: Sample): Promise<boolean> {
  const storage = fileStorageOn(new ModelFileSystem(image), ROOT);
  const outcome = await new CheckpointManager({ storage }).restore(SESSION, { atLeast: newest }).then(
    (restored) => restored?.checkpoint.sequence === newest,
    (error) => isHoldfastError(error),
  );
  await storage.close();
  return outcome;
}

export const randomFlips: FaultRow = {
  fault: 'random single-byte flips in a store of 32 KB states',
  async run(lane: Lane): Promise<FaultResult> {
    const from = await sample('s'.repeat(32 * 1024), false);
    const [name, bytes] = [...from.image].find(([path]) => path.includes('log-')) as [string, Buffer];
    const random = seeded(32);
    const tried = lane === 'quick' ? 100 : 500;
    const bad: string[] = [];
    for (let run = 0; run < tried; run++) {
      const at = Math.floor(random() * bytes.length);
      const mask = 1 << Math.floor(random() * 8);
      const problem = await judge(
        changed(from.image, name, (it) => flip(it, at, mask)),
        from,
      );
      if (problem) bad.push(`byte ${at} ^ ${mask}: ${problem}`);
    }
    return { tried, bad };
  },
};

export const zeroedAndGarbage: FaultRow = {
  fault: 'stretches of acknowledged bytes zero-filled, garbage behind the end',
  async run(lane: Lane): Promise<FaultResult> {
    const from = await sample('s'.repeat(3_000), false);
    const [name, bytes] = [...from.image].find(([path]) => path.includes('log-')) as [string, Buffer];
    const bad: string[] = [];
    let tried = 0;
    for (let at = 0; at + 512 <= bytes.length; at += lane === 'quick' ? 512 : 64) {
      tried++;
      const problem = await judge(
        changed(from.image, name, (it) => it.fill(0, at, at + 512)),
        from,
      );
      if (problem && problem !== 'reported') bad.push(`512 zero bytes at ${at}: ${problem}`);
    }
    for (const tail of ['garbage', '\0'.repeat(600), 'HFL1', bytes.subarray(0, 40).toString('latin1')]) {
      tried++;
      const problem = await judge(
        changed(from.image, name, (it) => Buffer.concat([it, Buffer.from(tail, 'latin1')])),
        from,
      );
      if (problem && problem !== 'reported')
        bad.push(`${JSON.stringify(tail.slice(0, 12))} behind the end: ${problem}`);
    }
    return { tried, bad };
  },
};
