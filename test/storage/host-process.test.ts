import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { isProcessGone, ownProcess, type ProcessIdentity } from '../../src/storage/host-process.js';

const cleanUps: (() => unknown)[] = [];
afterEach(() => {
  for (const cleanUp of cleanUps.splice(0)) cleanUp();
});

/** A pid that no process has: the largest that Linux gives is 2^22. */
const NO_PID = 2 ** 22 + 1;

function started(command: string, ...args: string[]): ChildProcess & { readonly pid: number } {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'ignore'] });
  cleanUps.push(() => child.kill('SIGKILL'));
  return child as ChildProcess & { readonly pid: number };
}

const statFields = (pid: number) => readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];

/** What another process would say of itself. Its name has no parentheses. */
function identityOf(pid: number): ProcessIdentity {
  return { host: ownProcess()?.host ?? '', pid, startTime: statFields(pid)[19] ?? '' };
}

interface FakeStat {
  readonly pid?: number;
  readonly name?: string;
  readonly state?: string;
  readonly threads?: number;
  readonly startTime?: string;
}

function statLine({
  pid = process.pid,
  name = 'node',
  state = 'S',
  threads = 11,
  startTime = '500',
}: FakeStat): string {
  return `${pid} (${name}) ${state} 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 ${threads} 0 ${startTime} 0 0\n`;
}

/** A procfs made of files, in which this process started at 500. */
function fakeProc(own: FakeStat = {}): string {
  const root = mkdtempSync(join(tmpdir(), 'proc-'));
  cleanUps.push(() => rmSync(root, { recursive: true }));
  mkdirSync(join(root, 'sys/kernel/random'), { recursive: true });
  writeFileSync(join(root, 'sys/kernel/random/boot_id'), 'boot-1\n');
  mkdirSync(join(root, 'self/ns'), { recursive: true });
  symlinkSync('pid:[1]', join(root, 'self/ns/pid'));
  symlinkSync('time:[2]', join(root, 'self/ns/time'));
  writeFileSync(join(root, 'self/stat'), statLine(own));
  return root;
}

function addProcess(root: string, pid: number, stat: string): void {
  mkdirSync(join(root, String(pid)));
  writeFileSync(join(root, String(pid), 'stat'), stat);
}

const onFakeHost = (pid: number, startTime = '500'): ProcessIdentity => ({
  host: 'boot-1 pid:[1] time:[2]',
  pid,
  startTime,
});

describe.runIf(process.platform === 'linux')('on Linux', () => {
  test('this process says the same of itself each time, and is never gone', () => {
    const own = ownProcess() as ProcessIdentity;
    expect(own).toEqual({ host: expect.stringContaining('pid:['), pid: process.pid, startTime: expect.any(String) });
    expect(ownProcess()).toEqual(own);
    expect(isProcessGone(own)).toBe(false);
  });

  test('another process of this host says the same host', async () => {
    const child = started(
      'sh',
      '-c',
      'cat /proc/sys/kernel/random/boot_id; readlink /proc/self/ns/pid /proc/self/ns/time',
    );
    const lines = (await text(child.stdout as NodeJS.ReadableStream)).trim().split('\n');
    expect(ownProcess()?.host).toBe(lines.join(' '));
  });

  test('a process that runs is not gone', () => {
    expect(isProcessGone(identityOf(started('sleep', '60').pid))).toBe(false);
  });

  test('a process that was killed is gone', async () => {
    const child = started('sleep', '60');
    const identity = identityOf(child.pid);
    child.kill('SIGKILL');
    await once(child, 'exit');
    expect(isProcessGone(identity)).toBe(true);
  });

  test('a process that is stopped is not gone', async () => {
    const child = started('sleep', '60');
    child.kill('SIGSTOP');
    await vi.waitFor(() => expect(statFields(child.pid)[0]).toBe('T'));
    expect(isProcessGone(identityOf(child.pid))).toBe(false);
  });

  test('a zombie that nobody reaps is gone', async () => {
    const parent = started('sh', '-c', 'sleep 60 & echo $!; exec sleep 60');
    const [line] = await once(parent.stdout as NodeJS.ReadableStream, 'data');
    const pid = Number(line);
    await vi.waitFor(() => expect(readFileSync(`/proc/${parent.pid}/comm`, 'utf8')).toBe('sleep\n')); // It reaps nobody.
    process.kill(pid, 'SIGKILL');
    await vi.waitFor(() => expect(statFields(pid)[0]).toBe('Z'));
    expect(isProcessGone(identityOf(pid))).toBe(true);
  });

  test('a process whose pid was given to another one is gone', () => {
    const { pid } = started('sleep', '60');
    expect(isProcessGone({ ...identityOf(pid), startTime: '1' })).toBe(true);
  });

  test('a former process with the pid of this one is gone', () => {
    expect(isProcessGone({ ...(ownProcess() as ProcessIdentity), startTime: '1' })).toBe(true);
  });

  test('of a process on another host nothing is said', () => {
    expect(isProcessGone({ host: 'another', pid: NO_PID, startTime: '1' })).toBe(false);
  });
});

describe('what procfs may say', () => {
  test('a process is known by boot, namespaces, pid and start', () => {
    expect(ownProcess(fakeProc())).toEqual(onFakeHost(process.pid));
  });

  test('a name with spaces and parentheses is not taken for fields', () => {
    const root = fakeProc({ name: 'a) Z (b) 1 2' });
    expect(ownProcess(root)?.startTime).toBe('500');
    addProcess(root, NO_PID, statLine({ name: 'a) Z (b', threads: 1 }));
    expect(isProcessGone(onFakeHost(NO_PID), root)).toBe(false);
  });

  test.each(['sys/kernel/random/boot_id', 'self/ns/pid', 'self/stat'])(
    'without %s a process has no identity, and nobody is proved gone',
    (path) => {
      const root = fakeProc();
      rmSync(join(root, path));
      expect(ownProcess(root)).toBeUndefined();
      expect(isProcessGone(onFakeHost(NO_PID), root)).toBe(false);
    },
  );

  test('an older kernel without time namespaces will do', () => {
    const root = fakeProc();
    rmSync(join(root, 'self/ns/time'));
    expect(ownProcess(root)?.host).toBe('boot-1 pid:[1] ');
  });

  test('a procfs of another pid namespace proves nothing', () => {
    const root = fakeProc({ pid: process.pid + 1 });
    expect(ownProcess(root)).toBeUndefined();
    expect(isProcessGone(onFakeHost(NO_PID), root)).toBe(false);
  });

  test.each([
    ['Z', 1, true],
    ['X', 0, true],
    ['Z', 2, false],
    ['T', 1, false],
    ['D', 1, false],
  ])('state %s with %i threads left: gone is %s', (state, threads, isGone) => {
    const root = fakeProc();
    addProcess(root, NO_PID, statLine({ state, threads }));
    expect(isProcessGone(onFakeHost(NO_PID), root)).toBe(isGone);
  });

  test('a process that is hidden from procfs, but that the kernel knows, is not gone', () => {
    const root = fakeProc();
    expect(isProcessGone(onFakeHost(process.ppid), root)).toBe(false);
    expect(isProcessGone(onFakeHost(NO_PID), root)).toBe(true);
  });

  test('a process that the kernel does not let us ask for is not gone', () => {
    const kill = vi.spyOn(process, 'kill').mockImplementation(() => {
      throw Object.assign(new Error('not permitted'), { code: 'EPERM' });
    });
    cleanUps.push(() => kill.mockRestore());
    expect(isProcessGone(onFakeHost(NO_PID), fakeProc())).toBe(false);
  });

  test('a status that cannot be read, or makes no sense, proves nothing', () => {
    const root = fakeProc();
    addProcess(root, NO_PID, 'nonsense');
    mkdirSync(join(root, `${NO_PID + 1}/stat`), { recursive: true });
    expect(isProcessGone(onFakeHost(NO_PID), root)).toBe(false);
    expect(isProcessGone(onFakeHost(NO_PID + 1), root)).toBe(false);
  });
});
