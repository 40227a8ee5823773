import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setImmediate } from 'node:timers/promises';

/** A child that says nothing for so long is stuck: it is killed, and its ending says so. */
const PATIENCE_MS = 20_000;
const CHILDREN = join(import.meta.dirname, 'children');

/** How a child ended. */
export interface Ending {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly errorText: string;
  readonly isStuck: boolean;
}

/** A process that tells what it does, line by line. */
export class Child {
  readonly lines: string[] = [];
  readonly ended: Promise<Ending>;
  readonly #process: ChildProcess;
  readonly #listeners = new Set<() => void>();
  #hasEnded = false;
  #isStuck = false;

  constructor(command: string, args: readonly string[]) {
    const child = spawn(command, args, { stdio: 'pipe' });
    this.#process = child;
    const patience = setTimeout(() => {
      this.#isStuck = true;
      child.kill('SIGKILL');
    }, PATIENCE_MS);
    let begun = '';
    let errorText = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      patience.refresh();
      const parts = (begun + text).split('\n');
      begun = parts.pop() ?? '';
      this.lines.push(...parts);
      this.#notify();
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      errorText += text;
    });
    child.stdin.on('error', () => {}); // A child that was killed hears no more: its ending tells.
    this.ended = new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code, signal) => {
        clearTimeout(patience);
        this.#hasEnded = true;
        this.#notify();
        resolve({ code, signal, errorText, isStuck: this.#isStuck });
      });
    });
    this.ended.catch(() => {}); // Whoever awaits it is told.
  }

  get pid(): number {
    return this.#process.pid ?? -1;
  }

  /** True once the child has said so many lines, false if it ended before. */
  async says(count: number): Promise<boolean> {
    while (this.lines.length < count && !this.#hasEnded) {
      await new Promise<void>((resolve) => this.#listeners.add(resolve));
    }
    return this.lines.length >= count;
  }

  tell(line: string): void {
    this.#process.stdin?.write(`${line}\n`);
  }

  /** Sends the signal; resolves when it has ended the child. */
  kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<Ending> {
    this.#process.kill(signal);
    return this.ended;
  }

  /** Resolves when no thread of the child runs any more, or when it has ended. */
  async freeze(): Promise<void> {
    this.#process.kill('SIGSTOP');
    while (!this.#hasEnded && !(await isFrozen(this.pid))) await setImmediate();
  }

  thaw(): void {
    this.#process.kill('SIGCONT');
  }

  #notify(): void {
    for (const listener of this.#listeners) listener();
    this.#listeners.clear();
  }
}

/** A folder of its own and the processes that work in it. */
export interface Scene {
  readonly folder: string;
  /** Starts a script of `children/`, or any other by its whole path. */
  start(script: string, ...args: readonly (string | number)[]): Child;
  /** The same by another command: node with options, or what starts node. The script follows behind it. */
  startWith(command: readonly string[], script: string, ...args: readonly (string | number)[]): Child;
}

/** Plays a scene; afterwards no process of it runs and its folder is gone. */
export async function inScene<Result>(play: (scene: Scene) => Promise<Result>): Promise<Result> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-faults-'));
  const children: Child[] = [];
  const startWith: Scene['startWith'] = (command, script, ...args) => {
    const [program = process.execPath, ...before] = command;
    const rest = [...before, resolve(CHILDREN, script), ...args.map(String)];
    const child = new Child(program, rest);
    children.push(child);
    return child;
  };
  try {
    return await play({ folder, start: (script, ...args) => startWith([], script, ...args), startWith });
  } finally {
    await Promise.all(children.map((child) => child.kill().catch(() => undefined)));
    await rm(folder, { recursive: true, force: true });
  }
}

/** Lets so many turns of the event loop pass: a moment that is not tied to what the child says. */
export async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await setImmediate();
}

/** Enough of what a child wrote to its standard error. */
export function firstLine(text: string): string {
  return text.split('\n', 1)[0] ?? '';
}

/** What was wrong in `act`: what it returns, or its error, each with `where` in front. */
export async function problems(where: string, act: () => Promise<readonly string[]>): Promise<string[]> {
  try {
    return (await act()).map((problem) => `${where}: ${problem}`);
  } catch (error) {
    return [`${where}: ${error instanceof Error ? error.stack : String(error)}`];
  }
}

/** The seed of all chance in the rows. Every bad outcome names it. */
export const SEED = Number(process.env.HOLDFAST_FAULT_SEED ?? 1);

/** Every thread of a stopped process is in state T. */
async function isFrozen(pid: number): Promise<boolean> {
  const tasks = await readdir(`/proc/${pid}/task`).catch(() => []);
  const states = await Promise.all(
    tasks.map((task) => readFile(`/proc/${pid}/task/${task}/stat`, 'utf8').catch(() => ') T')),
  );
  return states.every((text) => text.slice(text.lastIndexOf(')') + 2).startsWith('T'));
}
