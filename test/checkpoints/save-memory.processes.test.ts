import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { bundle } from '../support/bundle.js';

let folder = '';

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-memory-'));
});

afterAll(() => rm(folder, { recursive: true, force: true }));

test('a save of 27 MB takes at most three times as much memory: no copy of the whole state stands beside its bytes', async () => {
  const program = await bundle(join(import.meta.dirname, 'save-memory-program.ts'), folder);
  const parameters = ['--expose-gc', program, join(folder, 'store'), '27'];
  const { stdout } = await promisify(execFile)(process.execPath, parameters);
  const { sizeBytes, grownBytes } = JSON.parse(stdout) as { sizeBytes: number; grownBytes: number };
  expect(sizeBytes).toBeGreaterThan(27 * 1024 * 1024);
  expect(grownBytes / sizeBytes).toBeLessThanOrEqual(3);
});
