import { readFileSync, readlinkSync } from 'node:fs';

/** Which process this is, told so that another one on the same machine can prove it gone. */
export interface ProcessIdentity {
  /** The boot of the machine and the namespaces in which `pid` and `startTime` mean something. Opaque. */
  readonly host: string;
  readonly pid: number;
  /** Clock ticks from the boot to the start of the process: tells it from a later one that was given its pid. */
  readonly startTime: string;
}

/** What procfs says of one process. */
interface ProcessStatus {
  readonly pid: number;
  readonly startTime: string;
  readonly hasEnded: boolean;
}

/**
 * The identity of this process, or `undefined` where it cannot be told (not on Linux, no procfs of its own).
 *
 * Containers of one machine share a boot id but not their pids, so the namespaces are part of `host`. Machines that are
 * cloned from one snapshot of memory share everything: each takes the other's copy of a process for its own, so one may be
 * proved gone while its twin runs. Fencing keeps the records right there; effects may run twice.
 */
export function ownProcess(procRoot = '/proc'): ProcessIdentity | undefined {
  const host = ownHost(procRoot);
  const status = statusOf('self', procRoot);
  // A procfs that was mounted from another pid namespace counts processes by numbers that are not ours.
  if (host === undefined || typeof status === 'string' || status.pid !== process.pid) return undefined;
  return { host, pid: status.pid, startTime: status.startTime };
}

/**
 * Is it proved that this process runs no more? False when it runs, when it is on another host, and whenever it cannot be
 * told. A stopped process is not gone, a zombie is.
 */
export function isProcessGone({ host, pid, startTime }: ProcessIdentity, procRoot = '/proc'): boolean {
  if (ownProcess(procRoot)?.host !== host) return false;
  const status = statusOf(pid, procRoot);
  if (status === 'unreadable') return false;
  if (status === 'absent') return !isPidTaken(pid);
  return status.hasEnded || status.startTime !== startTime;
}

function ownHost(procRoot: string): string | undefined {
  try {
    const bootId = readFileSync(`${procRoot}/sys/kernel/random/boot_id`, 'utf8').trim();
    return [bootId, readlinkSync(`${procRoot}/self/ns/pid`), timeNamespace(procRoot)].join(' ');
  } catch {
    return undefined; // No identity is no proof, and everything works without one, only later.
  }
}

/** Start times are counted by the clock of the time namespace, where the kernel has them (Linux 5.6). */
function timeNamespace(procRoot: string): string {
  try {
    return readlinkSync(`${procRoot}/self/ns/time`);
  } catch {
    return '';
  }
}

function statusOf(pid: number | 'self', procRoot: string): ProcessStatus | 'absent' | 'unreadable' {
  try {
    return parseStat(readFileSync(`${procRoot}/${pid}/stat`, 'utf8'));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return code === 'ENOENT' || code === 'ESRCH' ? 'absent' : 'unreadable'; // ESRCH: it ended between open and read.
  }
}

/** Source: proc_pid_stat(5). The second field is a name in parentheses, which may hold spaces and parentheses itself. */
function parseStat(text: string): ProcessStatus | 'unreadable' {
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const field = (number: number) => fields[number - 3];
  const [state, threads, startTime] = [field(3), field(20), field(22)];
  if (startTime === undefined) return 'unreadable';
  // The first thread of a killed process is a zombie while another one may still be inside a write.
  const hasEnded = (state === 'Z' || state === 'X') && Number(threads) <= 1;
  return { pid: Number.parseInt(text, 10), startTime, hasEnded };
}

/** Asks the kernel itself: procfs may be mounted so that it hides the processes of other users (`hidepid`). */
function isPidTaken(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}
