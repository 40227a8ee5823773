// @ts-check
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

/** @type {Set<import('node:child_process').ChildProcess>} */
const running = new Set();

/**
 * Starts a script of this folder as a process of its own.
 * @param {string} script
 * @param {readonly string[]} args
 * @param {(message: any) => void} onMessage
 */
export function startChild(script, args, onMessage) {
  const path = fileURLToPath(new URL(script, import.meta.url));
  const child = fork(path, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  running.add(child);
  child.on('message', onMessage);
  // What a killed process said last is still on its way when it exits: the channel closes after that.
  const ended = Promise.all([once(child, 'exit'), once(child, 'disconnect')]).then(([[code, signal]]) => {
    running.delete(child);
    return { code, signal };
  });
  return { kill: () => child.kill('SIGKILL'), ended };
}

/** Leaves no process behind; safe to call while this one exits. */
export function killChildren() {
  for (const child of running) child.kill('SIGKILL');
}
