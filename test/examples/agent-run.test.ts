import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, expect, inject, test } from 'vitest';

const demo = join(import.meta.dirname, '../../examples/agent-run/main.mjs');
const quick = ['--packages', '40', '--kills', '3', '--seed', '7'];
const timeoutMs = 60_000;

let scratch: string;

beforeEach(() => {
  expect(inject('buildFailure')).toBe('');
  scratch = mkdtempSync(join(tmpdir(), 'holdfast-demo-test-'));
});

afterEach(() => rmSync(scratch, { recursive: true, force: true }));

/** The demo as a process of its own, with all its temporary files in `scratch`. */
function startDemo(options: readonly string[]) {
  const env = { ...process.env, TMPDIR: scratch, TEMP: scratch };
  const child = spawn(process.execPath, [demo, ...options], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  return { child, ended: ended.then(([output, errors, [exitCode]]) => ({ output, errors, exitCode })) };
}

/** Resolves when the demo has printed `words`. */
function printed({ stdout }: ReturnType<typeof startDemo>['child'], words: string): Promise<void> {
  let output = '';
  return new Promise((resolve) => {
    stdout.on('data', (chunk) => {
      output += chunk;
      if (output.includes(words)) resolve();
    });
  });
}

/** The rows of the table that the demo prints, by their names. */
function table(output: string): Record<string, string> {
  const rows = output.matchAll(/^(\S.{0,22}?) {2,}(.+)$/gm);
  return Object.fromEntries([...rows].map(([, name, value]) => [name, value]));
}

test('a killed and damaged run ends with the bytes of an undisturbed one', { timeout: timeoutMs }, async () => {
  const { output, errors, exitCode } = await startDemo(quick).ended;
  expect({ errors, exitCode }).toEqual({ errors: '', exitCode: 0 });
  expect(table(output)).toMatchObject({
    'kills survived': '3 of 3',
    // Each kill repeats one step at most, and so does the damage.
    'steps run / needed': expect.stringMatching(/^4[0-4] \/ 40 \([0-4] repeated\)$/),
    'checkpoints saved': expect.stringMatching(/^4\d \(/),
    'time lost per crash': expect.stringMatching(/^\d+ ms /),
    'damage found': expect.stringMatching(/^1 of 1 \(checkpoint \d+; rollback brought it back\)$/),
    'retries of the service': expect.stringMatching(/^[1-9]\d* \(.*503/),
    'result equal': expect.stringMatching(/^yes \(\d+ bytes, SHA-256 [0-9a-f]{16}…\)$/),
    licences: expect.stringMatching(/^MIT \d+/),
  });
  expect(output).toMatch(/resume: goes on from checkpoint \d+$/m);
  expect(output).toMatch(/rollback: goes on from checkpoint \d+ \(checkpoint \d+ is damaged\)/);
  expect(readdirSync(scratch)).toEqual([]);
});

test('the demo fails if the agent forgets one finding on its way', { timeout: timeoutMs }, async () => {
  const { output, exitCode } = await startDemo([...quick, '--sabotage']).ended;
  expect(exitCode).toBe(1);
  expect(table(output)['result equal']).toMatch(/^NO: \d+ bytes after the kills, \d+ without them$/);
  expect(readdirSync(scratch)).toEqual([]);
});

test('the demo leaves no process and no file behind when it is interrupted', { timeout: timeoutMs }, async () => {
  const { child, ended } = startDemo(quick);
  await printed(child, 'SIGKILL in step');
  child.kill('SIGTERM');
  // Its children hold the same output: the streams end only when all of them are gone.
  expect(await ended).toMatchObject({ errors: '', exitCode: 143 });
  expect(readdirSync(scratch)).toEqual([]);
});

test('the demo refuses more kills than there are steps for', async () => {
  const { errors, exitCode } = await startDemo(['--packages', '40', '--kills', '9']).ended;
  expect({ errors, exitCode }).toEqual({ errors: '9 kills need 90 packages, there are 40.\n', exitCode: 2 });
  expect(readdirSync(scratch)).toEqual([]);
});
