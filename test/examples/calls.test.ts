import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { expect, inject, test } from 'vitest';

/** What an example prints, when it ends well. */
async function output(name: string): Promise<string> {
  expect(inject('buildFailure')).toBe('');
  const main = join(import.meta.dirname, `../../examples/${name}/main.mjs`);
  const child = spawn(process.execPath, [main], { stdio: ['ignore', 'pipe', 'pipe'] });
  const [printed, errors, [exitCode]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'close'),
  ]);
  expect({ errors, exitCode }).toEqual({ errors: '', exitCode: 0 });
  return printed;
}

test('guard-a-flaky-call: every call is answered, an outage is left alone, and the service is found again', async () => {
  const printed = await output('guard-a-flaky-call');
  expect(printed.match(/answer to \/\d+/g)).toHaveLength(9);
  expect(printed).toContain('100 more: 100 refused, 0 sent');
  expect(printed).toMatch(/circuit\.opened.*circuit\.half-opened.*circuit\.closed.*answer to \/11/s);
});

test('provider-fallback: calls are paced, and the second model answers when the first is limited or down', async () => {
  const printed = await output('provider-fallback');
  expect(printed).toBe(
    'Healthy: large says hello.\n' +
      'Twenty at once: paced over more than 200 ms.\n' +
      'Rate-limited: small says hello.\n' +
      'Down: small says hello; 0 calls went to the large model.\n',
  );
});
