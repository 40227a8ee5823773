import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * A Redis of our own behind a Unix socket in a temporary folder, gone after `stop`. `isDurable`: every write is synced to
 * the append-only file before it is answered; else nothing is kept at all.
 */
export async function startRedis({ isDurable }) {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-bench-redis-'));
  const socket = join(folder, 'socket');
  const persistence = isDurable ? ['--appendonly', 'yes', '--appendfsync', 'always'] : ['--appendonly', 'no'];
  const settings = ['--port', '0', '--unixsocket', socket, '--dir', folder, '--save', '', ...persistence];
  const server = spawn('redis-server', settings, { stdio: ['ignore', 'pipe', 'ignore'] });
  const removeFolder = () => rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  const killServer = () => {
    server.kill('SIGKILL');
    removeFolder();
  };
  process.once('exit', killServer); // Also when the bench fails half-way.
  await new Promise((resolve, reject) => {
    let said = '';
    server.stdout.setEncoding('utf8').on('data', (text) => {
      said = (said + text).slice(-10_000);
      if (/ready to accept connections/i.test(said)) resolve();
    });
    server.once('error', () => reject(new Error('redis-server is not installed: apt-get install redis-server')));
    server.once('exit', (code) => reject(new Error(`redis-server ended with ${code}:\n${said}`)));
  });
  return {
    socket,
    async stop() {
      process.off('exit', killServer);
      server.kill('SIGTERM');
      await once(server, 'exit');
      removeFolder();
    },
  };
}
