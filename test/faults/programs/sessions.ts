import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CheckpointManager } from '../../../src/checkpoints/checkpoint-manager.js';
import type { Session } from '../../../src/sessions/session.js';
import { SessionRegistry } from '../../../src/sessions/session-registry.js';
import { fileStorage } from '../../../src/storage/log/file-storage.js';

/** What the processes of a test do with the sessions in a folder. They say what they did, line by line. */
interface State {
  readonly count: number;
  readonly by: string;
}

type Keeper = CheckpointManager<State>;

const [folder = '', name = '', task = '', count = '', leaseMs = ''] = process.argv.slice(2);
const storage = fileStorage(join(folder, 'store'));
const checkpoints = new CheckpointManager<State>({ storage });
const sessions = new SessionRegistry({ storage, checkpoints, leaseMs: Number(leaseMs) });
const ids = Array.from({ length: Number(count) }, (_, at) => `session-${at}`);

function say(...words: unknown[]): void {
  process.stdout.write(`${words.join(' ')}\n`);
}

/** One write to a file that is only appended to: there whole, or not at all. */
function effect({ id, fence }: Session<Keeper>, what: string): void {
  appendFileSync(join(folder, 'effects'), `${id} ${fence} ${name} ${what}\n`);
}

/** Saves until it may not any more, and says why. */
async function saveOn(session: Session<Keeper>): Promise<void> {
  for (let saves = 1; ; saves++) {
    try {
      await session.checkpoint({ count: saves, by: name });
      if (saves === 1) say('saves', session.id);
    } catch (error) {
      say('stopped', session.id, (error as { code?: string }).code ?? String(error));
      return;
    }
  }
}

async function hold(): Promise<void> {
  const held = await Promise.all(ids.map((id) => sessions.open(id)));
  await Promise.all(held.map(saveOn));
}

/** A piece of work of three steps, from where it stands. */
async function work(session: Session<Keeper>): Promise<void> {
  const restored = await session.restore();
  for (let step = restored?.state.count ?? 0; step < 3; step++) {
    effect(session, `step ${step}`);
    await sleep(Math.random() * 20);
    await session.checkpoint({ count: step + 1, by: name });
  }
}

async function rescue(): Promise<void> {
  say('rescues');
  for (;;) {
    const left = (await sessions.interrupted()).filter(({ session }) => session?.quarantined === undefined);
    for (const { id } of left) {
      // Busy, ended, or quarantined by now: another rescuer was there.
      await sessions.run(id, work).catch((error: { code?: string }) => say('left', id, error.code));
    }
    const isAnyOpen = await anyOpen();
    if (!isAnyOpen) break;
    await sleep(20);
  }
  say('over');
}

async function anyOpen(): Promise<boolean> {
  for await (const { status, quarantined } of sessions.list()) {
    if (status !== 'completed' && status !== 'failed' && quarantined === undefined) return true;
  }
  return false;
}

const tasks: Record<string, () => Promise<void>> = { hold, rescue };
await tasks[task]?.();
await sessions.close();
await storage.close();
