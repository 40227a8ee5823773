import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { expect, inject, test } from 'vitest';

const root = join(import.meta.dirname, '../..');
const timeoutMs = 240_000;

test('write-a-storage-adapter: the adapter keeps every rule of the kit that it does not disclaim', {
  timeout: timeoutMs,
}, async () => {
  expect(inject('buildFailure') ?? '').toBe('');
  const vitest = join(root, 'node_modules/vitest/vitest.mjs');
  const options = ['run', '--root', join(root, 'examples/write-a-storage-adapter'), '--reporter=json'];
  const child = spawn(process.execPath, [vitest, ...options], { stdio: ['ignore', 'pipe', 'pipe'] });
  const [output, errors, [exitCode]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'close'),
  ]);
  expect({ exitCode, errors: exitCode === 0 ? '' : `${errors}\n${output}` }).toEqual({ exitCode: 0, errors: '' });
  const report = JSON.parse(output.slice(output.indexOf('{')));
  expect(report).toMatchObject({ numFailedTests: 0, numPendingTests: 0 });
  expect(report.numPassedTests).toBeGreaterThan(100);
});
